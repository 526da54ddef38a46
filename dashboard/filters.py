"""The filter of a list: what its fields suggest, which parts are active, and times in a zone of the reader.

A filter that cannot be used does not hide the form: the page is rendered without it, with the error at its field and
all that was typed. Times come from a date picker without a zone, which the hidden field `zone` names.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

from fastapi import Request

from api.problems import Problem
from dashboard.rendering import errors_of, filters_in, query, typed
from hookkeeper.filters import LABELS, Filter
from hookkeeper.registry.events.listing import LatestValues
from hookkeeper.registry.store import Store
from hookkeeper.services.caller import Caller
from hookkeeper.wording import N_

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
TIMES = ("since", "until")
LOCAL_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?")
"""What a browser's date picker sends."""
MAX_SUGGESTED = 100
"""Tenants, types and webhooks each."""
PERIODS = {
    "15m": N_("15 minutes"),
    "1h": N_("hour"),
    "24h": N_("24 hours"),
    "7d": N_("7 days"),
    "30d": N_("30 days"),
}
YES_NO = {"true": N_("yes"), "false": N_("no")}
REFRESH = "x-refresh"
"""The header of a script that reads the list again, and needs no suggestions."""


class Suggestions(NamedTuple):
    """Values that the fields of a filter offer."""

    tenants: Collection[str] = ()
    types: Collection[str] = ()
    webhooks: dict[str, str] = {}  # noqa: RUF012 - a constant
    """Names by id."""
    errors: Collection[str] = ()


class Field(NamedTuple):
    """A field that is made of the description of a filter."""

    name: str
    label: str
    values: Collection[str]
    """Values of a choice, with labels if it is a mapping; empty for a text."""
    placeholder: str
    known: Collection[str]


class Chip(NamedTuple):
    """A part of a filter that is active."""

    label: str
    value: str
    without: str
    """The address of the list without it."""
    when: datetime | None
    """The value as a time, if it is one."""


def filtered(endpoint: Endpoint) -> Endpoint:
    """Mark a page that shows errors of its filter at their fields."""
    endpoint.is_filtered = True  # type: ignore[attr-defined]
    return endpoint


def clean(scope: Any) -> Any:
    """Drop the empty parameters of a URL, and blanks around others; give times of the date picker their zone.

    A browser sends each field of a filter form, also one without a value, and a copied id often has a blank at its end.
    """
    given = [(name, text.strip()) for name, text in parse_qsl(scope["query_string"].decode("latin-1"))]
    zone = zone_of(dict(given).get("zone", ""))
    return _with_query(scope, ((name, _aware(name, text, zone)) for name, text in given if text))


def without(scope: Any, names: Collection[str]) -> Any:
    """Drop these parameters of a URL."""
    given = parse_qsl(scope["query_string"].decode("latin-1"))
    return _with_query(scope, ((name, text) for name, text in given if name not in names))


def _with_query(scope: Any, given: Iterable[tuple[str, str]]) -> Any:
    return {**scope, "query_string": urlencode(list(given)).encode()}


def refused(request: Request, problem: Problem) -> set[str]:
    """Return the parameters that cause the problem; none if something else is wrong too."""
    names = {path.partition(".")[0] for path in errors_of(problem)}
    return names if names <= request.query_params.keys() - {"cursor"} else set()


def zone_of(name: str) -> tzinfo:
    """Return the time zone of this name, or UTC."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC


def _aware(name: str, text: str, zone: tzinfo) -> str:
    if name not in TIMES or not LOCAL_TIME.fullmatch(text):
        return text
    try:
        return datetime.fromisoformat(text).replace(tzinfo=zone).isoformat()
    except (ValueError, OverflowError):  # there is no such day
        return text


def local_time(text: str, zone: tzinfo) -> str | None:
    """Return a time as the date picker shows it; None for what is no time."""
    try:
        when = datetime.fromisoformat(text)
        local = (when if when.tzinfo else when.replace(tzinfo=zone)).astimezone(zone)
    except (ValueError, OverflowError):
        return None
    return local.replace(tzinfo=None).isoformat(timespec="seconds" if local.second else "minutes")


async def suggestions(store: Store, caller: Caller, tenant: str | None, webhook: str | None = None) -> Suggestions:
    """Read what a filter can suggest: a bounded number of rows, of what the caller may read."""
    can_read = "webhooks:read" in caller.scopes
    can_read_events = "events:read" in caller.scopes
    latest = await store.index.latest_values(tenant, webhook) if can_read_events else LatestValues((), ())
    return Suggestions(
        tenants=await store.tenants.latest_ids(MAX_SUGGESTED) if can_read and caller.tenant is None else (),
        types=sorted({*latest.types, *await store.catalogue.names(MAX_SUGGESTED)}),
        webhooks=await store.webhooks.latest_names(tenant, MAX_SUGGESTED) if can_read and not webhook else {},
        errors=sorted(latest.errors),
    )


async def context(
    request: Request,
    path: str,
    described: Sequence[Filter],
    others: Collection[str],
    store: Store,
    tenant: str | None,
    webhook: str | None = None,
    **names: str,
) -> dict[str, Any]:
    """Return what the templates of a filter need.

    The form has fields for the filters that are `described`, and the `others`. `names` are those of webhooks, by id.
    """
    is_refresh = REFRESH in request.headers
    suggested = Suggestions() if is_refresh else await suggestions(store, request.state.caller, tenant, webhook)
    given = typed(request)
    zone = given.get("zone", "")
    return {
        "suggested": suggested,
        "fields": [_field(each, suggested) for each in described],
        "chips": list(_chips(request, path, {**suggested.webhooks, **names})),
        "hidden": [
            (name, text)
            for name, values in filters_in(given).items()
            for number, text in enumerate(values)
            if number or name not in {*others, *(each.name for each in described)}
        ],
        "zone": zone if zone_of(zone) is not UTC else "UTC",
        "times": {name: local_time(given[name], zone_of(zone)) for name in TIMES if name in given},
        "periods": PERIODS,
    }


def _field(described: Filter, suggested: Suggestions) -> Field:
    known = {"type": suggested.types, "error": suggested.errors}.get(described.name, ())
    values = YES_NO if described.type is bool else described.choices
    return Field(described.name, described.label, values, described.example, known)


def _chips(request: Request, path: str, names: dict[str, str]) -> Iterable[Chip]:
    given = filters_in(request.query_params)
    for name, values in given.items():
        for text in values:
            rest = {**given, name: [value for value in values if value != text]}
            when = datetime.fromisoformat(text) if name in TIMES else None
            label = LABELS.get(name, name.replace("_", " "))
            yield Chip(label, _shown(name, text, names), query(path, **rest), when)


def _shown(name: str, text: str, names: dict[str, str]) -> str:
    known = {"webhook": names, "last": PERIODS, "needs_attention": YES_NO, "acknowledged": YES_NO}
    return known.get(name, {}).get(text, text)
