"""Recoveries: redeliver failed deliveries in bulk."""

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Depends, Path, Query, Response

from api import views
from api.access import GuardedRoute, needs
from api.caller import Caller
from api.deps import AnyTenant, AuditDep, CallerDep, Cursor, GatewayDep, KnownWebhook, Limit, StoreDep
from api.problems import KEYED, Conflicting, responses
from api.schemas.recoveries import RecoveryCommandAccepted, RecoveryRequest, RecoveryView, TenantRecoveryRequest
from hookkeeper.messages.bulk_work import RecoveryCommand, RecoveryScope, RecoveryState
from hookkeeper.registry.audit import AuditLog
from hookkeeper.registry.index.runs_by_status import recoverable
from hookkeeper.registry.store import Store
from hookkeeper.services.errors import Invalid, NotFound
from hookkeeper.services.fields import EVENT_ID, Page
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.times import utc_now

router = APIRouter(prefix="/v1", tags=["recoveries"], route_class=GuardedRoute, responses=KEYED)
COUNTED = {"model": RecoveryView, "description": "A dry run: events were only counted"}


@router.post(
    "/webhooks/{webhook_id}/recover",
    status_code=202,
    responses={200: COUNTED, **responses(404, 409)},
    dependencies=[needs("events:write")],
)
async def recover_webhook(
    webhook: KnownWebhook,
    recovery: RecoveryRequest,
    gateway: GatewayDep,
    store: StoreDep,
    audit: AuditDep,
    caller: CallerDep,
    response: Response,
) -> RecoveryView:
    """Redeliver the failed deliveries of a webhook in the background, oldest first, at the given rate, or slower while
    Temporal or the workers are busy.

    A webhook can have one recovery at a time, and none during a recovery of its tenant (409). The recovery pauses if
    the webhook is paused or disabled, and must then be resumed. Each event is redelivered once: events that are
    redelivered or retried otherwise while the recovery runs are skipped.
    """
    if not recovery.dry_run and (webhook.paused_at or not webhook.enabled):
        raise Conflicting(f"The webhook is {'paused' if webhook.enabled else 'disabled'}: resume or enable it first.")
    scope = _scope_of(recovery, webhook.tenant, webhook.id)
    if recovery.dry_run:
        return await _dry_run(store, scope, recovery.rate, response)
    state = await gateway.recoveries.start(scope, recovery.rate)
    await audit.keep(caller.did("webhook.recover", webhook.id, webhook.tenant, recovery.model_fields_set, job=state.id))
    return views.recovery(state)


@router.post(
    "/recoveries", status_code=202, responses={200: COUNTED, **responses(409)}, dependencies=[needs("events:write")]
)
async def recover_tenant(
    recovery: TenantRecoveryRequest,
    gateway: GatewayDep,
    store: StoreDep,
    audit: AuditDep,
    caller: CallerDep,
    response: Response,
) -> RecoveryView:
    """Redeliver the failed deliveries of all webhooks of a tenant. Paused, disabled and deleted webhooks are skipped.

    A tenant can have one recovery at a time, and none during a recovery of one of its webhooks (409).
    """
    fields, recovery = recovery.model_fields_set, caller.with_tenant(recovery)
    scope = _scope_of(recovery, recovery.tenant, None)
    if recovery.dry_run:
        return await _dry_run(store, scope, recovery.rate, response)
    state = await gateway.recoveries.start(scope, recovery.rate)
    await audit.keep(caller.did("tenant.recover", recovery.tenant, recovery.tenant, fields, job=state.id))
    return views.recovery(state)


@router.get("/recoveries", dependencies=[needs("events:read")])
async def list_recoveries(
    cursor: Cursor,
    gateway: GatewayDep,
    tenant: AnyTenant,
    webhook: Annotated[str | None, Query(pattern=EVENT_ID, description="Only recoveries of this webhook")] = None,
    limit: Limit = 50,
) -> Page[RecoveryView]:
    """List recoveries: open ones first, then finished ones, each newest first.

    One whose workflow does not answer within two seconds is listed with the status `unknown`. It accepts commands, and
    obeys when it answers again.
    """
    states, next_cursor = await gateway.recoveries.page(tenant, webhook, limit, cursor.start)
    return cursor.page([views.recovery(state) for state in states], next_cursor)


class SteeredRecovery(NamedTuple):
    """A recovery that gets a command."""

    id: str
    tenant: str


async def _known(
    recovery_id: Annotated[str, Path(pattern=EVENT_ID)], gateway: GatewayDep, caller: CallerDep
) -> RecoveryState:
    """Return the recovery that the path names. Raises NotFound for one of another tenant."""
    state = await gateway.recoveries.read(recovery_id)
    if caller.tenant not in (None, state.scope.tenant):
        raise NotFound("There is no such recovery.")
    return state


async def _steered(
    recovery_id: Annotated[str, Path(pattern=EVENT_ID)], gateway: GatewayDep, caller: CallerDep
) -> SteeredRecovery:
    """Return the recovery that the path names, which need not answer. Raises NotFound for one of another tenant."""
    scope = await gateway.recoveries.scope_of(recovery_id)
    if caller.tenant not in (None, scope.tenant):
        raise NotFound("There is no such recovery.")
    return SteeredRecovery(recovery_id, scope.tenant)


KnownRecovery = Annotated[RecoveryState, Depends(_known)]
RecoveryToSteer = Annotated[SteeredRecovery, Depends(_steered)]


@router.get("/recoveries/{recovery_id}", responses=responses(404), dependencies=[needs("events:read")])
async def show_recovery(state: KnownRecovery) -> RecoveryView:
    """Show the progress or the result of a recovery."""
    return views.recovery(state)


async def send_command(
    command: RecoveryCommand, recovery: SteeredRecovery, gateway: Gateway, audit: AuditLog, caller: Caller
) -> None:
    """Send a command to a recovery, and record it. Raises Refused if the recovery has ended."""
    await gateway.recoveries.command(recovery.id, command)
    await audit.keep(caller.did(f"recovery.{command}", *recovery))


def _add_command(command: RecoveryCommand, description: str) -> None:
    async def act(
        recovery: RecoveryToSteer, gateway: GatewayDep, audit: AuditDep, caller: CallerDep
    ) -> RecoveryCommandAccepted:
        await send_command(command, recovery, gateway, audit, caller)
        return RecoveryCommandAccepted(id=recovery.id, command=command)

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


def _scope_of(recovery: RecoveryRequest, tenant: str, webhook_id: str | None) -> RecoveryScope:
    now = utc_now()
    if recovery.since >= now:
        raise Invalid.field("since", "is in the future")
    return RecoveryScope(
        tenant=tenant,
        webhook_id=webhook_id,
        status=recovery.status,
        types=tuple(recovery.types),
        since=recovery.since,
        until=min(recovery.until or now, now),
        began=now,
    )


async def _dry_run(store: Store, scope: RecoveryScope, rate: float, response: Response) -> RecoveryView:
    """Count the events that would be redelivered. The answer is 200: nothing was started."""
    response.status_code = 200
    found = await store.index.runs_by_status.count(recoverable(scope), scope.began)
    return views.recovery(RecoveryState(id="", scope=scope, rate=rate, found=found))
