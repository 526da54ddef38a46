"""Create, change, pause and delete schedules; rules of their plans that a JSON Schema cannot express."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hookkeeper import ids
from hookkeeper.messages.schedule import SchedulePlan, ScheduleSettings
from hookkeeper.services.caller import Caller
from hookkeeper.services.errors import BadField, Invalid
from hookkeeper.services.events.ingest import MAX_CLOCK_SKEW, EventIngest
from hookkeeper.services.events.new_event import NewEvent
from hookkeeper.services.schedules.cron import LAST_TIME, fires_between
from hookkeeper.services.schedules.fields import NewSchedule, ScheduleChanges, ScheduleFields
from hookkeeper.settings import Settings
from hookkeeper.temporal.schedules.client import Schedules
from hookkeeper.temporal.schedules.conversion import ScheduleSnapshot
from hookkeeper.times import rfc3339, utc_now

OF_PLAN = ScheduleFields.model_fields.keys() & SchedulePlan.model_fields.keys() - {"cron"}
"""Fields that a plan has as the API has them."""
OF_TIMES = {"cron", "every", "offset", "timezone", "start_at", "end_at"}
"""Fields that say when a schedule fires."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_plan(given: dict[str, Any], key_id: str, min_interval: int) -> SchedulePlan:
    """Make a plan of all fields of a schedule as the API names them. Raises Invalid if they contradict each other."""
    plan = SchedulePlan(
        id=given["id"],
        tenant=given["tenant"],
        cron=tuple(given["cron"] or ()),
        key_id=key_id,
        **given["event"],
        **{name: given[name] for name in OF_PLAN},
    )
    _check(plan, min_interval)
    _check_fires(plan, utc_now())
    return plan


def changed(known: ScheduleSettings, given: dict[str, Any], min_interval: int) -> ScheduleSettings:
    """Return the changed settings. Raises Invalid if the plan contradicts itself, or if new times never come."""
    update: dict[str, Any] = {name: given[name] for name in OF_PLAN & given.keys()}
    if given.get("cron"):
        update = {"every": None, "offset": 0} | update
    elif given.get("every"):
        update["cron"] = ()
    if "cron" in given:
        update["cron"] = tuple(given["cron"] or ())
    if given.get("event"):
        update |= given["event"]
    plan = known.plan.model_copy(update=update)
    _check(plan, min_interval)
    if plan.model_dump(include=OF_TIMES) != known.plan.model_dump(include=OF_TIMES):
        _check_fires(plan, utc_now())
    return ScheduleSettings(plan, given.get("paused", known.paused), given.get("note", known.note))


@dataclass(frozen=True, slots=True)
class ScheduleService:
    """The schedules of a caller, with an audit entry for each change."""

    caller: Caller
    schedules: Schedules
    ingest: EventIngest
    settings: Settings

    async def create(self, new: NewSchedule, schedule_id: str) -> ScheduleSnapshot:
        """Create a schedule with this id. Raises Invalid, ScheduleExists and TooManySchedules."""
        fields, new = new.model_fields_set, self.caller.with_tenant(new)
        given = new.model_dump() | {"id": schedule_id}
        plan = new_plan(given, self.caller.key_id, self.settings.min_schedule_interval)
        await self._check_event(plan.tenant, given["event"])
        entry = self.caller.did("schedule.create", plan.id, plan.tenant, fields)
        wanted = ScheduleSettings(plan, new.paused, new.note)
        return await self.schedules.create(wanted, self.settings.max_schedules_per_tenant, entry)

    async def change(self, tenant: str, schedule_id: str, changes: ScheduleChanges) -> ScheduleSnapshot:
        """Change the fields that are set. Raises Invalid and UnknownSchedule."""
        given = changes.model_dump(include=changes.model_fields_set)
        if changes.event:
            await self._check_event(tenant, given["event"])
        interval = self.settings.min_schedule_interval
        entry = self.caller.did("schedule.update", schedule_id, tenant, changes.model_fields_set)
        await self.schedules.change(tenant, schedule_id, lambda known: changed(known, given, interval), entry)
        return await self.schedules.read(tenant, schedule_id)

    async def set_paused(self, tenant: str, schedule_id: str, paused: bool, note: str = "") -> None:
        """Pause or resume a schedule. Raises UnknownSchedule."""
        command = "pause" if paused else "resume"
        note = note or f"{command.capitalize()}d through the API"
        entry = self.caller.did(f"schedule.{command}", schedule_id, tenant)
        await self.schedules.change(tenant, schedule_id, lambda known: known._replace(paused=paused, note=note), entry)

    async def delete(self, tenant: str, schedule_id: str) -> None:
        """Delete a schedule. Raises UnknownSchedule."""
        await self.schedules.delete(tenant, schedule_id, self.caller.did("schedule.delete", schedule_id, tenant))

    async def _check_event(self, tenant: str, event: dict[str, Any]) -> None:
        """Raise Invalid, TooLarge or Suspended if the event of a schedule would be refused now."""
        try:
            await self.ingest.check(NewEvent(tenant=tenant, **event))
        except Invalid as refusal:
            errors = [BadField(path=f"event.{field.path}", detail=field.detail) for field in refusal.errors]
            raise Invalid(str(refusal), errors) from None


def new_schedule_id() -> str:
    return f"sch_{secrets.token_hex(12)}"


def trigger_time(schedule: str, event_id: str | None) -> datetime:
    """Return the time of the event that a trigger makes: now, or that of an earlier request for `event_id`."""
    now = utc_now().replace(microsecond=0)
    if event_id is None:
        return now
    name, when = ids.scheduled_event(event_id) or ("", now)
    if name != schedule:
        raise Invalid.field("id", f"must be `{schedule}-<time>`, as in {ids.scheduled_event_id(schedule, now)}")
    if when > now + MAX_CLOCK_SKEW:
        raise Invalid.field("id", "is of a time in the future")
    return when


def _check(plan: SchedulePlan, min_interval: int) -> None:
    """Raise `Invalid` for a plan that contradicts itself or is too frequent; cron makes one event a minute at most."""
    if plan.cron and plan.every:
        raise Invalid.field("every", "a schedule has either `cron` or `every`, not both")
    if not (plan.cron or plan.every):
        raise Invalid.field("cron", "a schedule needs `cron` or `every`")
    if plan.every and plan.every < min_interval:
        raise Invalid.field("every", f"must be at least {min_interval} seconds")
    if plan.offset and plan.offset >= (plan.every or 0):
        raise Invalid.field("offset", "must be less than `every`")
    if plan.start_at and plan.end_at and plan.end_at <= plan.start_at:
        raise Invalid.field("end_at", "must be after `start_at`")


def _check_fires(plan: SchedulePlan, now: datetime) -> None:
    """Raise `Invalid` for a plan that never fires from now on."""
    start, end = max(now, plan.start_at or now), min(LAST_TIME, plan.end_at or LAST_TIME)
    if plan.end_at and plan.end_at <= now:
        raise Invalid.field("end_at", "is in the past, so the schedule never fires; to stop it, pause or delete it")
    if plan.every:
        fires = _next_interval(plan.every, plan.offset, start) <= end
    else:
        fires = any(fires_between(cron, plan.timezone, start, end) for cron in plan.cron)
    if not fires:
        detail = f"never fires between {rfc3339(start)} and {rfc3339(end)}"
        raise Invalid.field("every" if plan.every else "cron", detail)


def _next_interval(every: int, offset: int, start: datetime) -> datetime:
    """Return the first time from `start` on; intervals are counted from 1970 on."""
    seconds = timedelta(seconds=every)
    shifted = EPOCH + timedelta(seconds=offset)
    return shifted - (shifted - start) // seconds * seconds
