"""Heartbeats of what takes long: a worker that dies is missed in seconds, and what it knew goes on elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from temporalio import activity

INTERVAL = 1.0


@asynccontextmanager
async def heartbeating(known: Callable[[], object] = lambda: None) -> AsyncIterator[None]:
    """Say every second, for the length of the block, that this activity is alive, and what it knows by now."""

    async def beat() -> None:
        while True:
            activity.heartbeat(known())
            await asyncio.sleep(INTERVAL)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
