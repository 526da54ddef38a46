"""Heartbeats of long activities: Temporal notices in seconds that a worker has died, and its results are kept."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from temporalio import activity

HEARTBEAT_FRACTION = 0.4
"""The interval between two heartbeats, as a fraction of the heartbeat timeout. Each is a write of Temporal's; shorter
activities send none. New results are sent at once, in a heartbeat of their own."""


@asynccontextmanager
async def heartbeating(details: Callable[[], Iterable[object]] = tuple) -> AsyncIterator[None]:
    """Send heartbeats with these details for the length of the block."""
    timeout = activity.info().heartbeat_timeout
    assert timeout is not None, "without one, Temporal does not notice that a worker has died"

    async def beat() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_FRACTION * timeout.total_seconds())
            activity.heartbeat(*details())

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
