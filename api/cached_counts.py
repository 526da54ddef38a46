"""Counts that are cached for a moment, as they take a server a while."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

from cachetools import TTLCache

from hookkeeper import metrics
from hookkeeper.services.errors import RateLimited
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.times import utc_now

CACHE_TIME = 2.0
"""Seconds."""
MAX_CACHED = 10_000
RETRY_AFTER = 5


class BacklogLimit:
    """Back-pressure: with more tasks waiting for a worker than the operator allows, new events are refused."""

    def __init__(self, gateway: Gateway, at_most: int | None) -> None:
        self._gateway = gateway
        self._at_most = at_most
        self._waiting = 0
        self._counted_at = float("-inf")

    async def check(self) -> None:
        """Raise RateLimited if more waits than is allowed, and Unavailable if Temporal does not answer."""
        if self._at_most is None:
            return
        now = time.monotonic()
        if now - self._counted_at > CACHE_TIME:
            self._counted_at = now  # other requests use the previous count meanwhile
            self._waiting = await self._gateway.readiness.count_waiting()
        if self._waiting > self._at_most:
            metrics.count_limit("backlog")
            raise RateLimited(
                "Too many deliveries are waiting: no new events are accepted until there are fewer.", RETRY_AFTER
            )


class HeldCounts:
    """How many events each webhook holds."""

    def __init__(self) -> None:
        self._known: TTLCache[str, tuple[int, datetime]] = TTLCache(MAX_CACHED, ttl=CACHE_TIME)
        self._counting = asyncio.Lock()

    async def of(self, webhook_id: str, count: Callable[[str], Awaitable[int]]) -> tuple[int, datetime]:
        """Return the count and the time when it was made."""
        async with self._counting:
            known = self._known.get(webhook_id)
            if known is None:
                known = self._known[webhook_id] = await count(webhook_id), utc_now()
            return known
