"""Back-pressure: while more tasks wait for a worker than the operator allows, new events are refused."""

import time

from hookkeeper import metrics
from hookkeeper.services.errors import RateLimited
from hookkeeper.temporal.readiness import Readiness

CACHE_TIME = 2.0
"""Seconds for which a count is used."""
RETRY_AFTER = 5
"""Seconds."""


class BacklogLimit:
    def __init__(self, readiness: Readiness, at_most: int | None) -> None:
        self._readiness = readiness
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
            self._waiting = await self._readiness.count_waiting()
        if self._waiting > self._at_most:
            metrics.count_limit("backlog")
            raise RateLimited(
                "Too many deliveries are waiting: no new events are accepted until there are fewer.", RETRY_AFTER
            )
