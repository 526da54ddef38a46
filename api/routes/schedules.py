"""Schedules: events that are posted automatically, by cron expression or at an interval."""

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response

from api import views
from api.access import GuardedRoute, needs
from api.deps import (
    AnyTenant,
    AuditDep,
    CallerDep,
    Cursor,
    FiringsDep,
    Limit,
    LinksDep,
    SchedulesDep,
    ScheduleServiceDep,
    Tenant,
)
from api.errors import naming_event, naming_schedule
from api.problems import EVENT_ID_HEADER, KEYED, NAMES_EVENT, responses
from hookkeeper import ids
from hookkeeper.services.errors import Invalid
from hookkeeper.services.fields import SCHEDULE_ID, Page
from hookkeeper.services.schedules.fields import (
    BackfillRequest,
    NewSchedule,
    ScheduleChanges,
    ScheduleCommandAccepted,
    ScheduleNote,
    ScheduleSummary,
    ScheduleView,
    TriggerRequest,
)
from hookkeeper.services.schedules.schedules import new_schedule_id, trigger_time
from hookkeeper.tenant_limits import FIRINGS
from hookkeeper.times import utc_now

router = APIRouter(prefix="/v1/schedules", tags=["schedules"], route_class=GuardedRoute, responses=KEYED)
MAX_TIMES = 1000
"""Times in the period of one backfill, exclusive: Temporal lists no more, and buffers no more."""
TOO_MANY_FIRINGS = "Triggers and backfills may post 1,000 events of a tenant in 100 seconds."
A_LITTLE_AHEAD = timedelta(minutes=1)
"""How far the end of a backfill may lie ahead: clocks of clients are a little off."""

PathId = Annotated[str, Path(pattern=SCHEDULE_ID, description="The schedule's id")]


@router.post("", status_code=201, responses=responses(409, 410), dependencies=[needs("events:write")])
async def create_schedule(new: NewSchedule, service: ScheduleServiceDep, links: LinksDep) -> ScheduleView:
    """Create a schedule. Each of its events is accepted as if it were posted at that time.

    An event's id is made of the schedule's id and the time, and its timestamp is the time: there is at most one event
    for each time. If an event is refused, for example because its type is archived, `recent` has the reason. Events
    count against the rate limit of the key that created the schedule. A tenant may have
    `HOOKKEEPER_MAX_SCHEDULES_PER_TENANT` schedules.

    After a 503, the schedule may or may not have been created. Repeat the request with the `schedule_id` of the problem
    as its `id`; 409 then means that it was created.
    """
    schedule_id = new.id or new_schedule_id()
    with naming_schedule(schedule_id):
        return views.schedule(await service.create(new, schedule_id), links)


@router.get("", dependencies=[needs("events:read")])
async def list_schedules(
    cursor: Cursor, schedules: SchedulesDep, links: LinksDep, tenant: AnyTenant, limit: Limit = 50
) -> Page[ScheduleSummary]:
    """List schedules with their next times, newest first. A new schedule may be missing for a moment."""
    found, next_cursor = await schedules.page(tenant, limit, cursor.start)
    return cursor.page([views.schedule_summary(known, links) for known in found], next_cursor)


@router.get("/{schedule_id}", responses=responses(404), dependencies=[needs("events:read")])
async def show_schedule(schedule_id: PathId, schedules: SchedulesDep, links: LinksDep, tenant: Tenant) -> ScheduleView:
    """Show a schedule with its event, its next times and its latest results."""
    return views.schedule(await schedules.read(tenant, schedule_id), links)


@router.patch("/{schedule_id}", responses=responses(404), dependencies=[needs("events:write")])
async def update_schedule(
    schedule_id: PathId, changes: ScheduleChanges, service: ScheduleServiceDep, links: LinksDep, tenant: Tenant
) -> ScheduleView:
    """Change the fields that are sent, from the next time on. Events of earlier times do not change."""
    return views.schedule(await service.change(tenant, schedule_id, changes), links)


@router.delete("/{schedule_id}", status_code=204, responses=responses(404), dependencies=[needs("events:write")])
async def delete_schedule(schedule_id: PathId, service: ScheduleServiceDep, tenant: Tenant) -> Response:
    """Remove a schedule. Events that it has posted are still delivered."""
    await service.delete(tenant, schedule_id)
    return Response(status_code=204)


def _add_command(command: Literal["pause", "resume"], description: str) -> None:
    async def act(
        schedule_id: PathId,
        service: ScheduleServiceDep,
        links: LinksDep,
        tenant: Tenant,
        change: ScheduleNote | None = None,
    ) -> ScheduleView:
        await service.set_paused(tenant, schedule_id, command == "pause", change.note if change else "")
        return views.schedule(await service.schedules.read(tenant, schedule_id), links)

    router.add_api_route(
        f"/{{schedule_id}}/{command}",
        act,
        methods=["POST"],
        name=f"{command}_schedule",
        summary=f"{command.capitalize()} schedule",
        description=description,
        responses=responses(404),
        dependencies=[needs("events:write")],
    )


_add_command(
    "pause",
    "Pause a schedule until it is resumed. Times that pass meanwhile are skipped: `backfill` can post their events.",
)
_add_command("resume", "Resume a schedule from its next time on.")


@router.post(
    "/{schedule_id}/trigger",
    status_code=202,
    responses={
        202: {"headers": NAMES_EVENT},
        **{status: answer | {"headers": NAMES_EVENT} for status, answer in responses(404, 503).items()},
    },
    dependencies=[needs("events:write")],
)
async def trigger_schedule(
    schedule_id: PathId,
    response: Response,
    schedules: SchedulesDep,
    firings: FiringsDep,
    audit: AuditDep,
    caller: CallerDep,
    tenant: Tenant,
    trigger: TriggerRequest | None = None,
) -> ScheduleCommandAccepted:
    """Post an event now, even if the schedule is paused, at most one a second. `recent` shows the result.

    After a 503, the event may or may not have been posted. Repeat the request with the `event_id` of the problem as its
    `id`: there is one event with this id, however often it is triggered.
    """
    await firings.count(tenant, FIRINGS.rate, TOO_MANY_FIRINGS)
    trigger = trigger or TriggerRequest()
    time = trigger_time(schedule_id, trigger.id)
    event_id = ids.scheduled_event_id(schedule_id, time)
    response.headers[EVENT_ID_HEADER] = event_id
    with naming_event(event_id):
        await schedules.trigger(tenant, schedule_id, time, trigger.overlap)
    await audit.keep(caller.did("schedule.trigger", schedule_id, tenant))
    return ScheduleCommandAccepted(id=schedule_id, command="trigger", events=[event_id])


@router.post("/{schedule_id}/backfill", status_code=202, responses=responses(404), dependencies=[needs("events:write")])
async def backfill_schedule(
    schedule_id: PathId,
    backfill: BackfillRequest,
    schedules: SchedulesDep,
    firings: FiringsDep,
    audit: AuditDep,
    caller: CallerDep,
    tenant: Tenant,
) -> ScheduleCommandAccepted:
    """Post the events of all times in a past period, about ten a second, even if the schedule is paused.

    Times that already have an event are skipped, so the request can be repeated after a 503. A period must have fewer
    than 1000 times, and all backfills and triggers of a tenant together 1,000 events in 100 seconds.
    """
    if backfill.until <= backfill.since:
        raise Invalid.field("until", "must be after `since`")
    if backfill.until > utc_now() + A_LITTLE_AHEAD:
        raise Invalid.field("until", "is in the future")
    times = await schedules.times(tenant, schedule_id, backfill.since, backfill.until)
    if len(times) >= MAX_TIMES:
        raise Invalid.field("since", f"is too long ago: the period has {MAX_TIMES} times or more")
    await firings.count(tenant, FIRINGS.rate, TOO_MANY_FIRINGS, cost=len(times))
    await schedules.backfill(tenant, schedule_id, backfill.since, backfill.until, backfill.overlap)
    await audit.keep(caller.did("schedule.backfill", schedule_id, tenant, ["since", "until"]))
    return ScheduleCommandAccepted(
        id=schedule_id, command="backfill", events=[ids.scheduled_event_id(schedule_id, time) for time in times]
    )
