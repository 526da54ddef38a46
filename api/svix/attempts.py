"""Attempts, by message and by endpoint; the endpoints of a message, and the messages of an endpoint; send again."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Query

from api.access import needs
from api.deps import AuditDep, CallerDep, GatewayDep, StoreDep
from api.svix.base import (
    ROUTES,
    Application,
    Endpoint,
    ListResponse,
    MessageFilterDep,
    Out,
    Paging,
    PagingDep,
    find_endpoint,
)
from api.svix.endpoints import EndpointOut, shown
from api.svix.messages import MAX_LISTED, MessageOut, message_fields, payloads_of, search_of
from hookkeeper.messages.event import Attempt, Delivery, DeliveryStatus
from hookkeeper.services.errors import Invalid, NotFound
from hookkeeper.services.event_commands import send
from hookkeeper.services.fields import GivenTime, Time
from hookkeeper.temporal.events.own_runs import EventSnapshot

router = APIRouter(**ROUTES)
READ = needs("events:read")
SUCCESS, PENDING, FAIL, SENDING = range(4)
TEXTS = ("success", "pending", "fail", "sending")
STATUS: dict[DeliveryStatus, int] = {
    "succeeded": SUCCESS,
    "retrying": PENDING,
    "held": PENDING,
    "sent": PENDING,
    "failed": FAIL,
    "cancelled": FAIL,
    "pending": SENDING,
}
"""Svix's status of a delivery."""
READ_AT_ONCE = 20
"""Messages that are read for a page of attempts of an endpoint."""
UNKNOWN = "There is no such attempt."
Status = Annotated[int | None, Query(ge=SUCCESS, le=SENDING)]


class AttemptOut(Out):
    id: str
    msg_id: str
    endpoint_id: str
    url: str
    response: str
    response_status_code: int
    response_duration_ms: int
    status: int
    status_text: str
    trigger_type: int
    timestamp: Time
    msg: MessageOut | None = None


class MessageEndpointOut(EndpointOut):
    status: int
    status_text: str
    next_attempt: Time | None


class EndpointMessageOut(MessageOut):
    status: int
    status_text: str
    next_attempt: Time | None


class Wanted(NamedTuple):
    """Which attempts a list has."""

    status: int | None
    code_class: int | None
    before: datetime | None
    after: datetime | None

    def has(self, attempt: AttemptOut) -> bool:
        code = attempt.response_status_code // 100 * 100
        return (
            self.status in (None, attempt.status)
            and self.code_class in (None, code)
            and (self.before is None or attempt.timestamp < self.before)
            and (self.after is None or attempt.timestamp > self.after)
        )


async def _wanted(
    status: Status = None,
    status_code_class: Annotated[int | None, Query(ge=0, le=500, multiple_of=100)] = None,
    before: GivenTime | None = None,
    after: GivenTime | None = None,
    expanded_statuses: bool = False,
) -> Wanted:
    """Read the filter. `expanded_statuses`, which clients send, is of statuses that attempts do not have here."""
    return Wanted(status, status_code_class, before, after)


WantedDep = Annotated[Wanted, Depends(_wanted)]


def _id(attempt: Attempt, delivery: Delivery, event_id: str) -> str:
    return f"atmpt_{attempt.number}_{delivery.webhook_id}_{event_id}"


def _attempts(snapshot: EventSnapshot, endpoint_id: str | None = None, with_msg: bool = False) -> Iterator[AttemptOut]:
    """Return the attempts of a message to the URLs of its endpoints, the latest first."""
    event = snapshot.event
    message = MessageOut.of(event) if with_msg else None
    made = [
        (attempt, delivery)
        for delivery in snapshot.state.deliveries
        if delivery.channel == "webhook" and endpoint_id in (None, delivery.webhook_id)
        for attempt in delivery.attempts
    ]
    for attempt, delivery in sorted(made, key=lambda pair: pair[0].started_at, reverse=True):
        status = FAIL if attempt.error else SUCCESS
        yield AttemptOut(
            id=_id(attempt, delivery, event.id),
            msg_id=event.id,
            endpoint_id=delivery.webhook_id,
            url=delivery.target,
            response=attempt.response_excerpt or (attempt.error or ""),
            response_status_code=attempt.status_code or 0,
            response_duration_ms=round(attempt.duration_ms),
            status=status,
            status_text=TEXTS[status],
            trigger_type=int(attempt.trigger == "manual"),
            timestamp=attempt.started_at,
            msg=message,
        )


def _sliced(items: Sequence[Any], paging: Paging) -> ListResponse[Any]:
    """Return a page of a list that is short enough to be made as a whole."""
    begin = int(paging.cursor.start or 0)
    end = begin + paging.limit
    return paging.page(items[begin:end], str(end) if end < len(items) else None)


@router.get("/app/{app_id}/attempt/msg/{msg_id}", dependencies=[READ])
async def list_attempts_of_message(
    app: Application,
    msg_id: str,
    gateway: GatewayDep,
    store: StoreDep,
    paging: PagingDep,
    wanted: WantedDep,
    filter_: MessageFilterDep,
    endpoint_id: str | None = None,
    with_msg: bool = False,
) -> ListResponse[AttemptOut]:
    """List the attempts of a message, the latest first."""
    endpoint = await find_endpoint(app, endpoint_id, store) if endpoint_id else None
    only = endpoint.id if endpoint else endpoint_id
    snapshot = await gateway.read(app.id, msg_id)
    found = _attempts(snapshot, only, with_msg) if _is_of(snapshot, filter_.channel, filter_.event_types) else ()
    return _sliced([attempt for attempt in found if wanted.has(attempt)], paging)


def _is_of(snapshot: EventSnapshot, channel: str | None, types: Sequence[str]) -> bool:
    event = snapshot.event
    return (channel is None or channel in event.channels) and (not types or event.type in types)


@router.get("/app/{app_id}/attempt/endpoint/{endpoint_id}", dependencies=[READ])
async def list_attempts_of_endpoint(
    app: Application,
    endpoint: Endpoint,
    gateway: GatewayDep,
    store: StoreDep,
    paging: PagingDep,
    wanted: WantedDep,
    filter_: MessageFilterDep,
    with_msg: bool = False,
) -> ListResponse[AttemptOut]:
    """List the attempts to an endpoint, those of the newest message first.

    A page can have fewer items than `limit` without being the last one: only `done` tells.
    """
    skipped, _, cursor = (paging.cursor.start or "0 ").partition(" ")
    search = search_of(app.id, filter_._replace(before=None))
    rows, end = await store.index.events(_to(search, endpoint.id), min(paging.limit, READ_AT_ONCE), cursor or None)
    found: list[AttemptOut] = []
    for row in rows:
        snapshot = await gateway.read(app.id, row.id)
        found += filter(wanted.has, _attempts(snapshot, endpoint.id, with_msg))
        if len(found) > int(skipped) + paging.limit:
            break
    next_ = int(skipped) + paging.limit
    items = found[int(skipped) : next_]
    if next_ < len(found):
        return paging.page(items, f"{next_} {cursor}")
    return paging.page(items, f"0 {end}" if end else None)


def _to(search: Any, webhook: str, *statuses: DeliveryStatus) -> Any:
    from dataclasses import replace

    return replace(search, webhook=webhook, delivery_statuses=statuses)


@router.get("/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}", dependencies=[READ])
async def show_attempt(
    app: Application, msg_id: str, attempt_id: str, gateway: GatewayDep, expanded_statuses: bool = False
) -> AttemptOut:
    return _found(await gateway.read(app.id, msg_id), attempt_id)


def _found(snapshot: EventSnapshot, attempt_id: str) -> AttemptOut:
    found = next((attempt for attempt in _attempts(snapshot) if attempt.id == attempt_id), None)
    if found is None:
        raise NotFound(UNKNOWN)
    return found


@router.delete("/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content", dependencies=[needs("events:write")])
async def expunge_attempt(app: Application, msg_id: str, attempt_id: str, gateway: GatewayDep) -> None:
    """Refuse: a history is not changed."""
    _found(await gateway.read(app.id, msg_id), attempt_id)
    raise Invalid.field("attempt_id", "a response is erased together with its message: DELETE /msg/{msg_id}/content")


@router.get("/app/{app_id}/endpoint/{endpoint_id}/msg", dependencies=[READ])
async def list_messages_of_endpoint(
    app: Application,
    endpoint: Endpoint,
    store: StoreDep,
    gateway: GatewayDep,
    paging: PagingDep,
    filter_: MessageFilterDep,
    status: Status = None,
    expanded_statuses: bool = False,
) -> ListResponse[EndpointMessageOut]:
    """List the messages to an endpoint, newest first, with the state of their deliveries."""
    statuses = [name for name, number in STATUS.items() if number == status]
    search = _to(search_of(app.id, filter_), endpoint.id, *statuses)
    rows, end = await store.index.events(search, min(paging.limit, MAX_LISTED), paging.cursor.start)
    payloads = await payloads_of(rows, filter_, gateway)
    return paging.page(
        [
            EndpointMessageOut(
                **message_fields(row.id, row.type, row.channels, payloads.get(row.id, {})),
                **_state(row.latest.status if row.latest else "pending", row.latest and row.latest.next_attempt_at),
                timestamp=row.accepted_at,
            )
            for row in rows
        ],
        end,
    )


def _state(status: DeliveryStatus, next_attempt: datetime | None) -> dict[str, Any]:
    number = STATUS[status]
    waits = next_attempt if number == PENDING else None
    return {"status": number, "status_text": TEXTS[number], "next_attempt": waits}


@router.get("/app/{app_id}/msg/{msg_id}/endpoint", dependencies=[READ])
async def list_endpoints_of_message(
    app: Application, msg_id: str, gateway: GatewayDep, store: StoreDep, paging: PagingDep
) -> ListResponse[MessageEndpointOut]:
    """List the endpoints of a message that still exist, with the state of their deliveries."""
    snapshot = await gateway.read(app.id, msg_id)
    deliveries = [each for each in snapshot.state.deliveries if each.channel == "webhook"]
    found = await store.webhooks.many({each.webhook_id for each in deliveries}, app.id)
    known = found.readable
    items = [
        MessageEndpointOut(**shown(known[each.webhook_id]), **_state(each.status, each.next_attempt_at))
        for each in deliveries
        if each.webhook_id in known
    ]
    return _sliced(items, paging)


@router.post(
    "/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend", status_code=202, dependencies=[needs("events:write")]
)
async def resend_message(
    app: Application, msg_id: str, endpoint: Endpoint, gateway: GatewayDep, audit: AuditDep, caller: CallerDep
) -> dict[str, Any]:
    """Send a message to an endpoint again, now."""
    await send("redeliver", msg_id, app.id, endpoint.id, gateway, audit, caller)
    return {}
