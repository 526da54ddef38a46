"""Messages, which are events: create, list, show, expunge."""

from collections.abc import Collection
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import Field

from api.access import needs
from api.deps import AuditDep, CallerDep, EventEntryDep, GatewayDep, StoreDep, TenantsDep
from api.svix.applications import ApplicationIn, add
from api.svix.base import (
    ID_OF_KEY,
    ROUTES,
    Application,
    In,
    ListResponse,
    MessageFilter,
    MessageFilterDep,
    Out,
    PagingDep,
    id_of_key,
    translated,
    untranslatable,
)
from hookkeeper.content.search_terms import CHANNEL, Key
from hookkeeper.messages.event import EventInput
from hookkeeper.registry.index.listing import ListedEvent
from hookkeeper.registry.index.search import Search
from hookkeeper.registry.tenants import TenantExists
from hookkeeper.services.errors import NotFound, NotPossible
from hookkeeper.services.new_event import NewEvent, is_generated
from hookkeeper.temporal.events.gateway import Gateway

router = APIRouter(**ROUTES)
MAX_CHANNELS = 5
MAX_LISTED = 50
"""Messages of a page with their payloads, each of which is read from a history."""
RETENTION = untranslatable("how long histories are kept is a property of Temporal's namespace")


class MessageIn(In):
    event_type: str
    payload: dict[str, Any]
    event_id: str | None = None
    channels: list[Any] | None = Field(None, max_length=MAX_CHANNELS)
    deliver_at: Any = None
    application: ApplicationIn | None = None
    tags: untranslatable("use channels, or search keys of the event type") = None  # type: ignore[valid-type]
    transformations_params: untranslatable("use a template of the webhook") = None  # type: ignore[valid-type]
    payload_retention_hours: RETENTION = None
    payload_retention_period: int = Field(90, ge=90, le=90)


class MessageOut(Out):
    id: str
    event_id: str | None
    event_type: str
    payload: dict[str, Any]
    channels: list[str] | None
    timestamp: Any
    deliver_at: Any = None

    @classmethod
    def of(cls, event: EventInput, with_content: bool = True) -> "MessageOut":
        return cls(
            **message_fields(event.id, event.type, event.channels, event.data if with_content else {}),
            timestamp=event.timestamp,
            deliver_at=event.deliver_at,
        )


def message_fields(id_: str, type_: str, channels: Collection[str], data: Any) -> dict[str, Any]:
    """Return what an answer has of a message. Events of `/v1` can have data that are no object."""
    return {
        "id": id_,
        "event_id": None if is_generated(id_) or ID_OF_KEY.fullmatch(id_) else id_,
        "event_type": type_,
        "channels": list(channels) or None,
        "payload": data if isinstance(data, dict) else {"data": data},
    }


def search_of(app: str, wanted: MessageFilter) -> Search:
    """Return the search that finds the messages of a list."""
    return Search(
        tenant=app,
        types=wanted.event_types,
        since=wanted.after,
        until=wanted.before,
        keys=(Key(CHANNEL, wanted.channel),) if wanted.channel else (),
    )


async def payloads_of(rows: Collection[ListedEvent], wanted: MessageFilter, gateway: Gateway) -> dict[str, Any]:
    """Read the payloads of listed messages, if they are wanted."""
    found: dict[str, Any] = {}
    if wanted.with_content:
        await gateway.data.matching(list(rows), lambda data, id_: found.setdefault(id_, data) is data)
    return found


@router.get("/app/{app_id}/msg", dependencies=[needs("events:read")])
async def list_messages(
    app: Application, store: StoreDep, gateway: GatewayDep, paging: PagingDep, wanted: MessageFilterDep
) -> ListResponse[MessageOut]:
    """List messages, newest first."""
    rows, end = await store.index.events(search_of(app.id, wanted), min(paging.limit, MAX_LISTED), paging.cursor.start)
    payloads = await payloads_of(rows, wanted, gateway)
    return paging.page(
        [
            MessageOut(
                **message_fields(row.id, row.type, row.channels, payloads.get(row.id, {})),
                timestamp=row.accepted_at,
                deliver_at=row.deliver_at,
            )
            for row in rows
        ],
        end,
    )


@router.post("/app/{app_id}/msg", status_code=202, dependencies=[needs("events:write")])
async def create_message(
    app_id: str,
    new: MessageIn,
    entry: EventEntryDep,
    tenants: TenantsDep,
    with_content: bool = True,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=256)] = None,
) -> MessageOut:
    """Accept a message. One with an idempotency key can be sent again; a second one with its `eventId` is a conflict.

    An application that does not exist is added if the message describes it.
    """
    id_ = new.event_id or (id_of_key(idempotency_key) if idempotency_key else None)
    event = translated(
        NewEvent,
        tenant=app_id,
        id=id_,
        type=new.event_type,
        data=new.payload,
        channels=new.channels or (),
        deliver_at=new.deliver_at,
    )
    try:
        await tenants.get(app_id)
    except NotFound:
        if new.application is None or entry.caller.tenant not in (None, app_id):
            raise
        with suppress(TenantExists):
            await add(new.application, tenants, app_id)
    started = await entry.accept(event)
    if started.duplicate and idempotency_key is None:
        raise NotPossible("A message with this eventId was accepted before.")
    return MessageOut.of(started.event, with_content)


@router.get("/app/{app_id}/msg/{msg_id}", dependencies=[needs("events:read")])
async def show_message(app: Application, msg_id: str, gateway: GatewayDep, with_content: bool = True) -> MessageOut:
    return MessageOut.of((await gateway.read(app.id, msg_id)).event, with_content)


@router.delete("/app/{app_id}/msg/{msg_id}/content", status_code=204, dependencies=[needs("events:write")])
async def expunge_message(
    app: Application, msg_id: str, gateway: GatewayDep, audit: AuditDep, caller: CallerDep
) -> None:
    """Erase a finished message with its attempts. One that is being delivered is a conflict: cancel it first."""
    await gateway.erasure.erase(app.id, msg_id)
    await audit.keep(caller.did("event.erase", msg_id, app.id))
