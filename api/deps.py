"""Dependencies of routes: the caller, the tenant, a page's cursor, and parts of the API's state.

All are coroutines: FastAPI calls a plain function in a thread, which costs more than what it does here.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Path, Query, Request
from pydantic import Field

from api.authenticator import Authenticator
from api.cursors import MAX_LENGTH, PageCursor
from api.errors import naming_event
from api.limits import HeldCounts
from api.state import ApiState, state_of
from hookkeeper.links import DEFAULT_TENANT, LinkBuilder
from hookkeeper.registry.audit import AuditLog
from hookkeeper.registry.catalogue import Catalogue
from hookkeeper.registry.events.index import EventIndex
from hookkeeper.registry.events.rows import EventSnapshot
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.suppressions import Suppressions
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.services.caller import Caller
from hookkeeper.services.catalogue.event_types import EventTypes
from hookkeeper.services.errors import NotFound
from hookkeeper.services.events.commands import tenant_of_event
from hookkeeper.services.events.ingest import EventIngest
from hookkeeper.services.events.new_event import NewEvent, new_event_id
from hookkeeper.services.events.recoveries import RecoveryService
from hookkeeper.services.events.search import EventSearches
from hookkeeper.services.fields import EVENT_ID, TENANT_PATTERN
from hookkeeper.services.rate_limits import RateLimits
from hookkeeper.services.schedules.schedules import ScheduleService
from hookkeeper.services.system.state import SystemState
from hookkeeper.services.tenants.tenants import TenantService
from hookkeeper.services.webhooks.webhooks import WebhookService, require, webhook_named
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.schedules.client import Schedules


def _from_state(choose: Callable[[ApiState], Any]) -> Any:
    async def get(request: Request) -> Any:
        return choose(state_of(request))

    return Depends(get)


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def _links(request: Request) -> LinkBuilder:
    return state_of(request).links_for(request.state.caller)


async def _webhook_service(request: Request) -> WebhookService:
    state = state_of(request)
    return WebhookService(
        request.state.caller,
        state.store,
        state.gateway,
        state.ingest,
        state.validator,
        state.sandbox,
        state.settings,
    )


async def _event_types(request: Request) -> EventTypes:
    state = state_of(request)
    return EventTypes(request.state.caller, state.store.catalogue, state.sandbox)


async def _schedule_service(request: Request) -> ScheduleService:
    state = state_of(request)
    return ScheduleService(request.state.caller, state.schedules, state.ingest, state.settings)


async def _recovery_service(request: Request) -> RecoveryService:
    state = state_of(request)
    return RecoveryService(request.state.caller, state.store, state.gateway)


async def tenant_service(request: Request) -> TenantService:
    state = state_of(request)
    return TenantService(request.state.caller, state.store, state.gateway, state.validator)


class EventEntry(NamedTuple):
    """What a request with events needs. One dependency, because FastAPI takes 0.02 ms for each."""

    caller: Caller
    ingest: EventIngest
    links: LinkBuilder

    async def accept(self, event: NewEvent, *, only_known: bool = False, makes_tenant: bool = True) -> EventSnapshot:
        """Accept an event of the caller. A problem names its id, also one that was generated."""
        event = self.caller.with_tenant(event)
        event_id = event.id or new_event_id()
        with naming_event(event_id):
            return await self.ingest.accept(event, event_id, only_known=only_known, makes_tenant=makes_tenant)

    async def others(self, tenant: str) -> list[str]:
        """Return tenants with webhooks, if this one has none and the caller may know others."""
        return await self.ingest.other_tenants(tenant) if self.caller.tenant is None else []


async def event_entry(request: Request) -> EventEntry:
    """Refuse events while too many wait."""
    state = state_of(request)
    await state.backlog_limit.check()
    return EventEntry(request.state.caller, state.ingest, state.links_for(request.state.caller))


CallerDep = Annotated[Caller, Depends(_caller)]
AuthenticatorDep = Annotated[Authenticator, _from_state(lambda state: state.authenticator)]
SettingsDep = Annotated[Settings, _from_state(lambda state: state.settings)]
LinksDep = Annotated[LinkBuilder, Depends(_links)]
SandboxDep = Annotated[Sandbox, _from_state(lambda state: state.sandbox)]
SearchesDep = Annotated[EventSearches, _from_state(lambda state: state.searches)]
WebhooksDep = Annotated[WebhookService, Depends(_webhook_service)]
EventTypesDep = Annotated[EventTypes, Depends(_event_types)]
ScheduleServiceDep = Annotated[ScheduleService, Depends(_schedule_service)]
TenantsDep = Annotated[TenantService, Depends(tenant_service)]
RecoveriesDep = Annotated[RecoveryService, Depends(_recovery_service)]
GatewayDep = Annotated[Gateway, _from_state(lambda state: state.gateway)]
SchedulesDep = Annotated[Schedules, _from_state(lambda state: state.schedules)]
FiringsDep = Annotated[RateLimits, _from_state(lambda state: state.firings)]
HeldCountsDep = Annotated[HeldCounts, _from_state(lambda state: state.held_counts)]
StoreDep = Annotated[Store, _from_state(lambda state: state.store)]
CatalogueDep = Annotated[Catalogue, _from_state(lambda state: state.store.catalogue)]
IndexDep = Annotated[EventIndex, _from_state(lambda state: state.store.index)]
SuppressionsDep = Annotated[Suppressions, _from_state(lambda state: state.store.suppressions)]
AuditDep = Annotated[AuditLog, _from_state(lambda state: state.store.audit)]
SystemDep = Annotated[SystemState, _from_state(lambda state: state.system)]
EventEntryDep = Annotated[EventEntry, Depends(event_entry)]


def _tenant(description: str) -> Any:
    return Query(pattern=TENANT_PATTERN, description=description, examples=["acme"])


async def _owner(
    caller: CallerDep,
    tenant: Annotated[
        str | None, _tenant("The tenant of the object. By default the key's own tenant, else `default`")
    ] = None,
) -> str:
    """Return the tenant of the object that the path names. Objects of another tenant are not found."""
    return _own_tenant(caller, tenant) or DEFAULT_TENANT


async def _event_owner(
    request: Request,
    caller: CallerDep,
    event_id: Annotated[str, Path(pattern=EVENT_ID)],
    tenant: Annotated[
        str | None,
        _tenant(
            "The tenant of the event. By default the key's own tenant; for a key of all tenants `default`, or the only"
            " one that has an event with this id"
        ),
    ] = None,
) -> str:
    """Return the tenant of the event that the path names. Events of another tenant are not found."""
    return _own_tenant(caller, tenant) or await tenant_of_event(event_id, state_of(request).store.rows)


def _own_tenant(caller: Caller, tenant: str | None) -> str | None:
    """Return the tenant of the request; None if neither the key nor the request names one. Raises NotFound."""
    if caller.tenant is not None and tenant not in (None, caller.tenant):
        raise NotFound(f"The key is bound to tenant {caller.tenant}: it has no objects of other tenants.")
    return caller.tenant or tenant


async def _webhook_owner(
    caller: CallerDep,
    tenant: Annotated[
        str | None,
        _tenant("The tenant of the webhook. A key of all tenants needs it for a `uid`, unless it is `default`"),
    ] = None,
) -> str | None:
    """Return the tenant of the webhook that a request names; None for any."""
    return _own_tenant(caller, tenant)


WebhookTenant = Annotated[str | None, Depends(_webhook_owner)]


async def _known_webhook(
    webhook_id: Annotated[str, Path(pattern=EVENT_ID, description="The webhook's id or `uid`")],
    store: StoreDep,
    tenant: WebhookTenant,
) -> Webhook:
    """Return the webhook that the path names. Raises NotFound, also for a webhook of another tenant."""
    return require(await store.webhooks.get(webhook_id, tenant))


async def _listed(
    caller: CallerDep,
    tenant: Annotated[
        str | None,
        Query(
            pattern=TENANT_PATTERN,
            description="Only objects of this tenant. By default the key's own tenant, else all",
        ),
    ] = None,
) -> str | None:
    """Return the tenant whose objects are listed; None for all."""
    if tenant is not None:
        caller.check_tenant(tenant)
    return tenant or caller.tenant


AnyTenant = Annotated[str | None, Depends(_listed)]


async def _webhook_filter(
    store: StoreDep,
    tenant: AnyTenant,
    caller: CallerDep,
    webhook: Annotated[
        str | None,
        Query(
            min_length=1, max_length=256, description="Only what concerns this webhook, named by its id, `uid` or name"
        ),
    ] = None,
) -> str | None:
    """Return the id of the webhook of a filter."""
    return webhook and await webhook_named(store, caller, webhook, tenant)


async def _cursor(
    request: Request,
    cursor: Annotated[
        # The limit is only documented here: a longer cursor is answered with 400, like any other that no list gave.
        Annotated[str, Field(json_schema_extra={"maxLength": MAX_LENGTH})] | None,
        Query(description="`next_cursor` of the previous page"),
    ] = None,
) -> PageCursor:
    return PageCursor(state_of(request).cursor_key, request.url.path, cursor)


Cursor = Annotated[PageCursor, Depends(_cursor)]
KnownWebhook = Annotated[Webhook, Depends(_known_webhook)]
Tenant = Annotated[str, Depends(_owner)]
EventTenant = Annotated[str, Depends(_event_owner)]
WebhookFilter = Annotated[str | None, Depends(_webhook_filter)]
AddressToken = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{29,160}$")]
"""The token of an address of the API that takes requests (`AddressTokens`)."""
Limit = Annotated[int, Query(ge=1, le=100, description="Maximum number of items on a page")]
