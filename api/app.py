"""The app: its routes, its state (`api.state`) and its errors (`api.errors`)."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors
from api.access import KEYLESS, check_routes
from api.extensions import Extensions
from api.limits import EventDoor
from api.openapi import document, outgoing
from api.problems import responses
from api.routes import (
    codec,
    docs,
    event_types,
    events,
    issues,
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
from hookkeeper import tracing
from hookkeeper.registry.store import Store
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.version import VERSION

HEADER = tracing.HEADER.encode()
UNTRACED = ("/healthz", "/readyz")
"""Paths of no interest."""

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
    issues.router,
    tenants.router,
    system.router,
    schedules.router,
    portal.router,
    keys.current_router,
    keys.router,
    system.audit_router,
    codec.router,
    event_types.export_router,
    codec.page_router,
    docs.router,
)
"""In the order in which a request is compared with them: FastAPI needs a millisecond to pass by all others. The
documentation page has the order of `document.tags`."""


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
    extensions = Extensions(settings)
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
        telemetry=telemetry(UNTRACED + extensions.untraced),
        responses=responses(408, 414, 431, 503),  # given before any route: see `api.server.refusals`
    )
    for router in (*ROUTERS[:1], *extensions.event_routers, *ROUTERS[1:], *extensions.routers):
        app.include_router(router)
    app.add_middleware(EventDoor, takes_event=extensions.takes_event)
    for middleware in extensions.middleware:
        app.add_middleware(middleware)
    check_routes(app, KEYLESS | extensions.keyless)
    errors.install(app, extensions)
    document.install(app)
    return app


def telemetry(untraced: tuple[str, ...]) -> TelemetryConfig:
    """Configure traces, with none for paths that begin so."""
    return {
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": lambda scope: scope["path"].startswith(untraced),
    }


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
