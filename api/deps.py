"""What routes are given: who may come in, the process's one gateway and one store, the usual parameters."""

import hmac
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.security import HTTPBearer

from api.errors import NoKey
from registry.catalogue import Catalogue
from registry.store import Store
from workflows.gateway import Gateway

TENANT_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"

bearer = HTTPBearer(auto_error=False, description="`Authorization: Bearer <key>`")


def authenticator(admin_key: str) -> Callable[[Request], None]:
    """Make the check that each request passes before its body is read."""

    def authenticate(request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(key.strip().encode(), admin_key.encode()):
            raise NoKey("A key is needed: `Authorization: Bearer <key>`.", headers={"www-authenticate": "Bearer"})

    return authenticate


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _catalogue(request: Request) -> Catalogue:
    return _store(request).catalogue


GatewayDep = Annotated[Gateway, Depends(_gateway)]
StoreDep = Annotated[Store, Depends(_store)]
CatalogueDep = Annotated[Catalogue, Depends(_catalogue)]

Tenant = Annotated[
    str, Query(pattern=TENANT_PATTERN, description="The tenant that the object belongs to", examples=["acme"])
]
AnyTenant = Annotated[str | None, Query(pattern=TENANT_PATTERN, description="Only this tenant's; all where left out")]
Limit = Annotated[int, Query(ge=1, le=100, description="Items a page")]
Cursor = Annotated[str | None, Query(max_length=4096, description="`next_cursor` of the page before")]
