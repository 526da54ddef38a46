"""The filters of lists and streams of events and deliveries."""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from inspect import Parameter, Signature
from typing import Annotated, Any, NamedTuple, Optional

from fastapi import Depends, Header, Query, Request
from pydantic import Field

from api.cursors import STREAM_ID_LENGTH
from api.deps import AnyTenant, CallerDep, KnownWebhook, WebhookFilter
from api.state import state_of
from api.streams.subscription import Subscription
from hookkeeper.content.search_terms import MAX_QUERY, BadQuery, Term, keys_of_channels, parse
from hookkeeper.filters import OF_DELIVERIES, OF_EVENTS, OF_STREAMS, Filter
from hookkeeper.policy import HealthStatus
from hookkeeper.registry.events.conditions import Search, status_codes
from hookkeeper.registry.models import Webhook
from hookkeeper.services.errors import Invalid
from hookkeeper.services.fields import AGE, EVENT_ID, ChannelName, EventType, GivenTime
from hookkeeper.times import utc_now

UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
MAX_VALUES = 20
"""Values of a filter that can be repeated."""


class _Period(NamedTuple):
    """The time of acceptance."""

    since: datetime | None
    until: datetime | None


ALL_TIMES = _Period(None, None)


async def _period(
    since: Annotated[GivenTime | None, Query(description="Accepted at this time or later")] = None,
    until: Annotated[GivenTime | None, Query(description="Accepted before this time")] = None,
    last: Annotated[
        str | None,
        Query(
            pattern=AGE,
            description="Accepted in the last minutes, hours or days: `15m`, `24h`, `7d`. Not together with `since`",
            examples=["24h"],
        ),
    ] = None,
) -> _Period:
    if last is None:
        return _Period(since, until)
    if since is not None:
        raise Invalid.field("last", "cannot be combined with since")
    return _Period(utc_now() - int(last[:-1]) * UNITS[last[-1]], until)


PeriodDep = Annotated[_Period, Depends(_period)]
DataQuery = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=MAX_QUERY,
        description="Search in the data of one tenant's events: `data.order_id:4711`, words, texts in quotes. Up to "
        "five, and all have to be met. Declared keys are found in the whole log; everything else in the data of the "
        "newest events that meet the other filters, by default of the last 24 hours: see `searched_until`",
        examples=["data.order_id:4711"],
    ),
]


class _WebhookSearch(NamedTuple):
    """The filter of a list of webhooks."""

    tenant: str | None
    terms: Sequence[Term]
    event: EventType | None
    enabled: bool | None
    status: HealthStatus | None


async def _terms(
    q: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=MAX_QUERY,
            description="Words, or texts in quotes, of the id, name (of a webhook also uid or URL), and values of the"
            " metadata: `metadata.team:shop`. Up to five, and all have to be met",
            examples=["metadata.team:shop"],
        ),
    ] = None,
) -> Sequence[Term]:
    try:
        return parse(q, "metadata") if q is not None else ()
    except BadQuery as error:
        raise Invalid.field("q", str(error)) from None


Terms = Annotated[Sequence[Term], Depends(_terms)]


async def _webhook_search(
    tenant: AnyTenant,
    terms: Terms,
    event: Annotated[EventType | None, Query(description="Only webhooks that match events of this type")] = None,
    enabled: Annotated[bool | None, Query(description="Only enabled, or only disabled webhooks")] = None,
    status: Annotated[HealthStatus | None, Query(description="Only webhooks whose `health` has this status")] = None,
) -> _WebhookSearch:
    return _WebhookSearch(tenant, terms, event, enabled, status)


WebhookSearch = Annotated[_WebhookSearch, Depends(_webhook_search)]
Total = Annotated[bool, Query(description="Count the matches: see `total` of the response")]


CHECKED: dict[str, Any] = {
    "type": EventType,
    "in_channel": ChannelName,
    "id_prefix": Annotated[str, Field(pattern=EVENT_ID)],
}
"""Types of values that need more than what `hookkeeper.filters` says."""
READ: dict[str, Callable[[Any], Any]] = {
    "status_code": status_codes,
    "in_channel": lambda channel: keys_of_channels((channel,)),
}
"""The value of a search, where it is not the one that is given."""


def _searching(filters: Sequence[Filter], **others: Any) -> Callable[..., Coroutine[Any, Any, Search]]:
    """Return a dependency that makes a search of these filters, and of the others, each with its annotation."""

    async def search(webhook: str | Webhook | None, period: _Period = ALL_TIMES, **given: Any) -> Search:
        of = {"webhook": webhook.id, "tenant": webhook.tenant} if isinstance(webhook, Webhook) else {"webhook": webhook}
        if given.get("in_channel") and given["tenant"] is None:
            raise Invalid.field("in_channel", "finds events of one tenant: name a `tenant` too")
        found = [(each, value) for each in filters if (value := given.pop(each.name)) is not None]
        fields = {each.field or each.name: _read(each, value) for each, value in found}
        return Search(**given, **of, **period._asdict(), **fields)

    parameters = [_parameter(name, annotation) for name, annotation in others.items()]
    parameters += [_parameter(each.name, _annotation(each), None) for each in filters]
    search.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return search


def _parameter(name: str, annotation: Any, default: Any = Parameter.empty) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _annotation(each: Filter) -> Any:
    kind: Any = CHECKED.get(each.name, each.type)
    if each.is_repeatable:
        query = _query(f"{each.help}; can be repeated", [each.example], each, max_length=MAX_VALUES)
        return Annotated[Optional[list[kind]], query]  # noqa: UP045 - mypy takes `kind` for no type
    return Annotated[Optional[kind], _query(each.help, each.example, each)]  # noqa: UP045


def _query(description: str, example: Any, each: Filter, **bounds: Any) -> Any:
    return Query(description=description, examples=[example] if each.example else None, **bounds, **each.bounds)


def _read(each: Filter, value: Any) -> Any:
    if each.is_repeatable:
        return tuple(dict.fromkeys(value))
    return READ[each.name](value) if each.name in READ else value


_event_search = _searching(OF_EVENTS, tenant=AnyTenant, period=PeriodDep, webhook=WebhookFilter)
_stream_search = _searching(OF_STREAMS, tenant=AnyTenant, webhook=WebhookFilter)
_delivery_search = _searching(OF_DELIVERIES, webhook=KnownWebhook, period=PeriodDep)
EventSearch = Annotated[Search, Depends(_event_search)]
StreamSearch = Annotated[Search, Depends(_stream_search)]
DeliverySearch = Annotated[Search, Depends(_delivery_search)]


async def _subscription(
    request: Request,
    caller: CallerDep,
    search: StreamSearch,
    last_event_id: Annotated[
        Annotated[str, Field(json_schema_extra={"maxLength": STREAM_ID_LENGTH})] | None,
        Header(description="`id` of the last message that was received: the stream continues after it"),
    ] = None,
) -> AsyncIterator[Subscription]:
    with state_of(request).feed.subscription(caller, search, last_event_id) as stream:
        yield stream


SubscriptionDep = Annotated[Subscription, Depends(_subscription)]
