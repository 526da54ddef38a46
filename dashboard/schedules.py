"""Schedules with their next times: create, change, pause, resume and delete them."""

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Request, Response

from api import views
from api.access import needs
from api.deps import AnyTenant, CallerDep, Cursor, LinksDep, SchedulesDep, ScheduleServiceDep, Tenant
from dashboard import forms
from dashboard.forms import REFUSED, FormRoute
from dashboard.rendering import paging, query, redirect, render
from dashboard.routes import without_portal
from hookkeeper.links import LinkBuilder
from hookkeeper.registry.schedules import ScheduleExists
from hookkeeper.services.caller import Caller
from hookkeeper.services.field_texts import tidied, write_fields
from hookkeeper.services.fields import SCHEDULE_ID
from hookkeeper.services.schedules.fields import NewSchedule, ScheduleChanges
from hookkeeper.services.schedules.schedules import new_schedule_id
from hookkeeper.temporal.schedules.conversion import ScheduleSnapshot
from hookkeeper.wording import N_

router = APIRouter(prefix="/schedules", include_in_schema=False, route_class=FormRoute)
SCHEDULES_ON_PAGE = 50
WRITES = [needs("events:write"), Depends(without_portal)]
"""A schedule posts its events as the key that has made it, so one of the portal could not go on after its session."""
ONCE = "once"
"""The field of the form of a new schedule that has its id, unless one is typed."""
FIRST = ("tenant", "id", "name", "event")
"""Fields that the form has before those of times."""
TIMES = {"cron", "every"}
"""A schedule has one of these."""
DONE = {
    "create": "The schedule is created.",
    "again": "This form has created the schedule already. Edit the schedule to change it.",
    "change": "The schedule was changed, from its next time on.",
    "pause": N_("The schedule is paused. Times that pass meanwhile are skipped."),
    "resume": N_("The schedule continues with its next time."),
    "delete": "The schedule is deleted. Events that it has posted are still delivered.",
}
"""What the page says after a change."""
Id = Annotated[str, Path(pattern=SCHEDULE_ID)]


@router.get("", dependencies=[needs("events:read")])
async def list_schedules(
    request: Request, cursor: Cursor, schedules: SchedulesDep, links: LinksDep, tenant: AnyTenant, done: str = ""
) -> Response:
    """Show schedules with their next times, newest first."""
    found, end = await schedules.page(tenant, SCHEDULES_ON_PAGE, cursor.start)
    items = [views.schedule_summary(known, links) for known in found]
    notice = DONE.get(done, "")
    return await render(
        request, "schedules.html", items=items, notice=notice, **paging(request, "/schedules", cursor, end)
    )


@router.get("/new", dependencies=WRITES)
async def show_new(request: Request, caller: CallerDep) -> Response:
    """Show an empty form."""
    return await _show_new(request, caller, {})


@router.post("/new", dependencies=WRITES)
async def create_schedule(request: Request, caller: CallerDep, service: ScheduleServiceDep) -> Response:
    """Create a schedule, and go to the list. A form that is sent again creates no second one."""
    form = tidied(NewSchedule, request.state.form, {})
    once = form.get(ONCE, "")
    try:
        new = NewSchedule(**await forms.read(request, NewSchedule, form))
        schedule_id = new.id or (once if re.fullmatch(SCHEDULE_ID, once) else new_schedule_id())
        created = await service.create(new, schedule_id)
    except ScheduleExists as error:
        if not form.get("id", "").strip():
            return redirect(_list(caller, form.get("tenant", "").strip(), "again"))
        return await _show_new(request, caller, form, error=error)
    except REFUSED as error:
        return await _show_new(request, caller, form, error=error)
    return redirect(_list(caller, created.plan.tenant, "create"))


@router.get("/{schedule_id}/edit", dependencies=WRITES)
async def show_edit(
    request: Request, schedule_id: Id, service: ScheduleServiceDep, links: LinksDep, tenant: Tenant
) -> Response:
    """Show the form of a schedule."""
    known = await service.schedules.read(tenant, schedule_id)
    return await _show_edit(request, known, _texts_of(known, links))


@router.post("/{schedule_id}/edit", dependencies=WRITES)
async def change_schedule(
    request: Request, schedule_id: Id, service: ScheduleServiceDep, links: LinksDep, tenant: Tenant
) -> Response:
    """Change what differs, and go to the list."""
    known = await service.schedules.read(tenant, schedule_id)
    before = _texts_of(known, links)
    form = tidied(ScheduleChanges, request.state.form, before)
    try:
        given = await forms.changes(request, ScheduleChanges, form, before)
        if given.keys() & TIMES:  # the API removes the other one, which the form would still show
            typed = await forms.read(request, ScheduleChanges, form)
            given |= {name: typed.get(name) for name in TIMES}
        if given:
            await service.change(tenant, schedule_id, ScheduleChanges(**given))
    except REFUSED as error:
        return await _show_edit(request, known, form, error=error)
    return redirect(_list(service.caller, tenant, "change"))


@router.post("/{schedule_id}/delete", dependencies=WRITES)
async def delete_schedule(schedule_id: Id, service: ScheduleServiceDep, tenant: Tenant) -> Response:
    """Delete a schedule."""
    await service.delete(tenant, schedule_id)
    return redirect(_list(service.caller, tenant, "delete"))


@router.post("/{schedule_id}/{command}", dependencies=[needs("events:write")])
async def command_schedule(
    schedule_id: Id, command: Literal["pause", "resume"], service: ScheduleServiceDep, tenant: Tenant
) -> Response:
    """Pause or resume a schedule."""
    await service.set_paused(tenant, schedule_id, command == "pause")
    return redirect(_list(service.caller, tenant, command))


def _list(caller: Caller, tenant: str, done: str) -> str:
    return query("/schedules", tenant=None if caller.tenant else tenant, done=done)


def _texts_of(known: ScheduleSnapshot, links: LinkBuilder) -> dict[str, str]:
    return write_fields(ScheduleChanges, views.schedule(known, links).model_dump())


async def _show_new(request: Request, caller: Caller, form: dict[str, str], error: Exception | None = None) -> Response:
    without = frozenset({"tenant"} if caller.tenant else ())
    return await forms.show(
        request,
        NewSchedule,
        form,
        error=error,
        first=FIRST,
        without=without,
        heading="New schedule",
        action="/schedules/new",
        list="/schedules",
        list_name="Schedules",
        kept={ONCE: form.get(ONCE) or new_schedule_id()},
    )


async def _show_edit(
    request: Request, known: ScheduleSnapshot, form: dict[str, str], error: Exception | None = None
) -> Response:
    plan = known.plan
    return await forms.show(
        request,
        ScheduleChanges,
        form,
        error=error,
        first=FIRST,
        heading=plan.name or plan.id,
        action=query(f"/schedules/{plan.id}/edit", tenant=plan.tenant),
        list=query("/schedules", tenant=None if request.state.caller.tenant else plan.tenant),
        list_name="Schedules",
    )
