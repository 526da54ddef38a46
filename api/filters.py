"""The filters of lists and streams of events and deliveries."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Annotated, NamedTuple, TypeVar

from fastapi import Depends, Header, Query, Request
from pydantic import Field

from api.cursors import STREAM_ID_LENGTH
from api.deps import AnyTenant, CallerDep, KnownWebhook, WebhookFilter
from api.state import state_of
from api.streams.subscription import Subscription
from hookkeeper.content.search_terms import MAX_QUERY, BadQuery, Term, keys_of_channels, parse
from hookkeeper.messages.event import Channel, DeliveryStatus, EventStatus
from hookkeeper.policy import HealthStatus
from hookkeeper.registry.index.search import Search, StatusCodes, status_codes
from hookkeeper.services.errors import Invalid
from hookkeeper.services.fields import AGE, ERROR, EVENT_ID, STATUS_CODE, ChannelName, EventType, GivenTime
from hookkeeper.times import utc_now

UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
MAX_VALUES = 20
"""Values of a filter that can be repeated."""
Value = TypeVar("Value")


class _Period(NamedTuple):
    """The time of acceptance."""

    since: datetime | None
    until: datetime | None


class _Outcome(NamedTuple):
    """Conditions on a delivery and its latest attempt."""

    status_codes: StatusCodes | None
    error: str | None
    min_attempts: int | None
    channel: Channel | None


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


async def _outcome(
    status_code: Annotated[
        str | None,
        Query(
            pattern=STATUS_CODE,
            description="Status code of the latest attempt, such as `503`, or its class, such as `5xx`",
            examples=["5xx"],
        ),
    ] = None,
    error: Annotated[
        str | None,
        Query(
            pattern=ERROR,
            description="Error of the latest attempt, such as `timeout`, `dns` or `http_503`",
            examples=["timeout"],
        ),
    ] = None,
    min_attempts: Annotated[int | None, Query(ge=1, le=10_000, description="At least this many attempts")] = None,
    channel: Annotated[Channel | None, Query(description="Kind of target")] = None,
) -> _Outcome:
    return _Outcome(status_codes(status_code) if status_code else None, error, min_attempts, channel)


PeriodDep = Annotated[_Period, Depends(_period)]
OutcomeDep = Annotated[_Outcome, Depends(_outcome)]
Types = Annotated[
    list[EventType] | None, Query(max_length=MAX_VALUES, description="Events of exactly this type; can be repeated")
]
IdPrefix = Annotated[str | None, Query(pattern=EVENT_ID, description="The event's id begins with this text")]
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


async def _event_search(
    tenant: AnyTenant,
    period: PeriodDep,
    outcome: OutcomeDep,
    webhook: WebhookFilter,
    type: Types = None,
    status: Annotated[
        list[EventStatus] | None,
        Query(max_length=MAX_VALUES, description="Events with this status; can be repeated"),
    ] = None,
    needs_attention: Annotated[
        bool | None,
        Query(
            description="True: only events with a delivery that has failed, or has been retrying for over 15 minutes."
            " False: only events without one that is retrying, held or failed, and acknowledged ones"
        ),
    ] = None,
    acknowledged: Annotated[bool | None, Query(description="Only events that are (or are not) acknowledged")] = None,
    delivery_status: Annotated[
        list[DeliveryStatus] | None,
        Query(max_length=MAX_VALUES, description="Events with a delivery of this status; can be repeated"),
    ] = None,
    id_prefix: IdPrefix = None,
    in_channel: Annotated[
        ChannelName | None, Query(description="Events of one tenant that name this channel", examples=["project_1"])
    ] = None,
) -> Search:
    if in_channel and tenant is None:
        raise Invalid.field("in_channel", "finds events of one tenant: name a `tenant` too")
    return Search(
        tenant=tenant,
        types=_once(type),
        id_prefix=id_prefix,
        keys=keys_of_channels((in_channel,)) if in_channel else (),
        **period._asdict(),
        statuses=_once(status),
        needs_attention=needs_attention,
        acknowledged=acknowledged,
        webhook=webhook,
        delivery_statuses=_once(delivery_status),
        **outcome._asdict(),
    )


async def _stream_search(
    tenant: AnyTenant,
    webhook: WebhookFilter,
    type: Types = None,
    status: Annotated[
        list[EventStatus] | None, Query(max_length=MAX_VALUES, description="Events with this status; can be repeated")
    ] = None,
    delivery_status: Annotated[
        list[DeliveryStatus] | None,
        Query(max_length=MAX_VALUES, description="Changes of deliveries to this status; can be repeated"),
    ] = None,
) -> Search:
    return Search(
        tenant=tenant,
        types=_once(type),
        statuses=_once(status),
        webhook=webhook,
        delivery_statuses=_once(delivery_status),
    )


async def _delivery_search(
    webhook: KnownWebhook,
    period: PeriodDep,
    outcome: OutcomeDep,
    type: Types = None,
    status: Annotated[
        list[DeliveryStatus] | None,
        Query(max_length=MAX_VALUES, description="Deliveries with this status; can be repeated"),
    ] = None,
    id_prefix: IdPrefix = None,
) -> Search:
    return Search(
        tenant=webhook.tenant,
        webhook=webhook.id,
        types=_once(type),
        id_prefix=id_prefix,
        **period._asdict(),
        delivery_statuses=_once(status),
        **outcome._asdict(),
    )


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


def _once(values: list[Value] | None) -> tuple[Value, ...]:
    return tuple(dict.fromkeys(values or ()))
