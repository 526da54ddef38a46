"""The sweep: compare the index of events with Temporal, again and again, and add what a killed process has left out.

Each worker process runs it, and a lease in the registry lets one at a time sweep. A pass lists the runs that were
opened or closed since the latest one, and checks events that are open. How far the passes have come is in the registry
too, so nothing is skipped, however long Temporal, the registry or all workers were away.

A pass also looks for the runs of one page of finished events, and lists one page of all open runs, each the next one
after the page of the latest pass. The runs of a finished event may have been deleted in Temporal; a run that has an end
in the index is open again after Temporal was restored from a backup.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import structlog
from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError

from hookkeeper.asyncio_tasks import in_background
from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.index.index import EventIndex
from hookkeeper.registry.index.leases import SweepPosition
from hookkeeper.temporal.index_checks import IndexChecks
from hookkeeper.temporal.index_reader import IndexReader
from hookkeeper.temporal.index_repair import IndexRepair
from hookkeeper.temporal.run_windows import RunWindows
from hookkeeper.times import utc_now

FIRST_DELAY, INTERVAL = 10.0, 60.0
"""Seconds before the first pass of a process, and between two passes."""
LEASE = 120.0
"""Seconds after which another process sweeps if one was killed."""
OVERLAP = timedelta(minutes=2)
"""Passes begin so long before the end of the latest one: visibility lags behind, and reports wait to be written."""
SLICE = timedelta(minutes=10)
"""The longest time of which the runs are listed before the position is stored."""
FIRST_SLICE = timedelta(hours=1)
"""What the first pass of a new registry looks at; `hookkeeper reindex` adds what is older."""
MAX_STEP_BACK = timedelta(hours=1)
"""How far Temporal's clock may be set back without a run being skipped."""
LIST_PAUSE = 0.5
"""Seconds between two lists: an ordinary server allows about ten requests a second to its visibility."""
MAX_CONCURRENT_READS = 4
FINISHED_LEASE = "finished events"
"""Those of all task queues."""
log = structlog.get_logger("hookkeeper.index")


def begin_at(swept_until: datetime | None, latest: datetime) -> datetime:
    """Return the time of Temporal from which on runs have to be listed.

    That is where the latest pass has ended, or the present time if that is earlier: Temporal's clock was ahead.
    """
    if swept_until is None:
        return latest - FIRST_SLICE
    return max(min(swept_until, utc_now()), swept_until - MAX_STEP_BACK)


class LeaseLost(Exception):
    """Another process sweeps."""


class IndexSweep:
    """One for the worker process."""

    def __init__(self, client: Client, index: EventIndex, task_queue: str, retention: timedelta) -> None:
        self._index = index
        self._name = task_queue
        self._holder = uuid.uuid4().hex
        self._windows = RunWindows(client, task_queue)
        reader = IndexReader(client, index, MAX_CONCURRENT_READS, pause=1.0)
        self._repair = IndexRepair(client, index, reader, retention)
        self._checks = IndexChecks(client, index, reader)
        self._open_runs: AsyncIterator[list[WorkflowExecution]] | None = None
        """What is left of the open runs; None: the next pass begins with the first page."""
        self._reads_again = True
        """The next pass begins with the runs that another process could not decrypt: this one may have their key."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweep until the block ends."""
        try:
            async with in_background(self._sweep_regularly(), "sweep the index"):
                yield
        finally:
            with suppress(RegistryUnavailable):
                await self._index.leases.release(self._name, self._holder)

    async def _sweep_regularly(self) -> None:
        await asyncio.sleep(FIRST_DELAY)
        while True:
            try:
                await self.sweep()
            except (RPCError, RegistryUnavailable, LeaseLost) as error:
                log.warning("index not swept", error=str(error))
            except Exception:
                log.exception("index not swept")
            await asyncio.sleep(INTERVAL)

    async def sweep(self) -> bool:
        """Make a pass; False if another process sweeps. Raises Temporal's `RPCError`, and RegistryUnavailable."""
        position = await self._index.leases.lease(self._name, self._holder, LEASE)
        if position is None:
            self._reads_again = True
            return False
        added = await self._add_changed(position) + await self._add_open()
        repaired = await self._checks.run()
        await self._remove_deleted()
        if added or repaired:
            log.info("index swept", added=added, repaired=repaired)
        return True

    async def _add_changed(self, position: SweepPosition) -> int:
        """Add what is missing of runs that were opened or closed since the position, and move it."""
        latest = await self._windows.latest()
        if latest is None:
            return 0
        if self._reads_again and position.until and position.since:
            position = SweepPosition(None, min(position.since, position.until))
        begin = begin_at(position.until, latest)
        self._repair.undecrypted_since = position.since
        added = 0
        while True:
            end = max(begin, min(begin + SLICE, latest))
            async for runs in self._windows.changed(begin - OVERLAP, end):
                added += await self._repair.repair(runs)
                await self._renew()
                await asyncio.sleep(LIST_PAUSE)
            await self._renew()
            position = SweepPosition(self._repair.undecrypted_since, end)
            await self._index.leases.set_position(self._name, position)
            if end >= latest:
                self._reads_again = False
                return added
            begin = end

    async def _add_open(self) -> int:
        """Add what is missing of the next page of open runs."""
        pages = self._open_runs or self._windows.open_runs()
        self._open_runs = None
        page = await anext(pages, None)
        if page is None:
            return 0
        added = await self._repair.repair(page)
        await self._renew()
        self._open_runs = pages
        return added

    async def _remove_deleted(self) -> None:
        """Remove those of the next finished events whose runs were deleted in Temporal."""
        position = await self._index.leases.lease(FINISHED_LEASE, self._holder, LEASE)
        if position is not None:
            until = await self._checks.remove_deleted(position.until or BEGINNING)
            await self._index.leases.set_position(FINISHED_LEASE, SweepPosition(None, until))

    async def _renew(self) -> None:
        if await self._index.leases.lease(self._name, self._holder, LEASE) is None:
            raise LeaseLost("another process sweeps")
