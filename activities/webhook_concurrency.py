"""How many requests each webhook has in flight in this process, so that one that hangs cannot occupy all slots."""

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from statistics import fmean

STALL_SECONDS = 2.0
"""A request waits for a slot of its webhook until the latest one that has a slot began this long ago."""
HANG_SECONDS = 5.0
"""A webhook hangs if all its slots are taken, and the latest request that has one began this long ago."""
MIN_AGE, MAX_AGE = 1.0, 60.0
"""Bounds, in seconds, of the mean age of a webhook's requests in flight, from which its pace is computed."""


class WebhookConcurrency:
    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`limit`: requests to one webhook at once."""
        self.limit = limit
        self._clock = clock
        self._in_flight: Counter[str] = Counter()
        self._begun: defaultdict[str, dict[object, float]] = defaultdict(dict)
        """When each request within the limit began, by webhook. One that was handed a slot is added when it resumes."""
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """Requests that wait for a slot, by webhook; the first is served first."""

    @asynccontextmanager
    async def slot(self, webhook_id: str, *, waits: bool = False) -> AsyncIterator[bool]:
        """Count a request for the length of the block; yield whether it is within the limit.

        With `waits`, a request over the limit waits for a slot; it gets none if no other one ends.
        """
        is_within = waits and self._in_flight[webhook_id] >= self.limit and await self._wait(webhook_id)
        if not is_within:  # otherwise another one has left it its slot, which is counted
            self._in_flight[webhook_id] += 1
            is_within = self._in_flight[webhook_id] <= self.limit
        request = object()
        if is_within:
            self._begun[webhook_id][request] = self._clock()
        try:
            yield is_within
        finally:
            self._begun[webhook_id].pop(request, None)
            self._end(webhook_id)

    def pace(self, webhook_id: str) -> float:
        """Return how many requests a second the webhook can take, as slow as those in flight show that it is."""
        begun = self._begun_of(webhook_id)
        age = self._clock() - fmean(begun) if begun else 0.0
        return self.limit / min(max(age, MIN_AGE), MAX_AGE)

    def hangs(self, webhook_id: str) -> bool:
        """Return whether all slots of the webhook are taken by requests that last."""
        begun = self._begun_of(webhook_id)
        return len(begun) >= self.limit and self._clock() - max(begun) >= HANG_SECONDS

    def _begun_of(self, webhook_id: str) -> Collection[float]:
        return self._begun[webhook_id].values() if webhook_id in self._begun else ()

    async def _wait(self, webhook_id: str) -> bool:
        """Wait until a request leaves its slot to this one; return False if none does."""
        waiting = self._waiting.setdefault(webhook_id, deque())
        slot = asyncio.get_running_loop().create_future()
        waiting.append(slot)
        try:
            while not slot.done() and (left := self._time_to_stall(webhook_id)) > 0:
                await asyncio.wait([slot], timeout=left)
        except asyncio.CancelledError:
            if slot.done():
                self._end(webhook_id)
            raise
        finally:
            if not slot.done():
                waiting.remove(slot)
            if not waiting and self._waiting.get(webhook_id) is waiting:
                del self._waiting[webhook_id]
        return slot.done()

    def _time_to_stall(self, webhook_id: str) -> float:
        """Return how many seconds a request may wait now, while none leaves its slot to another."""
        return max(self._begun_of(webhook_id), default=self._clock()) + STALL_SECONDS - self._clock()

    def _end(self, webhook_id: str) -> None:
        waiting = self._waiting.get(webhook_id)
        if waiting and self._in_flight[webhook_id] <= self.limit:
            waiting.popleft().set_result(None)
            return
        self._in_flight[webhook_id] -= 1
        if not self._in_flight[webhook_id]:
            del self._in_flight[webhook_id]
            self._begun.pop(webhook_id, None)
