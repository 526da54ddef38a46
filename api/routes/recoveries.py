"""Recoveries: deliver again, in bulk, what has failed."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.access import GuardedRoute, needs
from api.caller import Caller
from api.deps import AnyTenant, AuditDep, CallerDep, Cursor, GatewayDep, Limit, StoreDep
from api.problems import KEYED, Conflicting, responses
from api.routes.webhooks import WebhookId
from api.schemas.recoveries import NewRecovery, Recover, Recovery, Steered
from hookkeeper.messages.recovery import RecoveryCommand, RecoveryScope, RecoveryState
from hookkeeper.services.errors import NotFound
from hookkeeper.services.fields import EVENT_ID, Page
from hookkeeper.services.webhooks import found
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.times import utc_now

router = APIRouter(prefix="/v1", tags=["recoveries"], route_class=GuardedRoute, responses=KEYED)
RecoveryId = Annotated[str, Path(pattern=EVENT_ID)]
COUNTED = {"model": Recovery, "description": "A dry run: events were only counted"}


@router.post(
    "/webhooks/{webhook_id}/recover",
    status_code=202,
    responses={200: COUNTED, **responses(404, 409)},
    dependencies=[needs("events:write")],
)
async def recover_webhook(
    webhook_id: WebhookId,
    wanted: Recover,
    store: StoreDep,
    gateway: GatewayDep,
    audit: AuditDep,
    caller: CallerDep,
    response: Response,
) -> Recovery:
    """Redeliver the failed deliveries of a webhook in the background, oldest first, at a fixed rate.

    A webhook can have one recovery at a time, and none during a recovery of its tenant (409). The recovery pauses if
    the webhook is paused or disabled, and must then be resumed. Each event is redelivered once: events that are
    redelivered or retried otherwise while the recovery runs are skipped.
    """
    webhook = found(await store.get(webhook_id, caller.tenant))
    if not wanted.dry_run and (webhook.paused_at or not webhook.enabled):
        raise Conflicting(f"The webhook is {'paused' if webhook.enabled else 'disabled'}: resume or enable it first.")
    scope = _scope_of(wanted, webhook.tenant, webhook_id)
    if wanted.dry_run:
        response.status_code = 200
        return _counted(scope, wanted.rate, await gateway.recoveries.count(scope))
    state = await gateway.recoveries.start(scope, wanted.rate)
    await audit.keep(caller.did("webhook.recover", webhook_id, webhook.tenant, wanted.model_fields_set, job=state.id))
    return _shown(state)


@router.post(
    "/recoveries", status_code=202, responses={200: COUNTED, **responses(409)}, dependencies=[needs("events:write")]
)
async def recover_tenant(
    wanted: NewRecovery, gateway: GatewayDep, audit: AuditDep, caller: CallerDep, response: Response
) -> Recovery:
    """Redeliver the failed deliveries of all webhooks of a tenant. Paused and disabled webhooks are skipped.

    A tenant can have one recovery at a time, and none during a recovery of one of its webhooks (409).
    """
    fields, wanted = wanted.model_fields_set, caller.own(wanted)
    scope = _scope_of(wanted, wanted.tenant, None)
    if wanted.dry_run:
        response.status_code = 200
        return _counted(scope, wanted.rate, await gateway.recoveries.count(scope))
    state = await gateway.recoveries.start(scope, wanted.rate)
    await audit.keep(caller.did("tenant.recover", wanted.tenant, wanted.tenant, fields, job=state.id))
    return _shown(state)


@router.get("/recoveries", dependencies=[needs("events:read")])
async def list_recoveries(
    cursor: Cursor,
    gateway: GatewayDep,
    tenant: AnyTenant,
    webhook: Annotated[str | None, Query(pattern=EVENT_ID, description="Only recoveries of this webhook")] = None,
    limit: Limit = 50,
) -> Page[Recovery]:
    """List recoveries: open ones first, then finished ones, each newest first."""
    states, next_cursor = await gateway.recoveries.page(tenant, webhook, limit, cursor.start)
    return cursor.page([_shown(state) for state in states], next_cursor)


@router.get("/recoveries/{recovery_id}", responses=responses(404), dependencies=[needs("events:read")])
async def show_recovery(recovery_id: RecoveryId, gateway: GatewayDep, caller: CallerDep) -> Recovery:
    """Show the progress or the result of a recovery."""
    return _shown(await _known(gateway, recovery_id, caller))


def _add_command(command: RecoveryCommand, description: str) -> None:
    async def act(recovery_id: RecoveryId, gateway: GatewayDep, audit: AuditDep, caller: CallerDep) -> Steered:
        state = await _known(gateway, recovery_id, caller)
        await gateway.recoveries.command(recovery_id, command)
        await audit.keep(caller.did(f"recovery.{command}", recovery_id, state.scope.tenant))
        return Steered(id=recovery_id, command=command)

    router.add_api_route(
        f"/recoveries/{{recovery_id}}/{command}",
        act,
        methods=["POST"],
        status_code=202,
        name=f"{command}_recovery",
        summary=f"{command.capitalize()} recovery",
        description=description,
        responses=responses(404, 409),
        dependencies=[needs("events:write")],
    )


_add_command("pause", "Pause a recovery until it is resumed. Redeliveries in progress finish, in about five seconds.")
_add_command("resume", "Continue a paused recovery.")
_add_command("cancel", "End a recovery. Events that it has redelivered are still delivered; the others do not change.")


async def _known(gateway: Gateway, recovery_id: str, caller: Caller) -> RecoveryState:
    state = await gateway.recoveries.read(recovery_id)
    if caller.tenant not in (None, state.scope.tenant):
        raise NotFound("There is no such recovery.")
    return state


def _scope_of(wanted: Recover, tenant: str, webhook_id: str | None) -> RecoveryScope:
    now = utc_now()
    return RecoveryScope(
        tenant=tenant,
        webhook_id=webhook_id,
        status=wanted.status,
        types=tuple(wanted.types),
        since=wanted.since,
        until=min(wanted.until or now, now),
        began=now,
    )


def _shown(state: RecoveryState) -> Recovery:
    scope = state.scope
    return Recovery(
        id=state.id or None,
        tenant=scope.tenant,
        webhook_id=scope.webhook_id,
        status=state.status if state.id else "dry_run",
        found=state.found,
        redelivered=state.redelivered,
        failed=state.failed,
        skipped=state.skipped,
        since=scope.since,
        until=scope.until,
        types=list(scope.types),
        wanted=scope.status,
        rate=state.rate,
        started_at=scope.began,
        finished_at=state.finished_at,
    )


def _counted(scope: RecoveryScope, rate: float, count: int) -> Recovery:
    """Show what a dry run came to."""
    return _shown(RecoveryState(id="", scope=scope, rate=rate, found=count))
