"""Messages, which are events: create, list, show, expunge."""

import hashlib
import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from api.access import needs
from api.deps import (
    CallerDep,
    EventEntryDep,
    GatewayDep,
    SearchesDep,
    StoreDep,
    TenantsDep,
    event_entry,
    tenant_service,
)
from api.problems import Forbidden
from api.strict_json import parse
from extensions.svix.applications import ApplicationIn, find_or_add
from extensions.svix.base import (
    ROUTES,
    UNKNOWN_APPLICATION,
    WITH_KEY,
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
    SvixRoute,
    check_name,
    find_application,
    mac_of_key,
    with_key,
)
from extensions.svix.errors import translated, untranslatable
from hookkeeper.messages.event import EventInput
from hookkeeper.messages.rows import EventRow
from hookkeeper.registry.audit import AuditEntry
from hookkeeper.registry.events.conditions import Search
from hookkeeper.registry.events.listing import cursor_after
from hookkeeper.registry.events.rows import EventSnapshot
from hookkeeper.registry.store import Store
from hookkeeper.services.errors import NotFound, NotPossible
from hookkeeper.services.events.new_event import NewEvent, is_generated
from hookkeeper.services.events.reads import read_event
from hookkeeper.services.events.search import EventSearches
from hookkeeper.services.fields import Time
from hookkeeper.temporal.events.erasure import erase_open
from hookkeeper.temporal.server.error_translation import NOT_FOUND_MESSAGES, UnknownEvent
from hookkeeper.times import rfc3339

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
    def of(cls, event: EventInput | EventRow, data: Any, **state: Any) -> Self:
        """Show an event. Data of an event of `/v1` that are no object become `{"data": …}`."""
        return cls(
            id=event.id,
            event_id=_event_id(event.id),
            event_type=event.type,
            payload=data if isinstance(data, dict) else {"data": data},
            channels=_channels(event) or None,
            timestamp=event.accepted_at,
            deliver_at=event.deliver_at,
            **state,
        )


def _channels(event: EventInput | EventRow) -> list[str]:
    return list(event.channels) if isinstance(event, EventInput) else (event.channels or "").split()


def _event_id(message_id: str) -> str | None:
    return None if is_generated(message_id) or ID_OF_KEY.fullmatch(message_id) else message_id


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
    show: Callable[[EventRow, Any], Item],
) -> ListResponse[Item]:
    """Read a page of messages, newest first; `show` gets each with its payload."""
    payloads: dict[str, Any] = {}

    async def read(limit: int, cursor: str | None, oldest_first: bool) -> tuple[list[EventRow], str | None]:
        ordered = replace(search, oldest_first=oldest_first)
        rows, end, found = await searches.with_data(ordered, limit, cursor, reads=with_content)
        payloads.update(found)
        return rows, end

    return await paging.by_cursor("descending", read, cursor_after, lambda row: show(row, payloads.get(row.id, {})))


class CreateMessageRoute(SvixRoute):
    """Reads the parameters of `create_message` itself, as `PostEventRoute` does: FastAPI takes a fifth of the CPU."""

    may_change = False

    def endpoint_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def handle(request: Request) -> Response:
            await with_key(request.state.caller)
            body = await request.json() if await request.body() else None
            entry, tenants = await event_entry(request), await tenant_service(request)
            given = {"body": body, "with_content": request.query_params.get("with_content", True)}
            given["idempotency_key"] = request.headers.get("idempotency-key")
            try:
                read = _Given.model_validate(given)
            except ValidationError as error:
                raise RequestValidationError([_located(each) for each in error.errors()]) from None
            mac = await mac_of_key(request, read.idempotency_key)
            app_id = request.path_params["app_id"]
            message = await create_message(app_id, read.body, entry, tenants, mac, read.with_content)
            return Response(message.model_dump_json(by_alias=True), 202, media_type="application/json")

        return handle


class _Given(BaseModel):
    body: MessageIn
    with_content: bool
    idempotency_key: str | None = Field(min_length=1, max_length=256)


def _located(error: Any) -> Any:
    """Return an error of a parameter with the place where FastAPI looks for it."""
    name, *rest = error["loc"]
    places = {"with_content": ("query", "with_content"), "idempotency_key": ("header", "idempotency-key")}
    return {**error, "loc": (*places.get(name, (name,)), *rest)}


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
    check_name(app_id)
    if entry.caller.tenant not in (None, app_id):
        raise NotFound(UNKNOWN_APPLICATION)
    if new.application is not None and entry.caller.tenant is None:
        await find_or_add(app_id, new.application, tenants)
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
    try:
        started = await entry.accept(event, makes_tenant=False)
    except Forbidden:  # it is suspended, perhaps because it is being deleted
        await find_application(app_id, tenants)
        raise
    if started.duplicate and mac is None:
        raise NotPossible("A message with this eventId was accepted before.")
    return MessageOut.of(started.event, started.event.data if with_content else {})


router.add_api_route(
    "/app/{app_id}/msg",
    create_message,
    methods=["POST"],
    status_code=202,
    dependencies=[needs("events:write"), WITH_KEY],
    route_class_override=CreateMessageRoute,
)


@router.get("/app/{app_id}/msg/{msg_id}", dependencies=[needs("events:read")])
async def show_message(app: Application, msg_id: MessageId, store: StoreDep, with_content: bool = True) -> MessageOut:
    """Show a message. Of an expunged one, the audit log has what its payload does not tell."""
    if entry := await _expunged(app.id, msg_id, store):
        kept = entry.detail
        return MessageOut(
            id=msg_id,
            event_id=_event_id(msg_id),
            event_type=kept["type"],
            payload={"expired": True},
            channels=kept["channels"].split() or None,
            timestamp=datetime.fromisoformat(kept["accepted_at"]),
        )
    event = (await read_event(store.rows, app.id, msg_id)).event
    return MessageOut.of(event, event.data if with_content else {})


async def read_message(app_id: str, msg_id: str, store: Store) -> EventSnapshot:
    """Read the event of a message. Raises UnknownEvent, also for one that was expunged: Temporal deletes later."""
    if await _expunged(app_id, msg_id, store):
        raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])
    return await read_event(store.rows, app_id, msg_id)


async def _expunged(app_id: str, msg_id: str, store: Store) -> AuditEntry | None:
    """Return the audit entry of a message's erasure; None if it has a row, or was not expunged."""
    if await store.rows.find(app_id, msg_id) is not None:
        return None
    return await store.audit.find(_entry_id(app_id, msg_id))


def _entry_id(app_id: str, msg_id: str) -> str:
    """Make the id of the audit entry of a message's erasure, by which it is found."""
    return f"aud_{hashlib.sha256(f'{app_id}/{msg_id}'.encode()).hexdigest()[:24]}"


@router.delete("/app/{app_id}/msg/{msg_id}/content", status_code=204, dependencies=[needs("events:write"), WITH_KEY])
async def expunge_message(
    app: Application, msg_id: MessageId, gateway: GatewayDep, store: StoreDep, caller: CallerDep
) -> None:
    """Erase a message with its attempts. Deliveries that wait are cancelled."""
    if await _expunged(app.id, msg_id, store):
        return
    event = (await read_event(store.rows, app.id, msg_id)).event
    await erase_open(gateway.erasure, gateway.commands, app.id, msg_id)
    kept = {"type": event.type, "accepted_at": rfc3339(event.accepted_at), "channels": " ".join(event.channels)}
    entry = caller.did("event.erase", msg_id, app.id, **kept)
    if await store.audit.find(_entry_id(app.id, msg_id)) is None:  # else an earlier message had the same id
        entry.id = _entry_id(app.id, msg_id)
    await store.audit.keep(entry)
