"""Who may do what. Each route says which scope it needs:

    @router.get("", dependencies=[needs("events:read")])

One that says nothing cannot be made, and an app with a route that is neither guarded nor in `KEYLESS` cannot either.
Whose objects a key may touch is `Caller.tenant`: routes pass it on to what they ask.
"""

from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, cast, get_args

from fastapi import FastAPI, Request, Response, params
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security import HTTPBearer

from api.problems import Forbidden
from api.requests import StrictRoute
from hookkeeper.registry.audit import AuditEntry

Scope = Literal["events:write", "events:read", "webhooks:write", "webhooks:read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
USUAL_SCOPES = SCOPES[:-1]
"""What a key may do where nobody says: all that is one tenant's affair."""

KEYLESS = frozenset(
    {
        "/healthz",
        "/readyz",
        "/docs",
        "/docs/{asset}",
        "/openapi.json",
        "/v1/providers/sendgrid/events",  # signed
        *("/codec", "/codec/decode", "/codec/encode"),  # see to the admin key, or a cookie for it, themselves
    }
)
"""Paths that anybody may ask."""

bearer = HTTPBearer(
    bearerFormat="hk_…",
    auto_error=False,
    description="An API key, sent as `Authorization: Bearer hk_…`. `POST /v1/keys` creates keys with scopes; the admin"
    " key (`HOOKKEEPER_ADMIN_KEY`) has all scopes.",
)


class Unclassified(Exception):
    """A route does not say who may use it."""


class Owned(Protocol):
    """What is to be made for a tenant: a Pydantic model with that field."""

    tenant: str

    @property
    def model_fields_set(self) -> set[str]: ...


New = TypeVar("New", bound=Owned)


def needs(*scopes: Scope) -> params.Security:
    """Declare what a route needs; of several scopes, any one is enough."""
    return params.Security(bearer, scopes=scopes)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever makes a request: a key, as the route sees it."""

    key_id: str
    key_name: str
    tenant: str | None
    """The one tenant that the key is for; None is all."""
    scopes: frozenset[str]

    def own(self, new: New) -> New:
        """Give what is to be made the key's own tenant where nobody says; Forbidden where somebody says another."""
        if self.tenant is None:
            return new
        if "tenant" not in new.model_fields_set:
            return cast(New, cast(Any, new).model_copy(update={"tenant": self.tenant}))
        self.check_tenant(new.tenant)
        return new

    def check_tenant(self, named: str) -> None:
        """Raise Forbidden where the key is for another tenant."""
        if self.tenant not in (None, named):
            raise Forbidden(f"The key is bound to tenant {self.tenant}: it cannot act for another.")

    def did(
        self, action: str, object_id: str, tenant: str | None, fields: Collection[str] = (), **detail: str
    ) -> AuditEntry:
        """Write down what this key does: the names of the fields that it sets, and none of their values."""
        named = {"fields": sorted(fields)} if fields else {}
        return AuditEntry(
            key_id=self.key_id,
            key_name=self.key_name,
            action=action,
            object_id=object_id,
            tenant=tenant,
            detail=named | detail,
        )


class GuardedRoute(StrictRoute):
    """A route that checks the key and its scopes first, then reads the body strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        scopes, handle = scopes_of(self), super().get_route_handler()

        async def handle_guarded(request: Request) -> Response:
            request.state.caller = await request.app.state.authenticator.authenticate(request, scopes)
            async with request.app.state.concurrency.place(request.state.caller):
                return await handle(request)

        return handle_guarded


class GuardedBatchRoute(GuardedRoute):
    """A guarded route that takes a batch of events."""

    takes_batch = True


def scopes_of(route: APIRoute) -> frozenset[str]:
    """Give the scopes any one of which a route needs. Raises Unclassified."""
    declared = [each for each in route.dependencies if isinstance(each, params.Security) and each.scopes]
    if len(declared) != 1:
        raise Unclassified(f"{_name(route)} must say once which scope it needs, see `api.access`")
    return frozenset(declared[0].scopes or ())


def check_routes(app: FastAPI) -> None:
    """Raise Unclassified for a route that is neither guarded nor keyless."""
    for context in iter_route_contexts(app.routes):
        if not isinstance(context.original_route, GuardedRoute) and context.path not in KEYLESS:
            raise Unclassified(f"{context.path} is neither guarded nor keyless, see `api.access`")


def _name(route: APIRoute) -> str:
    return f"{' '.join(sorted(route.methods or ()))} {route.path}"
