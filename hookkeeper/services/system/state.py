"""The state of the whole installation: what waits, and the states of webhooks. API processes show it."""

import asyncio
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from prometheus_client import CollectorRegistry

from hookkeeper import metrics
from hookkeeper.metrics import Source
from hookkeeper.registry.events.state import IndexState
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.store import Store
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.server.error_translation import Unavailable
from hookkeeper.times import utc_now

MAX_AGE = 15.0
"""Seconds for which a snapshot is shown, however many requests there are."""
MAX_AGE_OF_FAILING_RUNS = 60.0
"""Each count is a request to visibility, of which an ordinary server allows ten a second."""
log = structlog.get_logger("hookkeeper.state")


@dataclass(frozen=True, slots=True)
class SystemSnapshot:
    """None is what could not be read: old values would hide that."""

    as_of: datetime
    deliveries: IndexState | None = None
    webhooks: Mapping[str, int] | None = None
    """By each of `metrics.WEBHOOK_STATES`."""
    backlog: Mapping[str, int] | None = None
    """Tasks that wait for a worker, by the kind of their queue (`task_queues.by_kind`)."""


class SystemState:
    """Reads the state on request, and at most every `MAX_AGE` seconds."""

    def __init__(self, store: Store, gateway: Gateway) -> None:
        self._store = store
        self._gateway = gateway
        self._snapshot = SystemSnapshot(utc_now())
        self._read_at = float("-inf")
        self._failing_runs_read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def read(self) -> SystemSnapshot:
        async with self._reading:
            if time.monotonic() - self._read_at >= MAX_AGE:
                self._snapshot = SystemSnapshot(utc_now())
                await asyncio.gather(
                    self._try("registry", self._read_registry()), self._try("temporal", self._read_temporal())
                )
                self._read_at = time.monotonic()
            return self._snapshot

    async def registries(self) -> list[CollectorRegistry]:
        """Return the metrics that could be read."""
        snapshot = await self.read()
        found: dict[Source, bool] = {
            "registry": snapshot.deliveries is not None,
            "temporal": snapshot.backlog is not None,
        }
        for source, is_up in found.items():
            metrics.SOURCE_UP.labels(source).set(is_up)
        return [metrics.SOURCES_UP, *(metrics.STATE[source] for source, is_up in found.items() if is_up)]

    async def _try(self, source: Source, reading: Awaitable[None]) -> None:
        try:
            await reading
        except (RegistryUnavailable, Unavailable) as error:
            log.warning("state not read", source=source, error=str(error))

    async def _read_registry(self) -> None:
        index = await self._store.index.state(self._snapshot.as_of)
        counts = await self._store.webhooks.count_by_state()
        webhooks: dict[str, int] = {state: counts.get(state, 0) for state in metrics.WEBHOOK_STATES}
        self._snapshot = replace(self._snapshot, deliveries=index, webhooks=webhooks)
        metrics.OLDEST_PENDING.set(index.oldest_pending)
        metrics.EVENTS_NOT_STARTED.set(index.not_started)
        metrics.DELIVERIES_WAITING.labels("held").set(index.held)
        metrics.DELIVERIES_WAITING.labels("retrying").set(index.retrying)
        for state, count in webhooks.items():
            metrics.WEBHOOKS.labels(state).set(count)

    async def _read_temporal(self) -> None:
        backlog = await self._gateway.readiness.backlog()
        self._snapshot = replace(self._snapshot, backlog=backlog)
        for queue, count in backlog.items():
            metrics.BACKLOG.labels(queue).set(count)
        metrics.WRONG_REGISTRY.set(await self._gateway.readiness.has_wrong_registry())
        if time.monotonic() - self._failing_runs_read_at >= MAX_AGE_OF_FAILING_RUNS:
            self._failing_runs_read_at = time.monotonic()
            metrics.FAILING_RUNS.set(float("nan"))
            await self._try("temporal", self._count_failing_runs())

    async def _count_failing_runs(self) -> None:
        metrics.FAILING_RUNS.set(await self._gateway.readiness.count_failing_runs())
