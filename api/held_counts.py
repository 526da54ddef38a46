"""How many events each webhook holds, cached for a moment: to count many takes the registry a while."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from cachetools import TTLCache

from hookkeeper.times import utc_now

CACHE_TIME = 2.0
"""Seconds."""
MAX_CACHED = 10_000


class HeldCounts:
    """One for the process."""

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
