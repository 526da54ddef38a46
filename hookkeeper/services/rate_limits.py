"""Rate limits, such as those of keys, tenants and addresses: sliding windows, counted in this process."""

import math
import time
from functools import lru_cache

from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from hookkeeper import metrics
from hookkeeper.registry.api_keys import ApiKey
from hookkeeper.services.errors import RateLimited
from limits import RateLimitItem, parse


class RateLimits:
    """Counts requests by who makes them."""

    def __init__(self, default_of_keys: str | None = None) -> None:
        self._default_of_keys = default_of_keys
        self._window = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def has_room(self, who: str, rate: str) -> bool:
        """Return whether one more request would be within the limit, without counting it."""
        return await self._window.test(_parsed(rate), who)

    async def count_for_key(self, key: ApiKey, what: str) -> None:
        """Count a request or an event of a key, if it has a limit. Raises RateLimited."""
        if rate := key.rate_limit or self._default_of_keys:
            await self.count(key.id, rate, f"The key may make {rate.replace('/', f' {what} a ')}.")

    async def count_for_portal(self, tenant: str) -> None:
        """Count a request of a tenant's sessions of the portal: together they may do what a key may by default."""
        if rate := self._default_of_keys:
            refusal = f"The portal shows up to {rate.replace('/', ' pages a ')}."
            await self.count(f"portal of {tenant}", rate, refusal)

    async def count(self, who: str, rate: str, refusal: str, cost: int = 1) -> None:
        """Count a request, or `cost` of them. Raises RateLimited if these are too many."""
        limit = _parsed(rate)
        if not await self._window.hit(limit, who, cost=cost):
            metrics.count_limit("rate")
            stats = await self._window.get_window_stats(limit, who)
            raise RateLimited(refusal, retry_after=max(1, math.ceil(stats.reset_time - time.time())))


@lru_cache(maxsize=1024)
def _parsed(rate: str) -> RateLimitItem:
    return parse(rate)
