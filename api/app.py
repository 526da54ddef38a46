"""Composition root of the API: clients that are open already -> routes. One of each for the process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api import errors, openapi, outgoing
from api.access import check_routes
from api.authenticator import Authenticator
from api.backlog import Backlog
from api.concurrency import RequestConcurrency
from api.counting import HeldCounts
from api.cursors import cursor_key
from api.ingest import EventIngest
from api.problems import responses
from api.requests import PARSED_AT_ONCE
from api.routes import (
    audit,
    codec,
    deliveries,
    docs,
    erasure,
    event_types,
    events,
    health,
    keys,
    pausing,
    preview,
    providers,
    recoveries,
    schedules,
    suppressions,
    webhooks,
)
from api.webhook_validator import WebhookValidator
from hookkeeper.limits.turns import Turns
from hookkeeper.links import Links
from hookkeeper.registry.store import Store
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.version import VERSION


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
    app = FastAPI(
        title="Hookkeeper",
        version=VERSION,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.tags(),
        servers=openapi.servers(settings.public_url),
        webhooks=outgoing.router,
        generate_unique_id_function=openapi.operation_id,
        openapi_url=None,  # `api.routes.docs` serves the document and its page
        lifespan=_life,
        responses=responses(408, 414, 431, 503),  # given before any route: see `api.refusals`
    )
    app.state.settings = settings
    app.state.concurrency = RequestConcurrency(settings.max_concurrent_requests_per_tenant)
    app.state.parsing = Turns(PARSED_AT_ONCE)
    app.state.sandbox = Sandbox(
        children=settings.max_concurrent_sandbox_calls,
        per_tenant=settings.max_concurrent_sandbox_calls_per_tenant,
    )
    app.state.cursor_key = cursor_key(settings.admin_key.get_secret_value())
    of_webhooks = (preview, webhooks, pausing, deliveries, recoveries)
    of_tenants = (*of_webhooks, suppressions, event_types, events, erasure, schedules)
    for each in (health, providers, *of_tenants, keys, audit, codec):
        app.include_router(each.router)
    app.include_router(event_types.export_router)
    app.include_router(codec.page_router)
    app.include_router(docs.router)
    check_routes(app)
    errors.install(app)
    openapi.install(app)
    return app


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    async with app.state.sandbox, app.state.authenticator:
        yield


def _furnish(app: FastAPI, settings: Settings, store: Store, gateway: Gateway) -> None:
    links = Links(settings.public_url, settings.temporal_ui_url, gateway.namespace)
    app.state.links, app.state.store, app.state.gateway = links, store, gateway
    assert settings.admin_key is not None
    app.state.authenticator = Authenticator(settings.admin_key.get_secret_value(), store.api_keys, settings.rate_limit)
    app.state.written = WebhookValidator(app.state.sandbox, settings, store.catalogue)
    app.state.held_counts = HeldCounts()
    app.state.backlog = Backlog(gateway, settings.max_backlog)
    app.state.acceptance = EventIngest(gateway, store, links, app.state.sandbox, settings)
