"""Composition root of the API: clients that are open already -> routes. One of each for the process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

from api import errors
from api.accepting import Acceptance
from api.deps import authenticator, bearer
from api.routes import event_types, events, health, preview, providers, suppressions, webhooks
from api.written import Written
from elements.sandbox import Sandbox
from links import Links
from registry.store import Store
from settings import Settings
from version import VERSION
from workflows.gateway import Gateway

DESCRIPTION = """Durable webhook delivery: every event is a Temporal workflow, and its history is the delivery log.

Register webhooks, post events, watch and steer each delivery. Errors are problem documents (RFC 9457).
"""


class NoAdminKey(Exception):
    """The API would let nobody in."""


def create_app(settings: Settings, store: Store, gateway: Gateway) -> FastAPI:
    """Make the app around clients that are open already."""
    app = _bare_app(settings)
    _furnish(app, settings, store, gateway)
    return app


def _bare_app(settings: Settings) -> FastAPI:
    if settings.admin_key is None:
        raise NoAdminKey("HOOKKEEPER_ADMIN_KEY is not set: nobody could use the API")
    app = FastAPI(title="Hookkeeper", version=VERSION, description=DESCRIPTION, redoc_url=None, lifespan=_life)
    app.state.settings, app.state.sandbox = settings, Sandbox()
    app.state.written = Written(app.state.sandbox, settings)
    app.state.authenticate = authenticator(settings.admin_key.get_secret_value())
    app.include_router(health.router)
    app.include_router(providers.router)
    keyed = (preview, webhooks, suppressions, event_types, events)
    for router in (*(each.router for each in keyed), event_types.export_router):
        app.include_router(router, dependencies=[Depends(bearer)])
    errors.install(app)
    return app


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    async with app.state.sandbox:
        yield


def _furnish(app: FastAPI, settings: Settings, store: Store, gateway: Gateway) -> None:
    links = Links(settings.public_url, settings.temporal_ui_url, gateway.namespace)
    app.state.links, app.state.store, app.state.gateway = links, store, gateway
    app.state.acceptance = Acceptance(gateway, store, links, app.state.sandbox, settings)
