"""Read events, control them, and erase them. `api.routes.post_events` accepts them."""

from typing import Annotated

from fastapi import APIRouter, Path

from api import views
from api.access import GuardedRoute, needs
from api.caller import Caller
from api.deps import AuditDep, CallerDep, Cursor, GatewayDep, IndexDep, Limit, LinksDep, Tenant
from api.filters import EventSearch, Total
from api.problems import KEYED, responses
from api.schemas.events import (
    ErasureAccepted,
    EventCommandAccepted,
    EventCommandRequest,
    EventSummary,
    EventView,
    RescheduleRequest,
)
from hookkeeper.command_rules import COMMANDS, Command
from hookkeeper.registry.audit import AuditLog
from hookkeeper.services.fields import EVENT_ID, CountedPage
from hookkeeper.services.ingest import check_deliver_at
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.times import utc_now

router = APIRouter(prefix="/v1/events", tags=["events"], route_class=GuardedRoute, responses=KEYED)
PathId = Annotated[str, Path(pattern=EVENT_ID)]


@router.get("", dependencies=[needs("events:read")])
async def list_events(
    cursor: Cursor, index: IndexDep, links: LinksDep, search: EventSearch, total: Total = False, limit: Limit = 50
) -> CountedPage[EventSummary]:
    """List events, newest first. What an event's workflow does is listed when it waits for its next step.

    A single delivery has to meet all conditions on deliveries: `webhook`, `delivery_status`, `channel`, `status_code`,
    `error` and `min_attempts`.

    A page can have fewer items than `limit` without being the last one: only `next_cursor` tells.
    """
    rows, next_cursor = await index.events(search, limit, cursor.start)
    count = await index.count_events(search) if total else None
    return cursor.counted_page([views.event_summary(row, links) for row in rows], next_cursor, count)


@router.get("/{event_id}", responses=responses(404), dependencies=[needs("events:read")])
async def show_event(event_id: PathId, gateway: GatewayDep, links: LinksDep, tenant: Tenant) -> EventView:
    """Show an event with its data, its deliveries and their attempts."""
    return views.event(await gateway.read(tenant, event_id), links)


async def send_command(
    command: Command,
    event_id: str,
    tenant: str,
    delivery: str | None,
    gateway: Gateway,
    audit: AuditLog,
    caller: Caller,
) -> None:
    """Send a command to one delivery of an event, or to all, and record it."""
    await gateway.commands.send(tenant, event_id, command, delivery)
    meant = {"delivery": delivery} if delivery else {}
    await audit.keep(caller.did(f"event.{command}", event_id, tenant, **meant))


def _add_command(command: Command, summary: str, description: str) -> None:
    async def act(
        event_id: PathId,
        tenant: Tenant,
        gateway: GatewayDep,
        audit: AuditDep,
        caller: CallerDep,
        request: EventCommandRequest | None = None,
    ) -> EventCommandAccepted:
        delivery = request.delivery if request else None
        await send_command(command, event_id, tenant, delivery, gateway, audit, caller)
        return EventCommandAccepted(id=event_id, command=command, delivery=delivery)

    router.add_api_route(
        f"/{{event_id}}/{command}",
        act,
        methods=["POST"],
        status_code=202,
        name=f"{command}_event",
        summary=summary,
        description=description,
        responses=responses(404, 409),
        dependencies=[needs("events:write")],
    )


for _command, _rule in COMMANDS.items():
    _add_command(_command, _rule.title, _rule.description)


@router.post(
    "/{event_id}/reschedule", status_code=202, responses=responses(404, 409), dependencies=[needs("events:write")]
)
async def reschedule_event(
    event_id: PathId, change: RescheduleRequest, tenant: Tenant, gateway: GatewayDep, audit: AuditDep, caller: CallerDep
) -> EventCommandAccepted:
    """Change the time of an event that is scheduled for later."""
    check_deliver_at(change.deliver_at, utc_now())
    await gateway.commands.reschedule(tenant, event_id, change.deliver_at)
    await audit.keep(caller.did("event.reschedule", event_id, tenant, ["deliver_at"]))
    return EventCommandAccepted(id=event_id, command="reschedule")


@router.delete("/{event_id}/data", status_code=202, responses=responses(404, 409), dependencies=[needs("events:write")])
async def erase_event(
    event_id: PathId, tenant: Tenant, gateway: GatewayDep, audit: AuditDep, caller: CallerDep
) -> ErasureAccepted:
    """Erase a finished event: its data, its deliveries and its log. Cancel an open event first (409).

    Temporal deletes in the background, usually within 30 seconds. After that the event is unknown (404), and its id can
    be used again: the same POST would deliver it again. Repeat the request after a 503.
    """
    runs = await gateway.erasure.erase(tenant, event_id)
    await audit.keep(caller.did("event.erase", event_id, tenant))
    return ErasureAccepted(id=event_id, runs=runs)
