"""Recoveries and bulk actions with their progress: count what one would do, start it, pause, resume, cancel it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import ValidationError

from api import views
from api.access import needs
from api.cursors import PageCursor
from api.deps import AnyTenant, CallerDep, Cursor, RecoveriesDep, SearchesDep, StoreDep, WebhookFilter
from api.errors import as_problem
from api.filters import UNITS, DataQuery, EventSearch
from api.problems import Problem, Unprocessable
from api.sessions import portal_of
from dashboard.rendering import is_open, paging, problem_of, query, redirect, render
from dashboard.routes import PageRoute
from hookkeeper.commands import Refused
from hookkeeper.messages.bulk_work import RecoveryCommand, RecoveryState
from hookkeeper.services.errors import NotFound, ServiceError
from hookkeeper.services.events.recoveries import (
    MAX_COUNTED,
    BulkRequest,
    RecoveryRequest,
    RecoveryService,
    TenantRecoveryRequest,
)
from hookkeeper.services.fields import EVENT_ID
from hookkeeper.services.webhooks.webhooks import names_of, require
from hookkeeper.temporal.server.error_translation import Conflict
from hookkeeper.times import rfc3339, utc_now
from hookkeeper.wording import N_

router = APIRouter(include_in_schema=False, route_class=PageRoute)
RECOVERIES_ON_PAGE = 25
PERIODS = {
    "1h": N_("hour"),
    "6h": N_("6 hours"),
    "24h": N_("24 hours"),
    "7d": N_("7 days"),
    "30d": N_("30 days"),
}
DONE = {
    "bulk": N_("It has started. The page follows it."),
    "retry": N_("What waits is sent now, oldest first. The page follows it."),
    "start": N_("The recovery has started. Its events are delivered again, oldest first."),
    "pause": N_("The recovery pauses. Redeliveries in progress finish."),
    "resume": N_("The recovery continues."),
    "cancel": N_("The recovery ends. What it has delivered again stays so."),
}
"""What the page says after a change."""


@router.get("/recoveries", dependencies=[needs("events:read")])
async def list_recoveries(
    request: Request,
    cursor: Cursor,
    recoveries: RecoveriesDep,
    tenant: AnyTenant,
    webhook: WebhookFilter,
    done: str = "",
) -> Response:
    """Show recoveries: open ones first, each newest first."""
    return await _show(request, recoveries, cursor, tenant, webhook, notice=DONE.get(done, ""))


@router.post("/recoveries/start", dependencies=[needs("events:write")])
async def start_recovery(
    request: Request,
    cursor: Cursor,
    recoveries: RecoveriesDep,
    store: StoreDep,
    caller: CallerDep,
    tenant: AnyTenant,
) -> Response:
    """Count the failed deliveries of a time; in a second step, with the time that was shown, make them again."""
    form: dict[str, str] = request.state.form
    named = form.get("tenant", "").strip()
    try:
        given = read_recovery(form)
        if webhook_id := form.get("webhook", "").strip():
            webhook = require(await store.webhooks.get(webhook_id, caller.tenant or named or None))
            counted = await recoveries.of_webhook(webhook, RecoveryRequest.model_validate(given))
        else:
            of_all = given | ({"tenant": named} if named else {})
            counted = await recoveries.for_tenant(TenantRecoveryRequest.model_validate(of_all))
    except (Problem, ValidationError, Conflict, ServiceError) as error:
        return await _show(request, recoveries, cursor, tenant, problem=problem_of(error), form=form)
    if counted.id:
        return redirect(query("/recoveries", tenant=tenant if caller.tenant is None else None, done="start"))
    return await _show(request, recoveries, cursor, tenant, counted=counted, form=form)


async def _shown_recovery(
    request: Request, recovery_id: Annotated[str, Path(pattern=EVENT_ID)], recoveries: RecoveriesDep
) -> str:
    """Return the id of a recovery. A portal without the page of all has only those that customers began."""
    if not is_open(portal_of(request), "/recoveries") and not (await recoveries.scope_of(recovery_id)).in_portal:
        raise NotFound("There is no such recovery.")
    return recovery_id


ShownRecovery = Annotated[str, Depends(_shown_recovery)]


@router.post("/recoveries/{recovery_id}/{command}", dependencies=[needs("events:write")])
async def command_recovery(
    request: Request,
    cursor: Cursor,
    recovery_id: ShownRecovery,
    command: RecoveryCommand,
    recoveries: RecoveriesDep,
    caller: CallerDep,
    tenant: AnyTenant,
) -> Response:
    """Pause, resume or cancel a recovery."""
    are_listed = is_open(portal_of(request), "/recoveries")
    try:
        await recoveries.command(recovery_id, command)
    except Refused as error:
        only = None if are_listed else await recoveries.read(recovery_id)
        return await _show(request, recoveries, cursor, tenant, problem=as_problem(error), only=only)
    path = "/recoveries" if are_listed else f"/recoveries/{recovery_id}"
    return redirect(query(path, tenant=tenant if caller.tenant is None else None, done=command))


@router.get("/recoveries/{recovery_id}", dependencies=[needs("events:read")])
async def show_recovery(
    request: Request,
    recovery_id: ShownRecovery,
    cursor: Cursor,
    recoveries: RecoveriesDep,
    done: str = "",
) -> Response:
    """Show one recovery."""
    state = await recoveries.read(recovery_id)
    return await _show(request, recoveries, cursor, None, notice=DONE.get(done, ""), only=state)


@router.post("/events/bulk", dependencies=[needs("events:write")])
async def command_events(
    request: Request, search: EventSearch, recoveries: RecoveriesDep, searches: SearchesDep, q: DataQuery = None
) -> Response:
    """Count the events that the filter in the query matches; in a second step, do to them what the form says."""
    form: dict[str, str] = request.state.form
    given = {name: form[name].strip() for name in ("action", "note") if form.get(name)}
    try:
        wanted = BulkRequest.model_validate(given | {"dry_run": "confirmed" not in form})
        state = await recoveries.in_bulk(await searches.by_keys(search, q), wanted)
    except (ValidationError, Conflict, ServiceError) as error:
        return await render(request, "bulk.html", problem=problem_of(error), counted=None)
    if state.id:
        return redirect(query(f"/recoveries/{state.id}", done="bulk"))
    return await render(request, "bulk.html", counted=views.recovery(state), note=wanted.note, most=MAX_COUNTED)


def read_recovery(form: dict[str, str]) -> dict[str, Any]:
    """Read a form: send what waits; count what failed, or with the time that was shown, deliver it again.

    Raises Unprocessable.
    """
    if form.get("status") == "retrying":
        return {"status": "retrying"}
    if "since" in form:
        return {"since": form["since"], "dry_run": False}
    last = form.get("last", "")
    if last == "incident":
        return {"dry_run": True}
    if last not in PERIODS:
        raise Unprocessable(N_("Choose one of the times."))
    return {"since": rfc3339(utc_now() - int(last[:-1]) * UNITS[last[-1]]), "dry_run": True}


async def _show(
    request: Request,
    recoveries: RecoveryService,
    cursor: PageCursor,
    tenant: str | None,
    webhook: str | None = None,
    *,
    notice: str = "",
    problem: Problem | None = None,
    counted: RecoveryState | None = None,
    form: dict[str, str] | None = None,
    only: RecoveryState | None = None,
) -> Response:
    states, end = [only] if only else [], None
    if only is None:
        states, end = await recoveries.gateway.recoveries.page(tenant, webhook, RECOVERIES_ON_PAGE, cursor.start)
    ids = {state.scope.webhook_id for state in (*states, *([counted] if counted else []))} - {None}
    return await render(
        request,
        "recoveries.html",
        webhooks=await names_of(recoveries.store, recoveries.caller, (id_ for id_ in ids if id_)),
        items=[views.recovery(state) for state in states],
        is_one=only is not None,
        **paging(request, "/recoveries", cursor, end),
        notice=notice,
        problem=problem,
        counted=counted and views.recovery(counted),
        form=form or {"webhook": webhook or "", "tenant": tenant or ""},
        periods=PERIODS,
    )
