"""Tenants: what one has, and how an operator describes, limits and suspends them."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from pydantic import Field

from hookkeeper.content.notifications import OnFailure
from hookkeeper.content.search_terms import Term
from hookkeeper.crypto.signing_keys import Scheme
from hookkeeper.messages.bulk_work import ERASE, RecoveryScope, RecoveryState
from hookkeeper.policy import AlertAfter, RetryPolicy
from hookkeeper.registry.models import Tenant
from hookkeeper.registry.store import Store
from hookkeeper.registry.tenants.tenants import TenantExists
from hookkeeper.services.caller import Caller
from hookkeeper.services.errors import NotFound
from hookkeeper.services.events.recoveries import MAX_RATE
from hookkeeper.services.fields import (
    SHOWN_AS_GIVEN,
    Line,
    MetadataText,
    RequestModel,
    ResponseModel,
    Shown,
    TenantName,
    Time,
    with_examples,
)
from hookkeeper.services.webhooks.validator import WebhookValidator
from hookkeeper.services.webhooks.webhooks import masked_alerts, unmasked_alerts
from hookkeeper.settings import RATE
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.times import utc_now


class TenantChanges(RequestModel):
    """Only the fields that are sent are changed."""

    model_config = with_examples({"rate_limit": "100/second"}, {"suspended": True, "reason": "The contract has ended."})

    name: Line = Field("", max_length=256, examples=["Acme Ltd"])
    metadata: dict[MetadataText, MetadataText] = Field(default_factory=dict, max_length=50, examples=[{"plan": "pro"}])
    """Your own metadata."""
    rate_limit: str | None = Field(None, pattern=RATE, examples=["100/second"])
    """Events that each API process accepts of the tenant in a time. By default any number."""
    suspended: bool = Field(False, strict=True)
    """New events are refused (403), and deliveries are held."""
    reason: Line = Field("", max_length=500, examples=["The contract has ended."])
    """Why it is suspended: the refusal of an event says it."""
    retry: RetryPolicy | None = None
    """The schedule of webhooks that are registered without one."""
    on_failure: OnFailure | None = Field(None, title="Alerts")
    """Alerts of webhooks that are registered without any."""
    alert_after: AlertAfter | None = Field(None, examples=[{"attempts": 5, "seconds": 900}])
    """When webhooks are failing that are registered without their own `alert_after`."""
    signature_scheme: Scheme = "v1"
    """Kind of the key that is generated for webhooks that are registered without one."""


class NewTenant(TenantChanges):
    model_config = with_examples({"id": "acme", "name": "Acme Ltd", "rate_limit": "100/second"})

    id: TenantName = Field(description="Your own id of the tenant, which events and webhooks name", examples=["acme"])


class _Named(ResponseModel):
    """Puts `id` before the other fields."""

    id: str


class TenantView(Shown, TenantChanges, _Named):
    model_config = SHOWN_AS_GIVEN

    suspended_at: Time | None
    created_at: Time
    updated_at: Time
    webhooks: int | None
    """Their number. Null without `webhooks:read`."""
    events: int | None
    """Events accepted in about the last 24 hours. Null without `events:read`."""


SHOWN = TenantView.model_fields.keys()
"""Fields of answers, some of which cannot be set."""


class TenantService(NamedTuple):
    """What a caller does with tenants. The audit log has each change."""

    caller: Caller
    store: Store
    gateway: Gateway
    validator: WebhookValidator

    async def get(self, tenant: str) -> Tenant:
        """Return a tenant. Raises NotFound, also for another one than the key's."""
        found = await self.store.tenants.get(tenant) if self.caller.tenant in (None, tenant) else None
        return _found(found)

    async def page(
        self, terms: Sequence[Term], limit: int, cursor: str | None, *, oldest_first: bool = False
    ) -> tuple[list[Tenant], str | None]:
        """Return a page of the tenants that the caller may see, as `Tenants.page` does. Raises BadRegistryCursor."""
        return await self.store.tenants.page(
            only=self.caller.tenant, terms=terms, limit=limit, cursor=cursor, oldest_first=oldest_first
        )

    async def shown(self, tenants: Sequence[Tenant]) -> list[TenantView]:
        """Show tenants with what they have."""
        webhooks, events = await self.store.tenants.counts([tenant.id for tenant in tenants])
        scopes = self.caller.scopes
        return [
            TenantView.of(
                row,
                metadata=row.metadata_,
                suspended=row.suspended_at is not None,
                on_failure=masked_alerts(row.on_failure),
                signature_scheme=row.signature_scheme or "v1",
                webhooks=webhooks.get(row.id, 0) if "webhooks:read" in scopes else None,
                events=events.get(row.id, 0) if "events:read" in scopes else None,
            )
            for row in tenants
        ]

    async def add(self, new: NewTenant, *, again: bool = True) -> Tenant:
        """Add a tenant. Raises Invalid, TenantExists, and TenantDeleted for one that was deleted, unless `again`."""
        columns = await self._columns(new, new.id, None)
        suspended = columns.pop("suspended", False)
        tenant = Tenant(**columns)
        if suspended:
            tenant.suspended_at = tenant.created_at
        entry = self.caller.did("tenant.create", new.id, new.id, new.model_fields_set)
        await self.store.tenants.add(tenant, entry, again=again)
        return tenant

    async def put(self, tenant: str, wanted: TenantChanges) -> tuple[Tenant, bool]:
        """Add a tenant, also one that was deleted, or change the one that is there. Return it, and whether it is new.

        Raises Invalid.
        """
        if await self.store.tenants.get(tenant) is None:
            with suppress(TenantExists):
                given = {name: getattr(wanted, name) for name in wanted.model_fields_set}
                return await self.add(NewTenant(id=tenant, **given)), True
        return await self.change(tenant, wanted), False

    async def change(self, tenant: str, changes: TenantChanges) -> Tenant:
        """Change the fields that are set. Raises NotFound, Invalid, and Unavailable, after which it can be repeated."""
        known = await self.get(tenant)
        columns = await self._columns(changes, tenant, known)
        entry = self.caller.did("tenant.update", tenant, tenant, changes.model_fields_set)
        changed = _found(await self.store.tenants.update(tenant, columns, entry))
        if "suspended" in columns and not changed.suspended_at:
            for webhook_id in await self.store.tenants.holding(tenant):
                await self.gateway.releases.start(tenant, webhook_id)
        return changed

    async def delete(self, tenant: str) -> RecoveryState:
        """Delete a tenant in the background, and return the state of that job.

        From now on it accepts no events, and its keys and sessions are revoked. Raises NotFound, Conflict, and
        Unavailable: the job, which does the same first of all, may have begun then.
        """
        await self.get(tenant)
        now = utc_now()
        scope = RecoveryScope(tenant=tenant, action=ERASE, search={}, since=None, until=now, began=now)
        state = await self.gateway.recoveries.start(scope, MAX_RATE)
        await self.store.audit.keep(self.caller.did("tenant.delete", tenant, tenant, job=state.id))
        await self.store.tenants.close(tenant)
        return state

    async def _columns(self, given: TenantChanges, tenant: str, known: Tenant | None) -> dict[str, Any]:
        columns = {name: getattr(given, name) for name in given.model_fields_set}
        if alerts := columns.get("on_failure"):
            columns["on_failure"] = alerts = unmasked_alerts(alerts, known.on_failure if known else None)
            await self.validator.for_(tenant).check({"emails": (), "on_failure": alerts})
        if "metadata" in columns:
            columns["metadata_"] = columns.pop("metadata")
        return columns


def _found(tenant: Tenant | None) -> Tenant:
    if tenant is None:
        raise NotFound("There is no such tenant.")
    return tenant
