"""The app: its routes, its state (`api.state`) and its errors (`api.errors`)."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors
from api.access import check_routes
from api.limits import EventDoor
from api.openapi import document, outgoing
from api.problems import responses
from api.routes import (
    agents,
    codec,
    docs,
    event_types,
    events,
    forwards,
    keys,
    portal,
    post_events,
    providers,
    recoveries,
    schedules,
    stats,
    suppressions,
    system,
    tenants,
    webhooks,
)
from api.state import ApiState
from api.svix import applications, attempts, endpoints, messages
from api.svix import event_types as svix_event_types
from api.svix.base import SvixCors, SvixPaths
from dashboard import ROUTERS as PAGES
from dashboard.rendering import unknown_page
from hookkeeper import tracing
from hookkeeper.registry.store import Store
from hookkeeper.settings import Settings
from hookkeeper.temporal.events.gateway import Gateway
from hookkeeper.version import VERSION

HEADER = tracing.HEADER.encode()
UNTRACED = ("/healthz", "/readyz", "/portal/", "/v1/forwards/")
"""Paths of no interest, and those with the token of a link or address."""

TELEMETRY: TelemetryConfig = {
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
    "exclude": lambda scope: scope["path"].startswith(UNTRACED),
}
ROUTERS = (
    post_events.router,
    events.router,
    system.health_router,
    providers.router,
    webhooks.router,
    recoveries.router,
    suppressions.router,
    event_types.router,
    event_types.search_keys_router,
    stats.router,
    tenants.router,
    system.router,
    schedules.router,
    forwards.router,
    forwards.address_router,
    portal.router,
    keys.current_router,
    keys.router,
    system.audit_router,
    codec.router,
    event_types.export_router,
    codec.page_router,
    agents.router,
    docs.router,
    *PAGES,
)
"""In the order in which a request is compared with them: FastAPI needs a millisecond to pass by all others. The
documentation page has the order of `document.tags`."""

SVIX_ROUTERS = (
    messages.router,
    applications.router,
    endpoints.router,
    attempts.router,
    svix_event_types.router,
    applications.health_router,
)
"""The API of Svix's open server. Messages are compared directly after events."""


class PassedContext:
    """Middleware for processes that export no traces: the client's context is passed on with the event."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = [value for name, value in scope.get("headers", ()) if name == HEADER]
        with tracing.of_client(given[0].decode("latin-1") if given else None):
            await self._app(scope, receive, send)


class NoAdminKey(Exception):
    """There is no admin key, and so no way to make any other key."""


def create_app(settings: Settings, store: Store, gateway: Gateway) -> FastAPI:
    """Make the app around clients that are open already."""
    if settings.admin_key is None:
        raise NoAdminKey("HOOKKEEPER_ADMIN_KEY is not set")
    app = bare_app(settings)
    if settings.traces_events and settings.otlp_endpoint is None:
        app.add_middleware(PassedContext)
    app.state.api = ApiState(settings, settings.admin_key.get_secret_value(), store, gateway)
    return app


def bare_app(settings: Settings) -> FastAPI:
    """Make an app that can describe itself, and without state serves nothing."""
    app = FastAPI(
        title="Hookkeeper",
        version=VERSION,
        description=document.DESCRIPTION,
        openapi_tags=document.tags(),
        servers=document.servers(settings.public_url),
        webhooks=outgoing.router,
        generate_unique_id_function=document.operation_id,
        redirect_slashes=False,  # to an absolute address, which is wrong behind some proxies
        openapi_url=None,  # `api.routes.docs` serves the document and its page
        lifespan=_lifespan,
        telemetry=TELEMETRY,
        responses=responses(408, 414, 431, 503),  # given before any route: see `api.server.refusals`
    )
    svix = SVIX_ROUTERS if settings.svix_api else ()
    for router in (*ROUTERS[:1], *svix[:1], *ROUTERS[1:], *svix[1:]):
        app.include_router(router)
    app.add_middleware(EventDoor)
    if settings.svix_api:
        app.add_middleware(SvixPaths)
        app.add_middleware(SvixCors)
    check_routes(app)
    errors.install(app, unknown_page)
    document.install(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: ApiState = app.state.api
    async with (
        state.sandbox,
        aclosing(state.authenticator),
        aclosing(state.feed),
        aclosing(state.ingest),
        state.look_after.running(),
    ):
        yield
