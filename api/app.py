"""The app: its routes, its state (`api.state`) and its errors (`api.errors`)."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from fastapi import FastAPI

from api import errors, openapi, outgoing
from api.access import check_routes
from api.problems import responses
from api.routes import (
    audit,
    codec,
    deliveries,
    docs,
    event_types,
    events,
    health,
    inbox,
    keys,
    portal,
    post_events,
    providers,
    recoveries,
    schedules,
    stats,
    stream,
    suppressions,
    system,
    webhooks,
)
from api.state import ApiState
from api.tracing import TELEMETRY, PassedContext
from dashboard import audit as audit_page
from dashboard import (
    event,
    exchange,
    live,
    login,
    logo,
    look,
    overview,
    static,
    webhook,
    webhook_commands,
    webhook_form,
)
from dashboard import event_types as event_types_page
from dashboard import events as events_page
from dashboard import inbox as inbox_page
from dashboard import keys as keys_page
from dashboard import limits as limits_page
from dashboard import portal as portal_page
from dashboard import recoveries as recoveries_page
from dashboard import schedules as schedules_page
from dashboard import suppressions as suppressions_page
from dashboard import webhooks as webhooks_page
from dashboard.rendering import unknown_page
from hookkeeper.registry.store import Store
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.version import VERSION

ROUTERS = (
    post_events.router,
    stream.router,
    events.router,
    health.router,
    providers.router,
    webhooks.router,
    deliveries.router,
    recoveries.router,
    suppressions.router,
    event_types.router,
    stats.router,
    system.router,
    schedules.router,
    portal.router,
    keys.router,
    audit.router,
    codec.router,
    event_types.export_router,
    codec.page_router,
    docs.router,
    login.router,
    portal_page.router,
    static.router,
    look.router,
    logo.router,
    overview.router,
    event_types_page.router,
    events_page.router,
    live.router,
    inbox_page.router,
    inbox.router,
    event.router,
    exchange.router,
    webhooks_page.router,
    webhook_form.router,
    webhook.router,
    webhook_commands.router,
    schedules_page.router,
    audit_page.router,
    recoveries_page.router,
    suppressions_page.router,
    keys_page.router,
    limits_page.router,
)
"""In the order in which a request is compared with them: FastAPI needs 0.1 ms to pass by the others. The documentation
page has the order of `openapi.tags`."""


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
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.tags(),
        servers=openapi.servers(settings.public_url),
        webhooks=outgoing.router,
        generate_unique_id_function=openapi.operation_id,
        redirect_slashes=False,  # to an absolute address, which is wrong behind some proxies
        openapi_url=None,  # `api.routes.docs` serves the document and its page
        lifespan=_lifespan,
        telemetry=TELEMETRY,
        responses=responses(408, 414, 431, 503),  # given before any route: see `api.refusals`
    )
    for router in ROUTERS:
        app.include_router(router)
    check_routes(app)
    errors.install(app, unknown_page)
    openapi.install(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: ApiState = app.state.api
    async with state.sandbox, aclosing(state.authenticator), aclosing(state.feed), aclosing(state.ingest):
        yield
