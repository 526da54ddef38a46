"""How many requests somebody may make: a window that slides, counted in this process."""

import math
import time

from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from api.problems import TooManyRequests
from limits import parse


class Limits:
    """Counts requests, by whoever makes them."""

    def __init__(self) -> None:
        self._window = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def has_room(self, who: str, rate: str) -> bool:
        """Tell whether one more request would be counted without a refusal. It counts nothing."""
        return await self._window.test(parse(rate), who)

    async def count(self, who: str, rate: str, refusal: str) -> None:
        """Count a request; raise TooMany, which says when to come again, where it is one too many."""
        limit = parse(rate)
        if not await self._window.hit(limit, who):
            stats = await self._window.get_window_stats(limit, who)
            seconds = max(1, math.ceil(stats.reset_time - time.time()))
            raise TooManyRequests(refusal, headers={"retry-after": str(seconds)})
