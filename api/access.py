"""Access control. Each route declares the scope that it needs:

    @router.get("", dependencies=[needs("events:read")])

A guarded route without a scope cannot be made, nor an app with a route that is neither guarded nor in `KEYLESS`.
"""

from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, ClassVar

from fastapi import FastAPI, Request, Response, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security import HTTPBearer
from starlette.responses import StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from api.authenticator import with_scope
from api.requests import MAX_BATCH_BYTES, StrictRoute
from api.server.connections import until_read
from api.state import state_of
from hookkeeper.services.caller import Caller, Scope

KEYLESS = frozenset(
    {
        "/healthz",
        "/readyz",
        "/docs",
        "/docs/{asset}",
        "/openapi.json",
        "/v1/providers/sendgrid/events",  # signed
        *("/codec", "/codec/decode", "/codec/encode"),  # check the admin key or its cookie themselves
    }
)
"""Paths that need no key. Extensions have more (`api.extensions`)."""
INNER_CALLER = "hookkeeper.caller"
"""Key in the scope of a call that another request makes: who asks. The request around it has counted, and holds the
tenant's slot."""
READING = frozenset({"events:read", "webhooks:read"})
"""Scopes that change nothing."""
HELD = "hookkeeper.held"
"""Key in the scope of a request: the stack of what the request holds until it is answered."""

bearer = HTTPBearer(
    bearerFormat="hk_…",
    auto_error=False,
    description="An API key, sent as `Authorization: Bearer hk_…`. `POST /v1/keys` creates keys with scopes; the admin"
    " key (`HOOKKEEPER_ADMIN_KEY`) has all scopes.",
)


class Unclassified(Exception):
    """A route does not declare who may use it."""


def needs(*scopes: Scope) -> params.Security:
    """Declare what a route needs; of several scopes, any one is enough."""
    return params.Security(bearer, scopes=scopes)


class GuardedRoute(StrictRoute):
    """A route that checks the key and its scopes first, then reads query and body strictly."""

    is_page: ClassVar[bool] = False
    """A page of the dashboard."""
    takes_any_query: ClassVar[bool] = False
    may_change: ClassVar[bool] = True
    """A request counts for the rate of a tenant's changes, unless it only reads. Events have a rate of their own."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        scopes, names, handle = scopes_of(self), query_names(self), super().get_route_handler()
        is_change = _is_change(self, scopes)

        async def handle_guarded(request: Request) -> Response:
            state = state_of(request)
            inner: Caller | None = request.scope.get(INNER_CALLER)
            request.state.caller = with_scope(inner, scopes) if inner else await self.authenticate(request, scopes)
            if is_change:
                await state.count_change(request.state.caller)
            if not self.takes_any_query:
                check_query(request, names)
            if inner:
                return await handle(request)
            held: AsyncExitStack = request.scope[HELD]
            await held.enter_async_context(state.concurrency.slot(request.state.caller))
            response = await handle(request)
            if isinstance(response, StreamingResponse):
                await held.aclose()  # streams have limits of their own, and last
            return response

        return handle_guarded

    async def handle(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer a request, which holds its tenant's slot until the client has read the answer."""
        async with AsyncExitStack() as held:
            scope[HELD] = held
            await super().handle(scope, receive, send)
            await until_read(scope)

    async def authenticate(self, request: Request, scopes: frozenset[str]) -> Caller:
        """Return who makes the request. Raises Unauthorized, RateLimited, Forbidden."""
        return await state_of(request).authenticator.authenticate(request, scopes)


class GuardedBatchRoute(GuardedRoute):
    """A guarded route that takes a batch of events."""

    max_body_bytes = MAX_BATCH_BYTES
    takes_batch = True
    may_change = False


def scopes_of(route: APIRoute) -> frozenset[str]:
    """Return the scopes of a route, any one of which is enough. Raises Unclassified."""
    declared = [
        dependency for dependency in route.dependencies if isinstance(dependency, params.Security) and dependency.scopes
    ]
    if len(declared) != 1:
        raise Unclassified(f"{_name(route)} must say once which scope it needs, see `api.access`")
    return frozenset(declared[0].scopes or ())


def _is_change(route: GuardedRoute, scopes: frozenset[str]) -> bool:
    """Return whether a request counts for the rate of a tenant's changes."""
    return route.may_change and not {"GET", "HEAD"} & {*(route.methods or ())} and not scopes <= READING


def page_scopes(app: FastAPI, path: str) -> frozenset[str] | None:
    """Return the scopes of the page at this path, any one of which is enough; None if there is no such page."""
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not (isinstance(route, GuardedRoute) and route.is_page and "GET" in (context.methods or ())):
            continue
        if context.path_regex.fullmatch(path):
            return scopes_of(route)
    return None


def check_routes(app: FastAPI, keyless: frozenset[str]) -> None:
    """Raise Unclassified for a route that is neither guarded nor at one of these paths."""
    for context in iter_route_contexts(app.routes):
        if not isinstance(context.original_route, GuardedRoute) and context.path not in keyless:
            raise Unclassified(f"{context.path} is neither guarded nor keyless, see `api.access`")


def _name(route: APIRoute) -> str:
    return f"{' '.join(sorted(route.methods or ()))} {route.path}"


def query_names(route: APIRoute) -> frozenset[str]:
    """Return the names of the query parameters that a route declares."""
    return frozenset(
        field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, params.Query)
    )


def check_query(request: Request, known: frozenset[str]) -> None:
    """Raise `RequestValidationError` for each parameter that is not one of the known."""
    if unknown := [name for name in request.query_params if name not in known]:
        takes = f"parameters are {', '.join(sorted(known))}" if known else "this path takes no parameters"
        message = f"Unknown parameter: {takes}"
        raise RequestValidationError([{"type": "unknown", "loc": ("query", name), "msg": message} for name in unknown])
