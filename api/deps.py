"""What routes are given: who asks, whose objects are meant, the process's one gateway and one store.

All are coroutines: FastAPI calls a plain function in a thread, which costs more than what it does here.
"""

from typing import Annotated

from fastapi import Depends, Query, Request

from api.access import Caller
from api.problems import NotFound
from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.registry.audit import AuditLog
from hookkeeper.registry.catalogue import Catalogue
from hookkeeper.registry.store import Store
from hookkeeper.temporal.gateway import Gateway

TENANT_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


async def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


CallerDep = Annotated[Caller, Depends(_caller)]
GatewayDep = Annotated[Gateway, Depends(_gateway)]
StoreDep = Annotated[Store, Depends(_store)]


async def _catalogue(store: StoreDep) -> Catalogue:
    return store.catalogue


async def _audit(store: StoreDep) -> AuditLog:
    return store.audit


async def _owner(
    caller: CallerDep,
    tenant: Annotated[
        str | None,
        Query(
            pattern=TENANT_PATTERN,
            description="The tenant of the object. By default the key's own tenant, else `default`",
            examples=["acme"],
        ),
    ] = None,
) -> str:
    """Give the tenant of an object that is asked for by its id. Another one's objects are as good as none."""
    if caller.tenant is None:
        return tenant or DEFAULT_TENANT
    if tenant not in (None, caller.tenant):
        raise NotFound(f"The key is bound to tenant {caller.tenant}: it finds nothing of others.")
    return caller.tenant


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
    """Give the tenant whose objects are to be listed; None is all."""
    if tenant is not None:
        caller.check_tenant(tenant)
    return tenant or caller.tenant


CatalogueDep = Annotated[Catalogue, Depends(_catalogue)]
AuditDep = Annotated[AuditLog, Depends(_audit)]
Tenant = Annotated[str, Depends(_owner)]
AnyTenant = Annotated[str | None, Depends(_listed)]
Limit = Annotated[int, Query(ge=1, le=100, description="Maximum number of items on a page")]
