"""Rate limits, such as those of keys, tenants and addresses: sliding windows, counted in this process."""

import asyncio
import math
import time
from collections import Counter
from functools import lru_cache

from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from hookkeeper import metrics
from hookkeeper.registry.tenants.api_keys import ApiKey
from hookkeeper.services.errors import RateLimited
from limits import RateLimitItem, parse

RETRY_INTERVAL, MAX_RETRY_INTERVAL = 0.1, 1.0
"""Seconds after which a request that waits for its rate is counted again: longer each time."""
MAX_WAITING = 100
"""Requests that may wait for the same rate."""


class RateLimits:
    """Counts requests by who makes them."""

    def __init__(self, default_of_keys: str | None = None) -> None:
        self._default_of_keys = default_of_keys
        self._window = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._waiting: Counter[str] = Counter()

    async def has_room(self, who: str, rate: str) -> bool:
        """Return whether one more request would be within the limit, without counting it."""
        return await self._window.test(_parsed(rate), who)

    async def count_for_key(self, key: ApiKey, what: str, patience: float = 0.0) -> None:
        """Count a request or an event of a key, if it has a limit. Raises RateLimited."""
        if rate := key.rate_limit or self._default_of_keys:
            await self.count(key.id, rate, f"The key may make {rate.replace('/', f' {what} a ')}.", patience=patience)

    async def count_for_portal(self, tenant: str, patience: float = 0.0) -> None:
        """Count a request of a tenant's sessions of the portal: together they may do what a key may by default."""
        if rate := self._default_of_keys:
            refusal = f"The portal shows up to {rate.replace('/', ' pages a ')}."
            await self.count(f"portal of {tenant}", rate, refusal, patience=patience)

    async def count(self, who: str, rate: str, refusal: str, cost: int = 1, patience: float = 0.0) -> None:
        """Count a request, or `cost` of them, within `patience` seconds. Raises RateLimited if that is not possible."""
        limit, interval, end = _parsed(rate), RETRY_INTERVAL, time.monotonic() + patience
        while not await self._window.hit(limit, who, cost=cost):
            if time.monotonic() + interval > end or self._waiting[who] >= MAX_WAITING:
                metrics.count_limit("rate")
                stats = await self._window.get_window_stats(limit, who)
                raise RateLimited(refusal, retry_after=max(1, math.ceil(stats.reset_time - time.time())))
            self._waiting[who] += 1
            try:
                await asyncio.sleep(interval)
            finally:
                self._waiting.subtract([who])
            interval = min(interval * 1.5, MAX_RETRY_INTERVAL)


@lru_cache(maxsize=1024)
def _parsed(rate: str) -> RateLimitItem:
    return parse(rate)
