"""Redeliver failed deliveries in bulk: count what would be, start it, control it."""

from typing import NamedTuple, Self

from pydantic import Field, model_validator

from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.messages.bulk_work import RecoverableStatus, RecoveryCommand, RecoveryScope, RecoveryState
from hookkeeper.registry.index.runs_by_status import recoverable
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.services.caller import Caller
from hookkeeper.services.errors import Invalid, NotFound, NotPossible
from hookkeeper.services.fields import EventType, GivenTime, RequestModel, TenantName, with_examples
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.times import utc_now


class RecoveryRequest(RequestModel):
    model_config = with_examples({"since": "2026-01-02T03:00:00Z", "dry_run": True})

    since: GivenTime
    """Only events that were accepted at this time or later."""
    until: GivenTime | None = None
    """Only events that were accepted before this time; by default now."""
    status: RecoverableStatus = "failed"
    """Deliveries with this final status are made again."""
    types: list[EventType] = Field(default_factory=list, max_length=20)
    """Only events of exactly these types; by default all."""
    rate: float = Field(20.0, ge=0.1, le=100, allow_inf_nan=False, strict=True)
    """Events per second, at most."""
    dry_run: bool = Field(False, strict=True)
    """Only count the events; nothing is delivered."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.until is not None and self.until <= self.since:
            raise ValueError("until is not after since")
        return self


class TenantRecoveryRequest(RecoveryRequest):
    tenant: TenantName = DEFAULT_TENANT


class RecoveryService(NamedTuple):
    """What a caller does with recoveries. The audit log has it."""

    caller: Caller
    store: Store
    gateway: Gateway

    async def of_webhook(self, webhook: Webhook, wanted: RecoveryRequest) -> RecoveryState:
        """Recover the deliveries of a webhook. Raises NotPossible, Invalid, Conflict."""
        if not wanted.dry_run and (webhook.paused_at or not webhook.enabled):
            state = "paused" if webhook.enabled else "disabled"
            raise NotPossible(f"The webhook is {state}: resume or enable it first.")
        return await self._recover("webhook", webhook.id, _scope(wanted, webhook.tenant, webhook.id), wanted)

    async def of_tenant(self, wanted: TenantRecoveryRequest) -> RecoveryState:
        """Recover the deliveries of all webhooks of a tenant. Raises NotAllowed, Invalid, Conflict."""
        tenant = self.caller.with_tenant(wanted).tenant
        return await self._recover("tenant", tenant, _scope(wanted, tenant, None), wanted)

    async def read(self, recovery_id: str) -> RecoveryState:
        """Return the state of a recovery. Raises UnknownRecovery, and NotFound for one of another tenant."""
        state = await self.gateway.recoveries.read(recovery_id)
        self._check_owner(state.scope)
        return state

    async def command(self, recovery_id: str, command: RecoveryCommand) -> None:
        """Send a command, which needs no answer. Raises as `read` does, and Refused if the recovery has ended."""
        scope = await self.gateway.recoveries.scope_of(recovery_id)
        self._check_owner(scope)
        await self.gateway.recoveries.command(recovery_id, command)
        await self.store.audit.keep(self.caller.did(f"recovery.{command}", recovery_id, scope.tenant))

    def _check_owner(self, scope: RecoveryScope) -> None:
        if self.caller.tenant not in (None, scope.tenant):
            raise NotFound("There is no such recovery.")

    async def _recover(self, what: str, name: str, scope: RecoveryScope, wanted: RecoveryRequest) -> RecoveryState:
        """Start a recovery, or count for a dry run, whose state has no id."""
        if wanted.dry_run:
            count = await self.store.index.runs_by_status.count(recoverable(scope), scope.began)
            return RecoveryState(id="", scope=scope, rate=wanted.rate, found=count)
        state = await self.gateway.recoveries.start(scope, wanted.rate)
        entry = self.caller.did(f"{what}.recover", name, scope.tenant, wanted.model_fields_set, job=state.id)
        await self.store.audit.keep(entry)
        return state


def _scope(wanted: RecoveryRequest, tenant: str, webhook_id: str | None) -> RecoveryScope:
    now = utc_now()
    if wanted.since >= now:
        raise Invalid.field("since", "is in the future")
    return RecoveryScope(
        tenant=tenant,
        webhook_id=webhook_id,
        status=wanted.status,
        types=tuple(wanted.types),
        since=wanted.since,
        until=min(wanted.until or now, now),
        began=now,
    )
