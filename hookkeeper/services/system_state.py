"""The state of the whole installation, for the metrics of an API process: what waits, and the states of webhooks."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog
from prometheus_client import CollectorRegistry

from hookkeeper import metrics
from hookkeeper.metrics import Source
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.store import Store
from hookkeeper.temporal.error_translation import Unavailable
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.times import utc_now

MAX_AGE = 15.0
"""Seconds for which what was read is shown, however often metrics are read."""
log = structlog.get_logger("hookkeeper.metrics")


class SystemState:
    """Reads the state when metrics are read, and at most every `MAX_AGE` seconds."""

    def __init__(self, store: Store, gateway: Gateway) -> None:
        self._store = store
        self._gateway = gateway
        self._reads: Mapping[Source, Callable[[], Awaitable[None]]] = {
            "registry": self._read_registry,
            "temporal": self._read_temporal,
        }
        self._readable: set[Source] = set()
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def registries(self) -> list[CollectorRegistry]:
        """Return the metrics that could be read. Those of a source that is away are left out."""
        async with self._reading:
            if time.monotonic() - self._read_at >= MAX_AGE:
                await asyncio.gather(*map(self._read, self._reads))
                self._read_at = time.monotonic()
        return [metrics.SOURCES_UP, *(metrics.STATE[source] for source in sorted(self._readable))]

    async def _read(self, source: Source) -> None:
        try:
            await self._reads[source]()
        except (RegistryUnavailable, Unavailable) as error:
            log.warning("state not read", source=source, error=str(error))
            self._readable.discard(source)
            metrics.SOURCE_UP.labels(source).set(0)
        else:
            self._readable.add(source)
            metrics.SOURCE_UP.labels(source).set(1)

    async def _read_registry(self) -> None:
        state = await self._store.index.state(utc_now())
        webhooks = await self._store.count_by_state()
        metrics.OLDEST_PENDING.set(state.oldest_pending)
        metrics.DELIVERIES_WAITING.labels("held").set(state.held)
        metrics.DELIVERIES_WAITING.labels("retrying").set(state.retrying)
        for name in metrics.WEBHOOK_STATES:
            metrics.WEBHOOKS.labels(name).set(webhooks.get(name, 0))

    async def _read_temporal(self) -> None:
        for kind, count in (await self._gateway.backlog()).items():
            metrics.BACKLOG.labels(kind).set(count)
