"""Counts that are repeated for a moment: a Temporal server answers ten questions of that kind a second, from all."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from hookkeeper.times import utc_now

KEPT = timedelta(seconds=2)
MOST = 10_000
"""Counts that are kept at once."""


class HeldCounts:
    """How much each webhook holds. One for the process."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, datetime]] = {}
        self._counting = asyncio.Lock()

    async def of(self, webhook_id: str, count: Callable[[str], Awaitable[int]]) -> tuple[int, datetime]:
        """Give the count, and when it was made."""
        async with self._counting:
            known = self._known.get(webhook_id)
            if known and known[1] + KEPT > utc_now():
                return known
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[webhook_id] = await count(webhook_id), utc_now()
            return self._known[webhook_id]
