"""Messages, which are events: create, list, show, expunge."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Self

from fastapi import APIRouter
from pydantic import Field

from api.access import needs
from api.deps import AuditDep, CallerDep, EventEntryDep, GatewayDep, SearchesDep, TenantsDep
from api.strict_json import parse
from api.svix.applications import ApplicationIn, find_or_add
from api.svix.base import (
    ROUTES,
    Application,
    In,
    Item,
    KeyMac,
    ListResponse,
    MessageFilterDep,
    MessageId,
    Out,
    Paging,
    PagingDep,
)
from api.svix.errors import translated, untranslatable
from hookkeeper.messages.event import EventInput
from hookkeeper.registry.index.listing import ListedEvent, cursor_after
from hookkeeper.registry.index.search import Search
from hookkeeper.services.errors import NotPossible
from hookkeeper.services.event_search import EventSearches
from hookkeeper.services.fields import Time
from hookkeeper.services.new_event import NewEvent, is_generated

router = APIRouter(**ROUTES)
MAX_CHANNELS = 5
OF_KEY = "msg_"
"""The prefix of ids of messages with an idempotency key instead of an `eventId`."""
ID_OF_KEY = re.compile(rf"{OF_KEY}[0-9a-f]{{32}}")
Retention = Annotated[Any, untranslatable("HOOKKEEPER_RETENTION sets how long all payloads are kept")]


class RawPayload(In):
    raw_payload: str | None = None


class MessageIn(In):
    event_type: str
    payload: dict[str, Any]
    event_id: str | None = None
    channels: list[Any] | None = Field(None, min_length=1, max_length=MAX_CHANNELS)
    deliver_at: Any = None
    application: ApplicationIn | None = None
    tags: Annotated[Any, untranslatable("use channels, or search keys of the event type")] = None
    transformations_params: RawPayload | None = None
    """Clients send a payload as text in `rawPayload`; it must be JSON."""
    payload_retention_hours: Retention = None
    payload_retention_period: int | None = Field(None, ge=5, le=90)
    """Days. It has no effect: clients send it by default, and all payloads are kept as long as the log."""


class MessageOut(Out):
    id: str
    event_id: str | None
    event_type: str
    payload: dict[str, Any]
    channels: list[str] | None
    timestamp: Time
    deliver_at: Time | None = None

    @classmethod
    def of(cls, event: EventInput | ListedEvent, data: Any, **state: Any) -> Self:
        """Show an event. Data of an event of `/v1` that are no object become `{"data": …}`."""
        return cls(
            id=event.id,
            event_id=None if is_generated(event.id) or ID_OF_KEY.fullmatch(event.id) else event.id,
            event_type=event.type,
            payload=data if isinstance(data, dict) else {"data": data},
            channels=list(event.channels) or None,
            timestamp=event.accepted_at,
            deliver_at=event.deliver_at,
            **state,
        )


@router.get("/app/{app_id}/msg", dependencies=[needs("events:read")])
async def list_messages(
    app: Application, searches: SearchesDep, paging: PagingDep, wanted: MessageFilterDep, with_content: bool = True
) -> ListResponse[MessageOut]:
    """List messages, newest first. A page with payloads is short, because each is read from a history."""
    return await page_of_messages(paging, searches, wanted.search(app), with_content, MessageOut.of)


async def page_of_messages(
    paging: Paging,
    searches: EventSearches,
    search: Search,
    with_content: bool,
    show: Callable[[ListedEvent, Any], Item],
) -> ListResponse[Item]:
    """Read a page of messages, newest first; `show` gets each with its payload."""
    payloads: dict[str, Any] = {}

    async def read(limit: int, cursor: str | None, oldest_first: bool) -> tuple[list[ListedEvent], str | None]:
        ordered = replace(search, oldest_first=oldest_first)
        rows, end, found = await searches.with_data(ordered, limit, cursor, reads=with_content)
        payloads.update(found)
        return rows, end

    return await paging.by_cursor("descending", read, cursor_after, lambda row: show(row, payloads.get(row.id, {})))


@router.post("/app/{app_id}/msg", status_code=202, dependencies=[needs("events:write")])
async def create_message(
    app_id: str,
    new: MessageIn,
    entry: EventEntryDep,
    tenants: TenantsDep,
    mac: KeyMac,
    with_content: bool = True,
) -> MessageOut:
    """Accept a message. With an idempotency key, it can be repeated; without one, a known `eventId` is a conflict.

    An application that does not exist is added if the message describes it.
    """
    await find_or_add(app_id, new.application if entry.caller.tenant is None else None, tenants)
    raw = new.transformations_params.raw_payload if new.transformations_params else None
    event = translated(
        NewEvent,
        tenant=app_id,
        id=new.event_id or (OF_KEY + mac[:32] if mac else None),
        type=new.event_type,
        data=new.payload if raw is None else parse(raw.encode()),
        channels=new.channels or (),
        deliver_at=new.deliver_at,
    )
    started = await entry.accept(event)
    if started.duplicate and mac is None:
        raise NotPossible("A message with this eventId was accepted before.")
    return MessageOut.of(started.event, started.event.data if with_content else {})


@router.get("/app/{app_id}/msg/{msg_id}", dependencies=[needs("events:read")])
async def show_message(
    app: Application, msg_id: MessageId, gateway: GatewayDep, with_content: bool = True
) -> MessageOut:
    """Show a message."""
    event = (await gateway.read(app.id, msg_id)).event
    return MessageOut.of(event, event.data if with_content else {})


@router.delete("/app/{app_id}/msg/{msg_id}/content", status_code=204, dependencies=[needs("events:write")])
async def expunge_message(
    app: Application, msg_id: MessageId, gateway: GatewayDep, audit: AuditDep, caller: CallerDep
) -> None:
    """Erase a finished message with its attempts. One that is being delivered is a conflict."""
    await gateway.erasure.erase(app.id, msg_id)
    await audit.keep(caller.did("event.erase", msg_id, app.id))
