"""From what people write to a schedule's plan, and from how a schedule stands to what the API shows."""

import secrets
from typing import Any

from api.ingest import EventIngest
from api.problems import BadField, Invalid
from api.schemas import schedules as schemas
from api.schemas.events import NewEvent
from api.schemas.schedules import EventToMake, NewSchedule, ScheduleChanges
from hookkeeper import ids
from hookkeeper.links import Links
from hookkeeper.messages.schedule import SchedulePlan
from hookkeeper.temporal.schedule_conversion import FiringRun, ScheduleSnapshot
from hookkeeper.temporal.schedules import BadTimes

OF_PLAN = {"name", "offset", "timezone", "overlap", "catchup_window", "jitter", "start_at", "end_at", "every"}
"""Fields that a plan has as people write them."""


def new_plan(new: NewSchedule, key_id: str, min_interval: int) -> SchedulePlan:
    """Make the plan of a new schedule; raise `Invalid` where its fields contradict each other."""
    plan = SchedulePlan(
        id=new.id or f"sch_{secrets.token_hex(12)}",
        tenant=new.tenant,
        type=new.event.type,
        data=new.event.data,
        cron=tuple(new.cron or ()),
        key_id=key_id,
        **new.model_dump(include=OF_PLAN),
    )
    return _checked(plan, min_interval)


def changed(known: ScheduleSnapshot, changes: ScheduleChanges, min_interval: int) -> tuple[SchedulePlan, bool, str]:
    """Give the changed plan, whether it is paused, and the note; raise `Invalid` where the plan contradicts itself."""
    given = changes.model_dump(exclude_unset=True)
    update: dict[str, Any] = {name: given[name] for name in OF_PLAN & given.keys()}
    if changes.cron:
        update = {"every": None, "offset": 0} | update
    elif changes.every:
        update["cron"] = ()
    if "cron" in given:
        update["cron"] = tuple(changes.cron or ())
    if changes.event:
        update |= {"type": changes.event.type, "data": changes.event.data}
    plan = _checked(known.plan.model_copy(update=update), min_interval)
    return plan, given.get("paused", known.paused), given.get("note", known.note)


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


async def check_event(acceptance: EventIngest, tenant: str, event: EventToMake) -> None:
    """Raise `Invalid` or `TooLarge` where the event would be refused already now."""
    try:
        await acceptance.check(NewEvent(type=event.type, data=event.data, tenant=tenant))
    except Invalid as refusal:
        errors = [BadField(path=f"event.{each.path}", detail=each.detail) for each in refusal.errors]
        raise Invalid(str(refusal.detail), errors) from None


def bad_times(error: BadTimes) -> Invalid:
    """Say what Temporal does not take of a plan that is all right by us: its time zones may be older, say."""
    return Invalid.field("timezone" if "time zone" in str(error) else "cron", str(error))


def head(known: ScheduleSnapshot, links: Links) -> schemas.ScheduleHead:
    return schemas.ScheduleHead(**_head(known, links))


def shown(known: ScheduleSnapshot, links: Links) -> schemas.Schedule:
    plan = known.plan
    return schemas.Schedule(
        **_head(known, links),
        event=EventToMake(type=plan.type, data=plan.data),
        catchup_window=plan.catchup_window,
        jitter=plan.jitter,
        recent=[_firing(each, plan, links) for each in known.firings],
        skipped=known.skipped,
        missed=known.missed,
        created_at=known.created_at,
        updated_at=known.updated_at,
    )


def _head(known: ScheduleSnapshot, links: Links) -> dict[str, Any]:
    plan = known.plan
    fields = {"id", "tenant", "name", "type", "every", "offset", "timezone", "overlap", "start_at", "end_at"}
    return plan.model_dump(include=fields) | {
        "cron": list(plan.cron) or None,
        "paused": known.paused,
        "note": known.note,
        "next": list(known.next),
        "links": schemas.ScheduleLinks(
            self=links.schedule(plan.tenant, plan.id),
            temporal=links.temporal_schedule(ids.schedule_id(plan.tenant, plan.id)),
        ),
    }


def _firing(firing: FiringRun, plan: SchedulePlan, links: Links) -> schemas.Firing:
    event_id = None if firing.status == "refused" else firing.event_id
    return schemas.Firing(
        time=firing.time,
        started_at=firing.started_at,
        status=firing.status,
        event_id=event_id,
        reason=firing.reason,
        links=schemas.FiringLinks(
            event=event_id and links.event(plan.tenant, event_id),
            temporal=links.run(firing.workflow_id, firing.run_id),
        ),
    )
