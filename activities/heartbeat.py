"""Heartbeats of what takes long: a worker that dies is missed in seconds, and what it knew goes on elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from temporalio import activity

PART_OF_TIMEOUT = 0.4
"""Of the heartbeat timeout, the time between two heartbeats. Each is a write of Temporal's, so activities that take
less time make none. New results are sent in a heartbeat of their own, at once."""


@asynccontextmanager
async def heartbeating(known: Callable[[], Iterable[object]] = tuple) -> AsyncIterator[None]:
    """Say every few seconds, for the length of the block, that this activity is alive, and what it knows by now."""
    timeout = activity.info().heartbeat_timeout
    assert timeout is not None, "without one, nobody misses a worker that has died"

    async def beat() -> None:
        while True:
            await asyncio.sleep(PART_OF_TIMEOUT * timeout.total_seconds())
            activity.heartbeat(*known())

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
