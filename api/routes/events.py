"""List, stream, read, control and erase events. `api.routes.post_events` accepts them."""

from collections.abc import AsyncIterable
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.sse import EventSourceResponse

from api import views
from api.access import GuardedRoute, needs
from api.deps import (
    AuditDep,
    CallerDep,
    Cursor,
    EventTenant,
    GatewayDep,
    Limit,
    LinksDep,
    SearchesDep,
    StoreDep,
    Tenant,
)
from api.filters import DataQuery, EventSearch, SubscriptionDep, Total
from api.problems import KEYED, responses
from api.schemas.events import (
    AcknowledgeRequest,
    ErasureAccepted,
    EventChange,
    EventCommandAccepted,
    EventCommandRequest,
    EventPage,
    EventView,
    RescheduleRequest,
    RunsView,
)
from api.state import state_of
from hookkeeper.command_rules import COMMANDS, Command
from hookkeeper.services.events.commands import acknowledge, reschedule, send, unacknowledge
from hookkeeper.services.events.reads import read_event
from hookkeeper.services.fields import EVENT_ID
from hookkeeper.services.webhooks.webhooks import names_of

router = APIRouter(prefix="/v1/events", tags=["events"], route_class=GuardedRoute, responses=KEYED)
STREAMED = {
    "examples": {
        "messages": {
            "value": "event: ready\ndata: {}\nid: 3q2-7wAAAAAAAAAAAAAAAA\nretry: 3000\n\n"
            'event: event\ndata: {"id":"order-4711","type":"order.paid",…}\nid: 4u3-8wAAAAAAAAAAAAAAAA\n\n'
        }
    }
}
PathId = Annotated[str, Path(pattern=EVENT_ID)]


@router.get("", dependencies=[needs("events:read")])
async def list_events(
    cursor: Cursor,
    store: StoreDep,
    searches: SearchesDep,
    links: LinksDep,
    caller: CallerDep,
    search: EventSearch,
    q: DataQuery = None,
    total: Total = False,
    limit: Limit = 50,
) -> EventPage:
    """List events, newest first. What an event's workflow does is listed when it waits for its next step.

    A single delivery has to meet all conditions on deliveries: `webhook`, `delivery_status`, `channel`, `status_code`,
    `error`, `min_attempts` and `needs_attention=true`.

    A page can have fewer items than `limit` without being the last one: only `next_cursor` tells.
    """
    search, terms = await searches.resolve(search, q)
    found = await searches.page(search, terms, limit, cursor.start)
    count = await store.index.count_events(search) if total and not terms else None
    names = await names_of(store, caller, found.webhooks)
    page = cursor.page([views.event_summary(row, links, names) for row in found.rows], found.next_cursor)
    return EventPage(**dict(page), total=count, searched_until=found.searched_until)


@router.get(
    "/stream",
    response_class=EventSourceResponse,
    responses={200: {"description": "Server-sent events", "content": {"text/event-stream": STREAMED}}},
    dependencies=[needs("events:read")],
)
async def stream_events(request: Request, stream: SubscriptionDep) -> AsyncIterable[EventChange]:
    """Follow new events and the outcomes of attempts, as server-sent events, about a second behind.

    - `ready`: the stream has begun, or goes on after `unavailable`. What was accepted before is in `GET /v1/events`.
    - `event`: an event was accepted, or has changed. `data` is an `EventChange`: the event as it is now, and those of
      its deliveries that have changed. Changes within a second are one message.
    - `reset`: more has changed than can be sent, or the stream was resumed too late. Read the list again.
    - `unavailable`: the registry is unavailable. The stream goes on when it is back.

    The filters are those of the list without times, `q` and `in_channel`. A single delivery that has changed has to
    meet all conditions on deliveries.

    A stream ends after 15 minutes, when its key is revoked, when the process stops, and when its reader is too slow.
    Connect again with the last `id` in `Last-Event-ID`, as browsers do: no message is left out or repeated. The log of
    changes has the last minutes; after a `reset`, read the list.
    """
    async for message in state_of(request).feed.messages(stream):
        yield message  # type: ignore[misc]  # the annotation is the schema of its data


@router.get("/{event_id}", responses=responses(404), dependencies=[needs("events:read")])
async def show_event(event_id: PathId, store: StoreDep, links: LinksDep, tenant: EventTenant) -> EventView:
    """Show an event with its data, its deliveries and their attempts."""
    return views.event(await read_event(store.rows, tenant, event_id), links)


@router.get("/{event_id}/run", responses=responses(404), dependencies=[needs("events:read")])
async def show_run(event_id: PathId, gateway: GatewayDep, tenant: EventTenant) -> RunsView:
    """Ask the workflow that runs an event for its state, which needs Temporal, and a worker while the run is open.

    `GET /v1/events/{event_id}` reads what the workflow has recorded: the same, but for the latest moment.
    """
    return views.runs(await gateway.runs.states(tenant, event_id))


def _add_command(command: Command, summary: str, description: str) -> None:
    async def act(
        event_id: PathId,
        tenant: EventTenant,
        gateway: GatewayDep,
        store: StoreDep,
        caller: CallerDep,
        request: EventCommandRequest | None = None,
    ) -> EventCommandAccepted:
        delivery = request.delivery if request else None
        await send(command, event_id, tenant, delivery, gateway, store, caller)
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
    event_id: PathId,
    change: RescheduleRequest,
    tenant: EventTenant,
    gateway: GatewayDep,
    store: StoreDep,
    caller: CallerDep,
) -> EventCommandAccepted:
    """Change the time of an event that is scheduled for later."""
    await reschedule(event_id, tenant, change.deliver_at, gateway, store, caller)
    return EventCommandAccepted(id=event_id, command="reschedule")


@router.post("/{event_id}/acknowledge", responses=responses(404, 409), dependencies=[needs("events:write")])
async def acknowledge_event(
    event_id: PathId, tenant: EventTenant, store: StoreDep, caller: CallerDep, request: AcknowledgeRequest | None = None
) -> EventCommandAccepted:
    """Take an event out of what needs attention, until a delivery of it fails again. Its deliveries do not change."""
    await acknowledge(event_id, tenant, request.note if request else "", store, caller)
    return EventCommandAccepted(id=event_id, command="acknowledge")


@router.post("/{event_id}/unacknowledge", responses=responses(404, 409), dependencies=[needs("events:write")])
async def unacknowledge_event(
    event_id: PathId, tenant: EventTenant, store: StoreDep, caller: CallerDep
) -> EventCommandAccepted:
    """Undo the acknowledgement of an event."""
    await unacknowledge(event_id, tenant, store, caller)
    return EventCommandAccepted(id=event_id, command="unacknowledge")


@router.delete("/{event_id}/data", status_code=202, responses=responses(404, 409), dependencies=[needs("events:write")])
async def erase_event(
    event_id: PathId, tenant: Tenant, gateway: GatewayDep, audit: AuditDep, caller: CallerDep
) -> ErasureAccepted:
    """Erase a finished event: its data, its deliveries and its log. Cancel an open event first (409).

    Temporal deletes in the background, usually within 30 seconds. After that the event is unknown (404), and its id can
    be used again: the same POST would deliver it again. Repeat the request after a 503. A key of all tenants has to
    name the tenant, if it is not `default`.
    """
    runs = await gateway.erasure.erase(tenant, event_id)
    await audit.keep(caller.did("event.erase", event_id, tenant))
    return ErasureAccepted(id=event_id, runs=runs)
