"""Attempts by message and by endpoint, endpoints of a message, messages of an endpoint, and resend.

Lists contain deliveries to URLs only: Svix sends no emails and no notifications.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from itertools import dropwhile
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Query

from api.access import needs
from api.cursors import bad_cursor
from api.deps import AuditDep, CallerDep, GatewayDep, IndexDep, SearchesDep, StoreDep, WebhooksDep
from extensions.svix.base import (
    ROUTES,
    WITH_KEY,
    Application,
    Endpoint,
    Identified,
    ListResponse,
    MessageFilterDep,
    MessageId,
    PagingDep,
    SvixTime,
    find_endpoint,
)
from extensions.svix.endpoints import EndpointOut
from extensions.svix.messages import MessageOut, page_of_messages, read_message
from hookkeeper.commands import UnknownDelivery
from hookkeeper.kinds import URL
from hookkeeper.messages.event import Delivery
from hookkeeper.messages.rows import EventRow
from hookkeeper.registry.events.listing import cursor_after
from hookkeeper.registry.events.rows import EventSnapshot
from hookkeeper.registry.models import Tenant, Webhook
from hookkeeper.registry.store import Store
from hookkeeper.services.errors import Invalid, NotFound
from hookkeeper.services.events.commands import send
from hookkeeper.services.events.new_event import NewEvent, new_event_id
from hookkeeper.services.events.reads import read_event
from hookkeeper.services.fields import EVENT_ID, Time
from hookkeeper.statuses import DeliveryStatus
from hookkeeper.temporal.server.error_translation import UnknownEvent

router = APIRouter(**ROUTES)
READ = needs("events:read")
SUCCESS, PENDING, FAIL, SENDING, CANCELED = range(5)
TEXTS = ("success", "pending", "fail", "sending", "canceled")
STATUS: dict[DeliveryStatus, int] = {
    **dict.fromkeys(("pending", "retrying", "held", "sent"), SENDING),
    "succeeded": SUCCESS,
    "failed": FAIL,
    "cancelled": CANCELED,
}
"""Svix's status of a delivery. The open server no longer has PENDING. An attempt is SUCCESS or FAIL."""
READ_AT_ONCE = 50
"""Messages that are read for one page of attempts to an endpoint."""
UNKNOWN = "There is no such attempt."
Status = Annotated[int | None, Query(ge=SUCCESS, le=CANCELED)]
Expanded = Annotated[bool, Query(alias="expanded_statuses")]
"""Whether the client knows CANCELED, which is FAIL otherwise."""


class AttemptOut(Identified):
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
    msg: MessageOut | None


class MessageEndpointOut(EndpointOut):
    status: int
    status_text: str
    next_attempt: Time | None


class EndpointMessageOut(MessageOut):
    status: int
    status_text: str
    next_attempt: Time | None


class Wanted(NamedTuple):
    """The conditions of a list of attempts, and whether each shows its message, and contents."""

    status: int | None
    code_class: int | None
    before: datetime | None
    after: datetime | None
    with_msg: bool
    with_content: bool

    def of(self, snapshot: EventSnapshot, endpoint_id: str | None = None) -> list[AttemptOut]:
        """Return the attempts of a message that meet the conditions, the latest first."""
        return [attempt for attempt in self.all_of(snapshot, endpoint_id) if self.has(attempt)]

    def all_of(self, snapshot: EventSnapshot, endpoint_id: str | None) -> Iterator[AttemptOut]:
        return _attempts(snapshot, endpoint_id, self.with_msg, self.with_content)

    def has(self, attempt: AttemptOut) -> bool:
        return (
            self.status in (None, attempt.status)
            and self.code_class in (None, attempt.response_status_code // 100 * 100)
            and (self.before is None or attempt.timestamp < self.before)
            and (self.after is None or attempt.timestamp >= self.after)
        )


async def _wanted(
    status: Status = None,
    status_code_class: Annotated[int | None, Query(ge=0, le=500, multiple_of=100)] = None,
    before: SvixTime | None = None,
    after: SvixTime | None = None,
    with_msg: bool = False,
    with_content: bool = True,
    expanded: Expanded = False,
) -> Wanted:
    """Read the conditions. `expanded_statuses` has no effect: attempts are never CANCELED."""
    return Wanted(status, status_code_class, before, after, with_msg, with_content)


WantedDep = Annotated[Wanted, Depends(_wanted)]


def _attempts(
    snapshot: EventSnapshot, endpoint_id: str | None, with_msg: bool, with_content: bool
) -> Iterator[AttemptOut]:
    event = snapshot.event
    message = MessageOut.of(event, event.data if with_content else {}) if with_msg else None
    made = [
        (attempt, delivery)
        for delivery in _to_urls(snapshot)
        if endpoint_id in (None, delivery.webhook_id)
        for attempt in delivery.attempts
    ]
    for attempt, delivery in sorted(made, key=lambda pair: pair[0].started_at, reverse=True):
        status = FAIL if attempt.error else SUCCESS
        yield AttemptOut(
            id=_id(attempt.number, delivery.webhook_id, event.id),
            msg_id=event.id,
            endpoint_id=delivery.webhook_id,
            url=delivery.target,
            response=(attempt.response_excerpt or attempt.error or "") if with_content else "{}",
            response_status_code=attempt.status_code or 0,
            response_duration_ms=round(attempt.duration_ms),
            status=status,
            status_text=TEXTS[status],
            trigger_type=int(attempt.trigger == "manual"),
            timestamp=attempt.started_at,
            msg=message,
        )


def _to_urls(snapshot: EventSnapshot) -> list[Delivery]:
    return [delivery for delivery in snapshot.state.deliveries if delivery.channel == URL.name]


def _id(number: int, endpoint_id: str, event_id: str) -> str:
    return f"atmpt_{number}_{endpoint_id}_{event_id}"


def _state(status: DeliveryStatus, next_attempt: datetime | None, expanded: bool) -> dict[str, Any]:
    """Return the fields of a delivery in answers."""
    number = STATUS[status]
    if number == CANCELED and not expanded:
        number = FAIL
    waits = next_attempt if number == SENDING else None
    return {"status": number, "status_text": TEXTS[number], "next_attempt": waits}


@router.get("/app/{app_id}/attempt/msg/{msg_id}", dependencies=[READ])
async def list_attempts_of_message(
    app: Application,
    msg_id: MessageId,
    searches: SearchesDep,
    store: StoreDep,
    paging: PagingDep,
    wanted: WantedDep,
    filter_: MessageFilterDep,
    endpoint_id: str | None = None,
) -> ListResponse[AttemptOut]:
    """List the attempts of a message, the latest first."""
    endpoint = await find_endpoint(app, endpoint_id, store) if endpoint_id else None
    async with searches.slot(app.id):
        snapshot = await read_message(app.id, msg_id, store)
    is_meant = filter_.channel is None or filter_.channel in snapshot.event.channels
    is_meant = is_meant and (not filter_.event_types or snapshot.event.type in filter_.event_types)
    return await paging.of_whole(wanted.of(snapshot, endpoint.id if endpoint else endpoint_id) if is_meant else [])


@router.get("/app/{app_id}/attempt/endpoint/{endpoint_id}", dependencies=[READ])
async def list_attempts_of_endpoint(
    app: Application,
    endpoint: Endpoint,
    store: StoreDep,
    searches: SearchesDep,
    index: IndexDep,
    paging: PagingDep,
    wanted: WantedDep,
    filter_: MessageFilterDep,
) -> ListResponse[AttemptOut]:
    """List the attempts to an endpoint, those of the newest message first.

    A page can have fewer items than `limit`: only `done` marks the last one. An iterator is the id of an attempt; the
    number 0 stands for all attempts of a message.
    """

    async def read(limit: int, start: str | None, oldest_first: bool) -> tuple[list[AttemptOut], str | None]:
        found: list[AttemptOut] = []
        cursor, step = None, -1 if oldest_first else 1
        if start:
            snapshot = await _snapshot_of(start, app, endpoint, store)
            cursor = cursor_after(snapshot.event)
            attempts = list(wanted.all_of(snapshot, endpoint.id))[::step]
            later = dropwhile(lambda each: each.id != start, attempts)
            found += [each for each in later if each.id != start and wanted.has(each)]
        # An old message can have late attempts.
        search = filter_.search(app, since=None, webhook=endpoint.id, oldest_first=oldest_first)
        rows, more = await index.events(search, min(limit, READ_AT_ONCE), cursor)
        while more and not rows:  # an iterator names a message: it cannot begin where a scan without matches ends
            rows, more = await index.events(search, min(limit, READ_AT_ONCE), more)
        for row in rows:
            if len(found) > limit:
                break
            with suppress(UnknownEvent):  # it is being erased
                found += wanted.of(await read_event(store.rows, app.id, row.id), endpoint.id)[::step]
        if len(found) > limit or (more and len(found) == limit):
            return found[:limit], found[limit - 1].id
        return found, _id(0, endpoint.id, rows[-1].id) if more else None

    async with searches.slot(app.id):
        return await paging.by_id(read)


async def _snapshot_of(attempt_id: str, app: Tenant, endpoint: Webhook, store: Store) -> EventSnapshot:
    """Return the event of an attempt to the endpoint. Raises Malformed for an unknown attempt."""
    match = re.fullmatch(rf"atmpt_\d+_{endpoint.id}_({EVENT_ID[1:-1]})", attempt_id, re.ASCII)
    try:
        if match:
            return await read_event(store.rows, app.id, match[1])
    except UnknownEvent:
        pass
    raise bad_cursor()


@router.get("/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}", dependencies=[READ])
async def show_attempt(
    app: Application, msg_id: MessageId, attempt_id: str, store: StoreDep, wanted: WantedDep
) -> AttemptOut:
    """Show an attempt."""
    snapshot = await read_message(app.id, msg_id, store)
    found = next((each for each in wanted.of(snapshot) if each.id == attempt_id), None)
    if found is None:
        raise NotFound(UNKNOWN)
    return found


@router.delete(
    "/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content", dependencies=[needs("events:write"), WITH_KEY]
)
async def expunge_attempt(_: Annotated[AttemptOut, Depends(show_attempt)]) -> None:
    """Refuse, because a history does not change."""
    raise Invalid.field("attempt_id", "a response is erased together with its message: DELETE …/msg/{msg_id}/content")


@router.get("/app/{app_id}/endpoint/{endpoint_id}/msg", dependencies=[READ])
async def list_messages_of_endpoint(
    app: Application,
    endpoint: Endpoint,
    searches: SearchesDep,
    paging: PagingDep,
    filter_: MessageFilterDep,
    status: Status = None,
    with_content: bool = True,
    expanded: Expanded = False,
) -> ListResponse[EndpointMessageOut]:
    """List the messages to an endpoint, newest first, with the states of their deliveries."""
    numbers = {SENDING if status == PENDING else status}
    if status == FAIL and not expanded:
        numbers.add(CANCELED)
    statuses = tuple(name for name, number in STATUS.items() if number in numbers)
    search = filter_.search(app, webhook=endpoint.id, delivery_statuses=statuses)

    def show(row: EventRow, data: Any) -> EndpointMessageOut:
        state = _state("pending", None, expanded)
        if row.latest:  # else the message is being erased
            state = _state(row.latest.status, row.latest.next_attempt_at, expanded)
        return EndpointMessageOut.of(row, data, **state)

    return await page_of_messages(paging, searches, search, with_content, show)


@router.get("/app/{app_id}/msg/{msg_id}/endpoint", dependencies=[READ])
async def list_endpoints_of_message(
    app: Application, msg_id: MessageId, store: StoreDep, paging: PagingDep
) -> ListResponse[MessageEndpointOut]:
    """List the endpoints of a message with the states of their deliveries, also deleted endpoints."""
    snapshot = await read_event(store.rows, app.id, msg_id)
    deliveries, accepted_at = _to_urls(snapshot), snapshot.event.accepted_at
    known = (await store.webhooks.many({each.webhook_id for each in deliveries}, app.id)).readable
    return await paging.of_whole(
        [
            MessageEndpointOut.of(
                known.get(each.webhook_id) or _deleted(each, app, accepted_at),
                **_state(each.status, each.next_attempt_at, expanded=False),
            )
            for each in deliveries
        ]
    )


def _deleted(delivery: Delivery, app: Tenant, accepted_at: datetime) -> Webhook:
    """Return a deleted endpoint as far as the message knows it, with the time of the message."""
    return Webhook(
        id=delivery.webhook_id,
        tenant=app.id,
        url=delivery.target,
        events=["*"],
        secret="",
        enabled=False,
        created_at=accepted_at,
        updated_at=accepted_at,
    )


@router.post(
    "/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend", status_code=202, dependencies=[needs("events:write")]
)
async def resend_message(
    app: Application,
    msg_id: MessageId,
    endpoint: Endpoint,
    gateway: GatewayDep,
    store: StoreDep,
    audit: AuditDep,
    caller: CallerDep,
    webhooks: WebhooksDep,
) -> dict[str, Any]:
    """Send a message to an endpoint again, now. One that it did not go to gets it as a message of its own."""
    try:
        await send("redeliver", msg_id, app.id, endpoint.id, gateway, store, caller)
    except UnknownDelivery:
        event = (await read_message(app.id, msg_id, store)).event
        new = NewEvent(tenant=app.id, type=event.type, data=event.data, channels=event.channels)
        sent = await webhooks.ingest.accept_test(new, new_event_id(), endpoint)
        await audit.keep(caller.did("event.redeliver", msg_id, app.id, webhook=endpoint.id, sent=sent.event.id))
    return {}
