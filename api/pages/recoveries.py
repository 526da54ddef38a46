"""Recoveries with their progress: count what one would deliver again, start it, pause, resume, cancel it."""

from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from api import views
from api.access import needs
from api.caller import Caller
from api.cursors import PageCursor
from api.deps import AnyTenant, AuditDep, CallerDep, Cursor, GatewayDep, StoreDep
from api.errors import as_problem, from_validation
from api.filters import UNITS
from api.pages.paging import paging
from api.pages.rendering import query, redirect, render
from api.pages.routes import PageRoute
from api.problems import Problem, Unprocessable
from api.routes import recoveries as api
from api.schemas.recoveries import RecoveryRequest, RecoveryView, TenantRecoveryRequest
from hookkeeper.commands import Refused
from hookkeeper.messages.bulk_work import RecoveryCommand
from hookkeeper.registry.audit import AuditLog
from hookkeeper.registry.store import Store
from hookkeeper.services.errors import NotFound
from hookkeeper.services.fields import EVENT_ID
from hookkeeper.services.webhooks import found
from hookkeeper.temporal.error_translation import Conflict
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.times import rfc3339, utc_now

router = APIRouter(prefix="/recoveries", include_in_schema=False, route_class=PageRoute)
RECOVERIES_ON_PAGE = 25
PERIODS = {"1h": "hour", "6h": "6 hours", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
DONE = {
    "start": "The recovery has started. Its events are delivered again, oldest first.",
    "pause": "The recovery pauses. Redeliveries in progress finish.",
    "resume": "The recovery continues.",
    "cancel": "The recovery ends. What it has delivered again stays so.",
}
"""What the page says after a change."""


@router.get("", dependencies=[needs("events:read")])
async def list_recoveries(
    request: Request,
    cursor: Cursor,
    gateway: GatewayDep,
    caller: CallerDep,
    tenant: AnyTenant,
    webhook: Annotated[str | None, Query(pattern=EVENT_ID)] = None,
    done: str = "",
) -> Response:
    """Show recoveries: open ones first, each newest first."""
    return await _show(request, gateway, caller, cursor, tenant, webhook, notice=DONE.get(done, ""))


@router.post("/start", dependencies=[needs("events:write")])
async def start_recovery(
    request: Request,
    cursor: Cursor,
    gateway: GatewayDep,
    store: StoreDep,
    audit: AuditDep,
    caller: CallerDep,
    tenant: AnyTenant,
) -> Response:
    """Count the failed deliveries of a time; in a second step, with the time that was shown, make them again."""
    form: dict[str, str] = request.state.form
    is_confirmed = "since" in form
    try:
        given = {"since": form["since"] if is_confirmed else since_of(form), "dry_run": not is_confirmed}
        counted = await _recover(form, given, gateway, store, audit, caller)
    except (Problem, ValidationError, Conflict, NotFound) as error:
        return await _show(request, gateway, caller, cursor, tenant, problem=problem_of(error), form=form)
    if is_confirmed:
        return redirect(query("/recoveries", tenant=tenant if caller.tenant is None else None, done="start"))
    return await _show(request, gateway, caller, cursor, tenant, counted=counted, form=form)


async def _recover(
    form: dict[str, str], given: dict[str, Any], gateway: Gateway, store: Store, audit: AuditLog, caller: Caller
) -> RecoveryView:
    """Recover a webhook, or all of a tenant if the form names none."""
    named = form.get("tenant", "").strip()
    if webhook_id := form.get("webhook", "").strip():
        webhook = found(await store.webhooks.get(webhook_id, caller.tenant or named or None))
        wanted = RecoveryRequest(**given)
        return await api.recover_webhook(webhook, wanted, gateway, store, audit, caller, Response())
    of_tenant = TenantRecoveryRequest(**given | ({"tenant": named} if named else {}))
    return await api.recover_tenant(of_tenant, gateway, store, audit, caller, Response())


def _add_command(command: RecoveryCommand) -> None:
    async def act(
        request: Request,
        cursor: Cursor,
        recovery: api.RecoveryToSteer,
        gateway: GatewayDep,
        audit: AuditDep,
        caller: CallerDep,
        tenant: AnyTenant,
    ) -> Response:
        try:
            await api.send_command(command, recovery, gateway, audit, caller)
        except Refused as error:
            return await _show(request, gateway, caller, cursor, tenant, problem=as_problem(error))
        return redirect(query("/recoveries", tenant=tenant if caller.tenant is None else None, done=command))

    router.add_api_route(
        f"/{{recovery_id}}/{command}",
        act,
        methods=["POST"],
        name=f"{command}_recovery_page",
        dependencies=[needs("events:write")],
    )


for _command in get_args(RecoveryCommand):
    _add_command(_command)


def since_of(form: dict[str, str]) -> str:
    """Return the beginning of the period that a form names. Raises Unprocessable."""
    last = form.get("last", "")
    if last not in PERIODS:
        raise Unprocessable("Choose one of the times.")
    return rfc3339(utc_now() - int(last[:-1]) * UNITS[last[-1]])


def problem_of(error: Exception) -> Problem:
    return from_validation(error.errors()) if isinstance(error, ValidationError) else as_problem(error)


async def _show(
    request: Request,
    gateway: Gateway,
    caller: Caller,
    cursor: PageCursor,
    tenant: str | None,
    webhook: str | None = None,
    *,
    notice: str = "",
    problem: Problem | None = None,
    counted: RecoveryView | None = None,
    form: dict[str, str] | None = None,
) -> Response:
    states, end = await gateway.recoveries.page(tenant, webhook, RECOVERIES_ON_PAGE, cursor.start)
    older = cursor.page((), end).next_cursor
    return await render(
        request,
        "recoveries.html",
        problem.status_code if problem else 200,
        items=[views.recovery(state) for state in states],
        **paging(request, "/recoveries", cursor, older),
        notice=notice,
        problem=problem,
        counted=counted,
        form=form or {"webhook": webhook or "", "tenant": tenant or ""},
        periods=PERIODS,
    )
