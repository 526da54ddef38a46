"""The state of the app: clients and services, one of each for the process."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import Request

from api.authenticator import Authenticator
from api.cursors import StreamCursors, cursor_key
from api.limits import BacklogLimit, FormRefusals, HeldCounts, RequestConcurrency
from api.streams.feed import ChangeFeed
from hookkeeper import tenant_limits
from hookkeeper.findings import Finding, LatestReport
from hookkeeper.links import LinkBuilder
from hookkeeper.registry.store import Store
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.services.caller import Caller
from hookkeeper.services.events.ingest import EventIngest
from hookkeeper.services.events.search import EventSearches
from hookkeeper.services.rate_limits import RateLimits
from hookkeeper.services.starts.look_after import LookAfter
from hookkeeper.services.system.state import SystemState
from hookkeeper.services.webhooks.validator import WebhookValidator
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.schedules.client import Schedules

if TYPE_CHECKING:
    from hookkeeper.services.system.doctor import Doctor


class ApiState:
    """Clients and services."""

    def __init__(self, settings: Settings, admin_key: str, store: Store, gateway: Gateway) -> None:
        self.settings = settings
        self.stopping = asyncio.Event()
        """Set when the process is about to stop."""
        self.kept: dict[type[Any], Any] = {}
        """What extensions keep while the process runs, by its class."""
        self._at_end: list[Callable[[], None]] = []
        self._has_ended = False
        self.store = store
        self.gateway = gateway
        self.links = LinkBuilder(settings.public_url, settings.temporal_ui_url, gateway.namespace)
        self.sandbox = Sandbox(per_tenant=tenant_limits.SANDBOX_CALLS.per_tenant)
        self.authenticator = Authenticator(settings.admin_keys, store.api_keys, store.portal, settings.rate_limit)
        self.concurrency = RequestConcurrency(settings.max_concurrent_requests_per_tenant)
        self.parsing = tenant_limits.PARSES.limit()
        self.rendering = tenant_limits.RENDERS.limit()
        self.exports = tenant_limits.EXPORTS.limit()
        self.counting = tenant_limits.STATISTICS.limit()
        self.cursor_key = cursor_key(admin_key)
        self.backlog_limit = BacklogLimit(gateway.readiness, settings.max_backlog)
        self.held_counts = HeldCounts()
        self.schedules = Schedules(gateway.client, gateway.task_queue, store)
        self.firings = RateLimits()
        self.changes = RateLimits()
        self.kept_forms = RateLimits()
        self.form_refusals = FormRefusals()
        self.system = SystemState(store, gateway)
        self.report = LatestReport(self._examine)
        self.feed = ChangeFeed(
            store.index,
            self.authenticator,
            self.links.for_tenants(),  # one message goes to all streams
            StreamCursors(self.cursor_key),
            tenant_limits.STREAMS.limit(),
        )
        self.searches = EventSearches(store)
        self.ingest = EventIngest(gateway, store, self.sandbox, settings)
        self.look_after = LookAfter(gateway, store.rows.inputs, store.index.leases, self.ingest.backlog)
        self.validator = WebhookValidator(self.sandbox, settings, store.catalogue)

    def end_streams(self) -> None:
        """End all streams, and take no more: a server that stops would wait for them."""
        self.feed.close()
        self._has_ended = True
        for end in self._at_end:
            end()

    def at_end(self, end: Callable[[], None]) -> None:
        """Let streams of an extension end with those of events: now, if these have ended."""
        if self._has_ended:
            end()
        self._at_end.append(end)

    async def _examine(self) -> list[Finding]:
        doctor = await asyncio.to_thread(self._make_doctor)
        return await doctor.examine()

    def _make_doctor(self) -> "Doctor":
        # With the clients of a worker, which few API processes need.
        from hookkeeper.services.system.doctor import Doctor

        return Doctor(self.settings, gateway=self.gateway)

    async def count_change(self, caller: Caller) -> None:
        """Count a change or a command of a tenant: each has an entry in the audit log. Raises RateLimited."""
        if caller.tenant is not None and (rate := self.settings.change_rate_limit):
            refusal = f"The tenant may make {rate.replace('/', ' changes a ')}."
            await self.changes.count(caller.tenant, rate, refusal)

    def links_for(self, caller: Caller) -> LinkBuilder:
        """Return the links that a caller may see."""
        return self.links if caller.tenant is None else self.links.for_tenants()


def state_of(request: Request) -> ApiState:
    """Return the state of the app that the request was sent to."""
    state: ApiState = request.app.state.api
    return state
