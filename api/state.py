"""The state of the app: clients and services, one of each for the process."""

from dataclasses import dataclass

from fastapi import Request

from api.authenticator import Authenticator
from api.cached_counts import Backlog, HeldCounts
from api.concurrency import RequestConcurrency
from api.cursors import cursor_key
from hookkeeper.limits.tenant_limit import TenantLimit
from hookkeeper.links import LinkBuilder
from hookkeeper.registry.store import Store
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.services.ingest import EventIngest
from hookkeeper.services.webhook_validator import WebhookValidator
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway

MAX_CONCURRENT_PARSES = 4
"""Large bodies that are parsed in threads at the same time, half of them of one tenant."""


@dataclass(slots=True)
class ApiState:
    settings: Settings
    store: Store
    gateway: Gateway
    links: LinkBuilder
    sandbox: Sandbox
    authenticator: Authenticator
    concurrency: RequestConcurrency
    parsing: TenantLimit
    cursor_key: bytes
    backlog: Backlog
    held_counts: HeldCounts
    ingest: EventIngest
    validator: WebhookValidator


def make_state(settings: Settings, admin_key: str, store: Store, gateway: Gateway) -> ApiState:
    sandbox = Sandbox(
        children=settings.max_concurrent_sandbox_calls,
        per_tenant=settings.max_concurrent_sandbox_calls_per_tenant,
    )
    return ApiState(
        settings=settings,
        store=store,
        gateway=gateway,
        links=LinkBuilder(settings.public_url, settings.temporal_ui_url, gateway.namespace),
        sandbox=sandbox,
        authenticator=Authenticator(admin_key, store.api_keys, settings.rate_limit),
        concurrency=RequestConcurrency(settings.max_concurrent_requests_per_tenant),
        parsing=TenantLimit(MAX_CONCURRENT_PARSES),
        cursor_key=cursor_key(admin_key),
        backlog=Backlog(gateway, settings.max_backlog),
        held_counts=HeldCounts(),
        ingest=EventIngest(gateway, store, sandbox, settings),
        validator=WebhookValidator(sandbox, settings, store.catalogue),
    )


def state_of(request: Request) -> ApiState:
    """Return the state of the app that the request was sent to."""
    state: ApiState = request.app.state.api
    return state
