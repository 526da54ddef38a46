"""Start the runs of events that have rows and no run: Temporal was away, or the process that accepted them has died.

An event is overdue if no run has recorded anything of it some seconds after it was accepted. A start can be repeated:
an event that has a run costs one call, and its row then names the run. Of a busy tenant, as many are started as of any
other that waits.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import structlog

from hookkeeper.asyncio_tasks import in_background, wait_for_all
from hookkeeper.messages.rows import EventRow
from hookkeeper.registry.events.event_inputs import OVERDUE, EventInputs
from hookkeeper.registry.events.leases import Leases
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.services.starts.backlog import Backlog
from hookkeeper.services.starts.starting import MAX_SECONDS
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.server.error_translation import GatewayError
from hookkeeper.times import utc_now

LEASE = "starts"
INTERVAL = 2.0
"""Seconds between two looks."""
EVENTS_PER_LOOK = 2000
MAX_CONCURRENT = 8
log = structlog.get_logger("hookkeeper.starts")


class LookAfter:
    """One for the API process. One process at a time looks."""

    def __init__(self, gateway: Gateway, inputs: EventInputs, leases: Leases, backlog: Backlog) -> None:
        """`backlog` gets how many events are overdue."""
        self._gateway = gateway
        self._backlog = backlog
        self._inputs = inputs
        self._leases = leases

    def running(self) -> AbstractAsyncContextManager[None]:
        """Look every two seconds until the block ends."""
        return in_background(self._look_regularly(), "look after events without a run")

    async def _look_regularly(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                if not await self.count() or await self._gateway.readiness.is_away():
                    continue  # a look reads thousands of events before it starts one
                if await self._leases.take(LEASE, INTERVAL):
                    await self.look()
            except (GatewayError, RegistryUnavailable, TimeoutError) as error:
                log.info("overdue events wait", error=str(error) or "timeout")
            except Exception:
                log.exception("overdue events wait")

    async def count(self) -> int:
        """Count what is overdue, for the backlog. Raises RegistryUnavailable."""
        waiting = await self._inputs.count_overdue()
        self._backlog.set(waiting)
        return sum(waiting.values())

    async def look(self, overdue: timedelta = OVERDUE) -> int:
        """Start what is overdue, and return how many events it was. Raises the errors of Temporal and the registry."""
        count = 0
        while found := await self._inputs.overdue(utc_now() - overdue, EVENTS_PER_LOOK):
            groups = iter(_by_run(found))
            await wait_for_all(self._start_each(groups) for _ in range(MAX_CONCURRENT))
            log.info("overdue events started", events=len(found))
            count += len(found)
        return count

    async def _start_each(self, groups: Iterator[Sequence[EventRow]]) -> None:
        for group in groups:
            async with asyncio.timeout(MAX_SECONDS):
                await self._gateway.runs.start_stored(group)


def _by_run(found: Iterable[EventRow]) -> list[list[EventRow]]:
    """Return the events of each run, the oldest first."""
    runs: dict[str, list[EventRow]] = {}
    for row in found:
        runs.setdefault(row.workflow_id, []).append(row)
    return list(runs.values())
