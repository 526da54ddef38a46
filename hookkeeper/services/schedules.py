"""Make and change the plans of schedules, by rules that a JSON Schema cannot express."""

import secrets
from datetime import datetime
from typing import Any

from hookkeeper import ids
from hookkeeper.messages.schedule import SchedulePlan
from hookkeeper.services.errors import BadField, Invalid
from hookkeeper.services.ingest import MAX_CLOCK_SKEW, EventIngest
from hookkeeper.services.new_event import NewEvent
from hookkeeper.temporal.schedule_conversion import ScheduleSettings, ScheduleSnapshot
from hookkeeper.times import utc_now

OF_PLAN = {"name", "offset", "timezone", "overlap", "catchup_window", "jitter", "start_at", "end_at", "every"}
"""Fields that a plan has as the API has them."""


def new_plan(given: dict[str, Any], key_id: str, min_interval: int) -> SchedulePlan:
    """Make a plan of all fields of a schedule as the API names them. Raises Invalid if they contradict each other."""
    plan = SchedulePlan(
        id=given["id"] or f"sch_{secrets.token_hex(12)}",
        tenant=given["tenant"],
        cron=tuple(given["cron"] or ()),
        key_id=key_id,
        **given["event"],
        **{name: given[name] for name in OF_PLAN},
    )
    return _checked(plan, min_interval)


def changed(known: ScheduleSnapshot, given: dict[str, Any], min_interval: int) -> ScheduleSettings:
    """Return the changed settings. Raises Invalid if the plan contradicts itself."""
    update: dict[str, Any] = {name: given[name] for name in OF_PLAN & given.keys()}
    if given.get("cron"):
        update = {"every": None, "offset": 0} | update
    elif given.get("every"):
        update["cron"] = ()
    if "cron" in given:
        update["cron"] = tuple(given["cron"] or ())
    if given.get("event"):
        update |= given["event"]
    plan = _checked(known.plan.model_copy(update=update), min_interval)
    return ScheduleSettings(plan, given.get("paused", known.paused), given.get("note", known.note))


async def check_event(ingest: EventIngest, tenant: str, event: dict[str, Any]) -> None:
    """Raise Invalid, TooLarge or Suspended if the event of a schedule would be refused now."""
    try:
        await ingest.check(NewEvent(tenant=tenant, **event))
    except Invalid as refusal:
        errors = [BadField(path=f"event.{field.path}", detail=field.detail) for field in refusal.errors]
        raise Invalid(str(refusal), errors) from None


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


def _checked(plan: SchedulePlan, min_interval: int) -> SchedulePlan:
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
    return plan
