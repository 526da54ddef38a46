"""Heartbeats of what takes long: a worker that dies is missed in seconds, and what it knew goes on elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from temporalio import activity

INTERVAL = 3.0
"""Seconds between signs of life; a worker that gave none for ten is dead. Each is a write of Temporal's: what takes
less time gives none, and many endpoints that hang must not keep it busy. What becomes known is told at once, by whoever
learns it."""


@asynccontextmanager
async def heartbeating(known: Callable[[], Iterable[object]] = tuple) -> AsyncIterator[None]:
    """Say every few seconds, for the length of the block, that this activity is alive, and what it knows by now."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            activity.heartbeat(*known())

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
