"""Events: accept them, list them, show them, steer them."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import ValidationError

from api import views
from api.access import Caller, GuardedBatchRoute, GuardedRoute, needs
from api.backlog import UNLESS_LATE
from api.cursors import Cursor
from api.deps import AnyTenant, AuditDep, CallerDep, GatewayDep, Limit, Tenant
from api.errors import as_event_problem, from_validation
from api.fields import EVENT_ID, EventType, GivenTime, Page
from api.ingest import EventIngest, check_deliver_at, event_id_of
from api.problems import EVENT_ID_HEADER, KEYED, Problem, ServiceUnavailable, document, responses
from api.schemas.events import (
    AcceptedEvent,
    Batch,
    BatchAnswer,
    BatchAnswers,
    CommandAccepted,
    Event,
    EventRow,
    Named,
    NewEvent,
    Reschedule,
)
from hookkeeper.messages.event import Command, EventStatus
from hookkeeper.temporal.event_list import EventSearch
from hookkeeper.times import utc_now

router = APIRouter(
    prefix="/v1/events",
    tags=["events"],
    route_class=GuardedRoute,
    responses=KEYED,
)
NAMES_EVENT = {EVENT_ID_HEADER: {"description": "The event's id", "schema": {"type": "string"}}}
BATCH_AT_ONCE = 20
"""Events of a batch that are started at the same time."""
Accepting = asyncio.Task[BatchAnswer]

PathId = Annotated[str, Path(pattern=EVENT_ID)]
IdempotencyKey = Annotated[str | None, Header(pattern=EVENT_ID, description="The event's id, if the body has none")]


@router.post(
    "",
    status_code=202,
    responses={
        200: {"model": AcceptedEvent, "description": "The event was accepted before", "headers": NAMES_EVENT},
        202: {"headers": NAMES_EVENT},
        **{status: each | {"headers": NAMES_EVENT} for status, each in responses(409, 503).items()},
    },
    dependencies=[needs("events:write"), UNLESS_LATE],
)
async def post_event(
    event: NewEvent, request: Request, response: Response, caller: CallerDep, idempotency_key: IdempotencyKey = None
) -> AcceptedEvent:
    """Accept an event and start delivering it.

    202 is sent only after Temporal has stored the run durably. Posting the same id with the same content again returns
    the existing event (200, `duplicate: true`); with other content it is refused (409). An event that matches no
    webhook is accepted too.

    After a 503, the event may or may not have been accepted. The answer has its id, even if it was generated, in
    `event_id` of the problem and in the header `Hookkeeper-Event-Id`. Post the event again with that `id`.
    """
    event = caller.own(event)
    event_id = event_id_of(event, idempotency_key)
    response.headers[EVENT_ID_HEADER] = event_id.value
    try:
        accepted = await _acceptance(request).accept(event, event_id)
    except Exception as error:
        raise as_event_problem(error, event_id.value) from error
    if accepted.duplicate:
        response.status_code = 200
    return accepted


async def post_batch(batch: Batch, request: Request, caller: CallerDep) -> BatchAnswers:
    """Accept up to 100 events. The answer has one item for each event, in the same order; each is accepted or refused
    independently of the others.

    Events are accepted concurrently, but ordered webhooks receive them in the order of the batch.
    """
    slots = asyncio.Semaphore(BATCH_AT_ONCE)
    outages: list[Exception] = []

    async def accept(raw: Any, behind: list[Accepting]) -> BatchAnswer:
        async with slots:
            return await _accept_one(request, caller, raw, behind, outages)

    accepting: list[Accepting] = []
    async with asyncio.TaskGroup() as group:
        for raw in batch.events:
            accepting.append(group.create_task(accept(raw, accepting.copy())))
    return BatchAnswers(items=[each.result() for each in accepting])


router.add_api_route(
    "/batch",
    post_batch,
    methods=["POST"],
    status_code=207,
    dependencies=[needs("events:write"), UNLESS_LATE],
    route_class_override=GuardedBatchRoute,
)


@router.get("", dependencies=[needs("events:read")])
async def list_events(
    cursor: Cursor,
    gateway: GatewayDep,
    request: Request,
    tenant: AnyTenant,
    type: Annotated[EventType | None, Query(description="Only events of exactly this type")] = None,
    webhook: Annotated[str | None, Query(pattern=EVENT_ID, description="Only events that match this webhook")] = None,
    status: EventStatus | None = None,
    needs_attention: Annotated[
        bool | None, Query(description="Only events with (or without) a delivery that is retrying, held or failed")
    ] = None,
    since: Annotated[GivenTime | None, Query(description="Accepted or redelivered at this time or later")] = None,
    until: Annotated[GivenTime | None, Query(description="Accepted or redelivered before this time")] = None,
    limit: Limit = 50,
) -> Page[EventRow]:
    """List events: open ones first, then finished ones, each newest first.

    A page can have fewer items than `limit` without being the last one: only `next_cursor` tells.
    """
    search = EventSearch(
        tenant=tenant,
        type=type,
        webhook=webhook,
        status=status,
        needs_attention=needs_attention,
        since=since,
        until=until,
    )
    rows, next_cursor = await gateway.find(search, limit, cursor.start)
    return cursor.page([views.event_row(row, request.app.state.links) for row in rows], next_cursor)


@router.get("/{event_id}", responses=responses(404), dependencies=[needs("events:read")])
async def show_event(event_id: PathId, gateway: GatewayDep, request: Request, tenant: Tenant) -> Event:
    """Show an event with its data, its deliveries and their attempts."""
    return views.event(await gateway.read(tenant, event_id), request.app.state.links)


def _add_command(command: Command, summary: str, description: str) -> None:
    async def act(
        event_id: PathId,
        tenant: Tenant,
        gateway: GatewayDep,
        audit: AuditDep,
        caller: CallerDep,
        named: Named | None = None,
    ) -> CommandAccepted:
        delivery = named.delivery if named else None
        await gateway.commands.send(tenant, event_id, command, delivery)
        meant = {"delivery": delivery} if delivery else {}
        await audit.keep(caller.did(f"event.{command}", event_id, tenant, **meant))
        return CommandAccepted(id=event_id, command=command, delivery=delivery)

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


_add_command(
    "retry",
    "Retry deliveries",
    "Attempt one delivery now, or all that have not succeeded. The remaining retry schedule does not change. If an"
    " attempt is in flight, the new one follows it. On a finished event, failed deliveries start again with the whole"
    " schedule.",
)
_add_command(
    "cancel",
    "Cancel deliveries",
    "Cancel one delivery, or all. The result of an attempt in flight still counts.",
)
_add_command("hold", "Hold deliveries", "Hold one delivery, or all, until it is released.")
_add_command(
    "release",
    "Release deliveries",
    "Continue one held delivery, or all. A scheduled event is delivered now.",
)
_add_command(
    "redeliver",
    "Redeliver an event",
    "Make one delivery again, or all, including those that succeeded. Attempt numbers continue, the `webhook-id` stays"
    " the same, and the retry schedule starts again.",
)


@router.post(
    "/{event_id}/reschedule", status_code=202, responses=responses(404, 409), dependencies=[needs("events:write")]
)
async def reschedule_event(
    event_id: PathId, change: Reschedule, tenant: Tenant, gateway: GatewayDep, audit: AuditDep, caller: CallerDep
) -> CommandAccepted:
    """Change the time of an event that is scheduled for later."""
    check_deliver_at(change.deliver_at, utc_now())
    await gateway.commands.reschedule(tenant, event_id, change.deliver_at)
    await audit.keep(caller.did("event.reschedule", event_id, tenant, ["deliver_at"]))
    return CommandAccepted(id=event_id, command="reschedule")


def _acceptance(request: Request) -> EventIngest:
    acceptance: EventIngest = request.app.state.acceptance
    return acceptance


async def _accept_one(
    request: Request, caller: Caller, raw: Any, behind: list[Accepting], outages: list[Exception]
) -> BatchAnswer:
    """Accept one event of a batch; its problem is its own.

    After an outage the events behind it are not tried: each would wait as long. They get the same answer, with their
    own ids.
    """
    try:
        event = caller.own(NewEvent.model_validate(raw))
    except ValidationError as error:
        return _refused(from_validation(error.errors()))
    except Problem as forbidden:
        return _refused(forbidden)
    event_id = event_id_of(event)
    try:
        if outages:
            raise outages[0]
        accepted = await _acceptance(request).accept(event, event_id, behind)
    except Exception as error:  # noqa: BLE001 - `as_event_problem` logs what is a bug; the others have their answers
        problem = as_event_problem(error, event_id.value)
        if problem.status_code == ServiceUnavailable.status:
            outages.append(error)
        return _refused(problem)
    return BatchAnswer(status=200 if accepted.duplicate else 202, event=accepted)


def _refused(problem: Problem) -> BatchAnswer:
    return BatchAnswer(status=problem.status_code, problem=document(problem))
