"""Tenants: describe, limit and suspend them."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api import views
from api.access import GuardedRoute, needs
from api.deps import Cursor, Limit, TenantsDep
from api.filters import Terms
from api.problems import KEYED, responses
from api.schemas.recoveries import RecoveryView
from hookkeeper.registry.models import Tenant
from hookkeeper.services.fields import TENANT_PATTERN, Page
from hookkeeper.services.tenants.tenants import NewTenant, TenantChanges, TenantService, TenantView

router = APIRouter(prefix="/v1/tenants", tags=["tenants"], route_class=GuardedRoute, responses=KEYED)
ANY_READ = needs("events:read", "webhooks:read")
Id = Annotated[str, Path(pattern=TENANT_PATTERN, description="The tenant", examples=["acme"])]


@router.post("", status_code=201, responses=responses(409), dependencies=[needs("admin")])
async def create_tenant(new: NewTenant, tenants: TenantsDep) -> TenantView:
    """Describe a tenant. One that an event, a webhook or a key has named is there already: change that."""
    return await _shown(tenants, await tenants.add(new))


@router.get("", dependencies=[ANY_READ])
async def list_tenants(tenants: TenantsDep, cursor: Cursor, terms: Terms, limit: Limit = 50) -> Page[TenantView]:
    """List tenants, newest first. The key of a tenant finds its own only."""
    found, next_cursor = await tenants.page(terms, limit, cursor.start)
    return cursor.page(await tenants.shown(found), next_cursor)


@router.get("/{tenant_id}", responses=responses(404), dependencies=[ANY_READ])
async def show_tenant(tenant_id: Id, tenants: TenantsDep) -> TenantView:
    """Show a tenant, with the number of its webhooks and of its events of the last 24 hours."""
    return await _shown(tenants, await tenants.get(tenant_id))


@router.patch("/{tenant_id}", responses=responses(404), dependencies=[needs("admin")])
async def change_tenant(tenant_id: Id, changes: TenantChanges, tenants: TenantsDep) -> TenantView:
    """Change the fields that are sent.

    A suspended tenant accepts no new events, and holds its deliveries as if all its webhooks were paused. When the
    suspension ends, held deliveries are released, oldest first, but those of webhooks that were paused otherwise.
    Repeat the request after a 503.
    """
    return await _shown(tenants, await tenants.change(tenant_id, changes))


@router.put(
    "/{tenant_id}",
    responses={201: {"model": TenantView, "description": "The tenant is new"}},
    dependencies=[needs("admin")],
)
async def put_tenant(tenant_id: Id, wanted: TenantChanges, tenants: TenantsDep, response: Response) -> TenantView:
    """Add a tenant, also one that was deleted; or change the fields that are sent of the one that is there."""
    tenant, is_new = await tenants.put(tenant_id, wanted)
    response.status_code = 201 if is_new else 200
    return await _shown(tenants, tenant)


@router.delete("/{tenant_id}", status_code=202, responses=responses(404, 409), dependencies=[needs("admin")])
async def delete_tenant(tenant_id: Id, tenants: TenantsDep) -> RecoveryView:
    """Delete a tenant with all that it has, in the background: the answer is a recovery with the action `erase`.

    It accepts no events from now on, and its keys and sessions of the portal are revoked. Its open events are
    cancelled, and all are erased; then webhooks, schedules, keys, suppressions and counters are removed. The audit log
    keeps its entries. If an event cannot be erased, the tenant stays suspended: delete it again. 409 means that its
    deletion is running, also after a 503, which means that it may have begun.

    For the retention, requests that name the tenant are answered with 410: neither an event nor a webhook adds it
    again. `PUT` and `POST /v1/tenants` do.
    """
    return views.recovery(await tenants.delete(tenant_id))


async def _shown(tenants: TenantService, tenant: Tenant) -> TenantView:
    return (await tenants.shown([tenant]))[0]
