"""The page of limits: what a tenant may have and use, and what it has and uses now; for keys of all tenants, the
list of tenants.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from api.access import needs
from api.deps import AnyTenant, CallerDep, Cursor, TenantsDep
from api.filters import Terms
from api.sessions import portal_of
from api.state import ApiState, state_of
from dashboard.charts import count_range, tenants_of_the_day
from dashboard.rendering import paging, render, translations_of
from dashboard.routes import PageRoute
from hookkeeper.registry.tenants.portal import MAX_OPEN_SESSIONS
from hookkeeper.services.caller import Caller
from hookkeeper.settings import MIB, Settings
from hookkeeper.tenant_limits import SANDBOX_CALLS
from hookkeeper.wording import N_, write_durations

router = APIRouter(include_in_schema=False, route_class=PageRoute)
TENANTS_ON_PAGE = 50
TOO_MANY = N_("There are too many counters to add up.")
HERE = "of each API process; counted in this one"


class Row(NamedTuple):
    """A limit, and how much of it is used."""

    name: str
    limit: str
    used: int | None = None
    """None where the API does not know: workers have limits of their own."""
    at_most: int | None = None
    """The limit as a number, where something is counted."""
    note: str = ""


@router.get("/limits", dependencies=[needs("events:read", "webhooks:read")])
async def show_limits(
    request: Request, cursor: Cursor, caller: CallerDep, tenant: AnyTenant, tenants: TenantsDep, terms: Terms
) -> Response:
    """Show the limits of one tenant with its use, or the tenants."""
    state = state_of(request)
    if tenant is not None:
        is_operator = portal_of(request) is None
        return await render(
            request,
            "limits.html",
            tenant=tenant,
            known=await state.store.tenants.get(tenant),
            has=await _has(state, caller, tenant, translations_of(request).gettext, is_operator),
            may=_may(state.settings, is_operator),
        )
    found, end = await tenants.page(terms, TENANTS_ON_PAGE, cursor.start)
    days = await tenants_of_the_day(state.store.index) if "events:read" in caller.scopes else None
    return await render(
        request,
        "tenants.html",
        items=await tenants.shown(found),
        days=days,
        max_webhooks=state.settings.max_webhooks_per_tenant,
        **paging(request, "/limits", cursor, end),
    )


async def _has(state: ApiState, caller: Caller, tenant: str, _: Callable[[str], str], is_operator: bool) -> list[Row]:
    """Return what the tenant has and uses, as far as the key may read it, and a customer understands it."""
    store, settings, rows = state.store, state.settings, []
    if "webhooks:read" in caller.scopes:
        rows.append(_counted(N_("Webhooks"), await store.webhooks.count(tenant), settings.max_webhooks_per_tenant))
    if "events:read" in caller.scopes:
        count = await store.schedules.count(tenant)
        rows.append(_counted(N_("Schedules"), count, settings.max_schedules_per_tenant))
    if is_operator and not caller.scopes.isdisjoint(("webhooks:write", "admin")):
        count = await store.portal.count_open(tenant)
        rows.append(_counted("Open links and sessions of the portal", count, MAX_OPEN_SESSIONS))
    if "events:read" in caller.scopes:
        day = await count_range(store.index, height=0, tenant=tenant)
        counts, note = (day.counts, "") if day else (None, TOO_MANY)
        events = counts and counts.total["events"]
        rows.append(Row(N_("Events accepted in the last 24 hours"), N_("none"), events, note=note))
        rows.append(Row(N_("Deliveries that retry now"), N_("none"), counts and counts.retrying, note=note))
        held = _("%(time)s each") % {"time": _time(settings.max_hold)}
        rows.append(Row(N_("Deliveries that are held now"), held, counts and counts.held, note=note))
    if not is_operator:
        return rows
    if "events:read" in caller.scopes:
        streams, note = state.feed.limit, f"{HERE}. An open overview or list of events has one"
        rows.append(_counted("Streams of events", streams.held(tenant), streams.per_tenant, note))
    requests = state.concurrency.limit
    return [*rows, _counted("API requests at once", requests.held(tenant), requests.per_tenant, HERE)]


def _may(settings: Settings, is_operator: bool) -> list[Row]:
    """Return the limits whose use is known to workers only, or not counted."""
    per_process = [
        ("API requests of one key", settings.rate_limit or "none", "of each API process; keys can have their own"),
        ("Deliveries and other steps at once", f"{settings.max_concurrent_per_tenant}", "of each worker and queue"),
        ("Memory for outgoing requests", f"{settings.max_bytes_in_flight // 2 / MIB:g} MiB", "of each worker"),
        ("Templates and filters at once", f"{SANDBOX_CALLS.per_tenant}", "of each process"),
    ]
    rows = [
        *(per_process if is_operator else ()),
        (N_("Size of an event"), f"{settings.max_event_bytes / 1024:,g} KiB", ""),
        (N_("Email addresses of one webhook"), f"{settings.max_addresses_per_webhook}", ""),
        (N_("Time between two events of a schedule"), f"{settings.min_schedule_interval} s", N_("at least")),
        (N_("Time for which an event is kept"), _time(settings.retention), N_("after it has finished")),
    ]
    return [Row(name, limit, note=note) for name, limit, note in rows]


def _counted(name: str, used: int, at_most: int, note: str = "") -> Row:
    return Row(name, f"{at_most:,}", used, at_most, note)


def _time(duration: timedelta) -> str:
    return write_durations([duration.total_seconds()])
