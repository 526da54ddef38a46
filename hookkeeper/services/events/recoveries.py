"""Redeliver failed deliveries in bulk, retry what waits, or do something to all events that a search finds: count,
start, control.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.messages.bulk_work import BulkAction, RecoverableStatus, RecoveryCommand, RecoveryScope, RecoveryState
from hookkeeper.messages.event import Acknowledgement
from hookkeeper.registry.events.conditions import Search
from hookkeeper.registry.events.runs_by_status import recoverable
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.services.caller import Caller
from hookkeeper.services.errors import Invalid, NotAllowed, NotFound, NotPossible
from hookkeeper.services.events.commands import check_tenant
from hookkeeper.services.fields import EventType, GivenTime, Line, RequestModel, TenantName, with_examples
from hookkeeper.temporal.bulk.recovery_candidates import EVENTS_PER_COUNT, written
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.times import utc_now

MAX_COUNTED = 10_000
"""Events that a dry run of a bulk action counts."""
MAX_PAGES = 50
"""Pages that it reads, of up to 10,000 entries of an index."""
MAX_RATE = 100
BEFORE_INCIDENT = timedelta(minutes=5)
"""The first event that failed was accepted before its attempt failed."""


class RecoveryRequest(RequestModel):
    model_config = with_examples({"since": "2026-01-02T03:00:00Z", "dry_run": True}, {"status": "retrying"})

    since: GivenTime | None = None
    """Only events that were accepted at this time or later. By default five minutes before the latest incident of the
    webhook began; deliveries that wait are all retried."""
    until: GivenTime | None = None
    """Only events that were accepted before this time; by default now."""
    status: RecoverableStatus = "failed"
    """Deliveries with this status: `failed` and `cancelled` ones are made again, `retrying` ones attempted now."""
    types: list[EventType] = Field(default_factory=list, max_length=20)
    """Only events of exactly these types; by default all."""
    rate: float = Field(20.0, ge=0.1, le=MAX_RATE, allow_inf_nan=False, strict=True)
    """Events per second, at most."""
    dry_run: bool = Field(False, strict=True)
    """Only count the events; nothing is delivered."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.until and self.since and self.until <= self.since:
            raise ValueError("until is not after since")
        return self


class TenantRecoveryRequest(RecoveryRequest):
    model_config = with_examples({"tenant": "acme", "since": "2026-01-02T03:00:00Z", "dry_run": True})

    tenant: TenantName = DEFAULT_TENANT


class BulkRequest(RequestModel):
    model_config = with_examples({"action": "retry", "dry_run": True})

    action: BulkAction
    note: Line = Field("", max_length=500)
    """A note, if the action is `acknowledge`."""
    rate: float | None = Field(None, ge=0.1, le=MAX_RATE, allow_inf_nan=False, strict=True)
    """Events per second, at most. By default 20, and 100 for `acknowledge`."""
    dry_run: bool = Field(False, strict=True)
    """Only count the events, up to 10,000."""


def incident_began(webhook: Webhook) -> datetime | None:
    """Return a time shortly before the failures of the webhook began: those of now, or of its latest incident."""
    began = webhook.unhealthy_since or (webhook.incident and webhook.incident.since)
    return began - BEFORE_INCIDENT if began else None


class RecoveryService(NamedTuple):
    """What a caller does with recoveries and bulk actions. The audit log has it."""

    caller: Caller
    store: Store
    gateway: Gateway

    async def of_webhook(
        self, webhook: Webhook, wanted: RecoveryRequest, *, with_retrying: bool = False
    ) -> RecoveryState:
        """Recover the deliveries of a webhook, perhaps also those that are being retried.

        Raises NotAllowed, TenantSuspended, NotPossible, Invalid, Conflict.
        """
        await self._check("recover", webhook.tenant, counts=wanted.dry_run)
        if not wanted.dry_run and (webhook.paused_at or not webhook.enabled):
            state = "paused" if webhook.enabled else "disabled"
            raise NotPossible(f"The webhook is {state}: resume or enable it first.")
        if wanted.since is None and wanted.status != "retrying":
            wanted = wanted.model_copy(update={"since": incident_began(webhook)})
        scope = self._scope(wanted, webhook.tenant, webhook.id).model_copy(update={"retrying": with_retrying})
        return await self._recover("webhook", webhook.id, scope, wanted)

    async def for_tenant(self, wanted: TenantRecoveryRequest) -> RecoveryState:
        """Recover the deliveries of all webhooks of a tenant. Raises NotAllowed, TenantSuspended, Invalid, Conflict."""
        tenant = self.caller.with_tenant(wanted).tenant
        await self._check("recover", tenant, counts=wanted.dry_run)
        return await self._recover("tenant", tenant, self._scope(wanted, tenant, None), wanted)

    async def in_bulk(self, search: Search, wanted: BulkRequest) -> RecoveryState:
        """Do something to all events that a search finds, of one tenant.

        Raises NotAllowed, TenantSuspended, Invalid, Conflict.
        """
        if wanted.dry_run or search.keys or search.id_prefix:
            self._check_reads()
        if search == Search(tenant=search.tenant):
            raise Invalid("Name a filter besides the tenant, such as `status` or `last`.")
        now = utc_now()
        found, tenants = (await self._find(search)) if wanted.dry_run or not search.tenant else (None, set())
        if len(tenants) > 1:
            raise Invalid.field("tenant", "the events belong to several tenants: name one")
        tenant = search.tenant or next(iter(tenants), DEFAULT_TENANT)
        is_noted = wanted.action == "acknowledge"
        scope = RecoveryScope(
            tenant=tenant,
            action=wanted.action,
            search=written(replace(search, tenant=tenant)),
            acknowledged=Acknowledgement(at=now, by=self.caller.shown_name, note=wanted.note) if is_noted else None,
            since=None,
            until=min(search.until or now, now),
            began=now,
            in_portal=self.caller.is_customer,
        )
        rate = wanted.rate or (MAX_RATE if is_noted else 20.0)
        if wanted.dry_run:
            return RecoveryState(id="", scope=scope, rate=rate, found=found)
        await check_tenant(wanted.action, tenant, self.store)
        state = await self.gateway.recoveries.start(scope, rate)
        await self.store.audit.keep(self.caller.did(f"events.{wanted.action}", state.id, tenant, scope.search or ()))
        return state

    async def _find(self, search: Search) -> tuple[int, set[str]]:
        """Count the events that a search finds, up to a limit, and name their tenants."""
        count, cursor, tenants = 0, None, set[str]()
        for _ in range(MAX_PAGES):
            found, cursor = await self.store.index.matches(search, EVENTS_PER_COUNT, cursor)
            count += len(found)
            tenants |= {tenant for tenant, _ in found}
            if cursor is None or count >= MAX_COUNTED:
                break
        return min(count, MAX_COUNTED), tenants

    async def read(self, recovery_id: str) -> RecoveryState:
        """Return the state of a recovery. Raises UnknownRecovery, and NotFound for one of another tenant."""
        state = await self.gateway.recoveries.read(recovery_id)
        self._check_owner(state.scope)
        return state

    async def scope_of(self, recovery_id: str) -> RecoveryScope:
        """Return the scope of a recovery, without a worker. Raises as `read` does."""
        scope = await self.gateway.recoveries.scope_of(recovery_id)
        self._check_owner(scope)
        return scope

    async def command(self, recovery_id: str, command: RecoveryCommand) -> None:
        """Send a command, which needs no answer.

        Raises as `read` does, TenantSuspended, and Refused if the recovery has ended.
        """
        scope = await self.scope_of(recovery_id)
        if command == "resume":
            await check_tenant(scope.action or command, scope.tenant, self.store)
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

    async def _check(self, action: str, tenant: str, *, counts: bool) -> None:
        """Raise NotAllowed for a count without the scope for it, and TenantSuspended for more than a count."""
        if counts:
            self._check_reads()
        else:
            await check_tenant(action, tenant, self.store)

    def _check_reads(self) -> None:
        if "events:read" not in self.caller.scopes:
            raise NotAllowed("The key lacks the scope events:read: counts, `q` and `id_prefix` tell what is in events.")

    def _scope(self, wanted: RecoveryRequest, tenant: str, webhook_id: str | None) -> RecoveryScope:
        now = utc_now()
        if wanted.since is None and wanted.status != "retrying":
            raise Invalid.field(
                "since", "is required: no incident of the webhook is known" if webhook_id else "is required"
            )
        if wanted.since and wanted.since >= now:
            raise Invalid.field("since", "is in the future")
        return RecoveryScope(
            tenant=tenant,
            webhook_id=webhook_id,
            status=wanted.status,
            types=tuple(wanted.types),
            since=wanted.since,
            until=min(wanted.until or now, now),
            began=now,
            in_portal=self.caller.is_customer,
        )
