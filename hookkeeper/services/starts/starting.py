"""Start a run whose events have rows already, and notice whether Temporal is away."""

import asyncio
from collections.abc import Awaitable, Coroutine
from time import monotonic
from typing import Any

import structlog

from hookkeeper.asyncio_tasks import stop
from hookkeeper.services.starts.limit import StartLimit
from hookkeeper.temporal.server.error_translation import GatewayError

STUCK = 0.5
"""Seconds for a start, after which Temporal is away: until a start succeeds, none is waited for."""
MAX_SECONDS = 10.0
"""Seconds for a start. It may take effect later."""
log = structlog.get_logger("hookkeeper.starts")


async def starting(start: Coroutine[Any, Any, object], events: int, limit: StartLimit) -> bool:
    """Wait for a start of a run, which adjusts the limit; return whether Temporal has stored the run.

    A start that fails is repeated later, from rows (`hookkeeper.services.starts.look_after`).
    """
    begin = monotonic()
    try:
        async with asyncio.timeout(MAX_SECONDS):
            await start
        limit.note_start(monotonic() - begin, events)
        return True
    except (GatewayError, TimeoutError) as error:
        cause = str(error.__cause__ or "")
        log.warning("a run is started later", error=str(error) or "timeout", cause=cause, events=events)
    except Exception as error:
        log.error("a run is started later", exc_info=error, events=events)
    return False


class Outage:
    """Whether Temporal is away, by the latest starts of this process."""

    def __init__(self) -> None:
        self._is_on = asyncio.Event()

    @property
    def is_on(self) -> bool:
        return self._is_on.is_set()

    async def watch(self, start: "asyncio.Task[bool]") -> None:
        """Wait for a start, which says whether Temporal is there; no longer than until it is stuck."""
        try:
            async with asyncio.timeout(STUCK):
                is_stored = await asyncio.shield(start)
        except TimeoutError:
            is_stored = False
        if not is_stored:
            self._is_on.set()

    def end(self) -> None:
        """Note that a start has succeeded."""
        self._is_on.clear()

    async def unless_on(self, awaitable: Awaitable[object]) -> bool:
        """Wait for something, but stop waiting when Temporal is away; return whether it has ended."""
        waiting, begun = asyncio.ensure_future(awaitable), asyncio.ensure_future(self._is_on.wait())
        try:
            await asyncio.wait({waiting, begun}, return_when=asyncio.FIRST_COMPLETED)
            return waiting.done()
        finally:
            await asyncio.gather(stop(waiting), stop(begun))
