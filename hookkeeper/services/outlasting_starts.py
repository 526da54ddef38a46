"""Starts that outlast their requests: while Temporal is slow, the next request with the same event finds the answer."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from hookkeeper.asyncio_tasks import stop
from hookkeeper.limits.tenant_limit import TenantLimit
from hookkeeper.registry.index.writing import Key
from hookkeeper.services.start_queue import DELIVERY_BYTES, NewRun
from hookkeeper.temporal.error_translation import Unavailable
from hookkeeper.temporal.gateway import Started

MAX_STARTS = 500
"""Starts and kept answers of a process, half of them of one tenant. Excess starts end with their requests."""
BYTES_PER_START = 32 * 1024
"""An event with more bytes counts as several."""
MAX_SECONDS = 30.0
"""Of a start."""
KEPT_SECONDS = 30.0
"""For which an answer is kept that no request has waited for."""

Start = Callable[[], Coroutine[Any, Any, Started]]


class OutlastingStarts:
    """Starts of events whose ids have rows already. Each event has one at a time."""

    def __init__(self) -> None:
        self._limit = TenantLimit(MAX_STARTS)
        self._tasks: dict[tuple[Key, str], asyncio.Task[Started]] = {}
        """By event and digest."""

    def __contains__(self, run: NewRun) -> bool:
        """Return whether the start of this event is under way, or its answer is kept."""
        return (run.key, run.event.digest) in self._tasks

    async def start(self, run: NewRun, start: Start) -> Started:
        """Return the answer of the event's start, or of `start` if it has none. Raises its errors, and Unavailable."""
        task = self._tasks.get((run.key, run.event.digest)) or self._begin(run, start)
        if task is None:
            return await start()
        started = await asyncio.shield(task)
        is_first = self._forget(run, task)
        return started if is_first else replace(started, duplicate=True)

    async def aclose(self) -> None:
        """Stop those that are under way."""
        await asyncio.gather(*map(stop, self._tasks.values()))

    def _begin(self, run: NewRun, start: Start) -> asyncio.Task[Started] | None:
        if not self._limit.acquire_now(run.event.tenant, _slots(run)):
            return None
        task = self._tasks[run.key, run.event.digest] = asyncio.create_task(_in_time(start))
        task.add_done_callback(partial(self._end, run))
        return task

    def _end(self, run: NewRun, task: asyncio.Task[Started]) -> None:
        if task.cancelled() or task.exception():
            self._forget(run, task)
        else:
            asyncio.get_running_loop().call_later(KEPT_SECONDS, self._forget, run, task)

    def _forget(self, run: NewRun, task: asyncio.Task[Started]) -> bool:
        """Return whether it was known until now."""
        key = run.key, run.event.digest
        if self._tasks.get(key) is not task:
            return False
        del self._tasks[key]
        self._limit.release(run.event.tenant, _slots(run))
        return True


def _slots(run: NewRun) -> int:
    return 1 + (run.size + DELIVERY_BYTES * len(run.event.deliveries)) // BYTES_PER_START


async def _in_time(start: Start) -> Started:
    try:
        async with asyncio.timeout(MAX_SECONDS):
            return await start()
    except TimeoutError:
        raise Unavailable("the registry and Temporal together took too long") from None
