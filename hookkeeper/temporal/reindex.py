"""Rebuild the index from the histories of runs, with the code of the sweep, but from any time on and faster.

It stores how far it has come, so that another call continues.
"""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime, timedelta

from temporalio.client import Client, WorkflowExecution

from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.index.index import EventIndex
from hookkeeper.registry.index.leases import SweepPosition
from hookkeeper.temporal.index_reader import IndexReader
from hookkeeper.temporal.index_repair import IndexRepair
from hookkeeper.temporal.run_windows import RunWindows

SLICE = timedelta(hours=1)
LEASE = 60.0
"""Seconds after which another process may continue, if one was killed."""
BATCH = 100
"""Runs that are compared before progress is shown."""
MAX_CONCURRENT_READS = 10


class ReindexRunning(Exception):
    """Another process rebuilds the index."""


class Reindex:
    """Raises Temporal's `RPCError`, RegistryUnavailable and ReindexRunning."""

    def __init__(
        self,
        client: Client,
        index: EventIndex,
        task_queue: str,
        retention: timedelta,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._index = index
        self._name = f"reindex {task_queue}"
        self._holder = uuid.uuid4().hex
        self._windows = RunWindows(client, task_queue)
        reader = IndexReader(client, index, MAX_CONCURRENT_READS, pause=0.0)
        self._repair = IndexRepair(client, index, reader, retention)
        self._on_progress = on_progress
        """Gets the number of runs that were compared, and that of all."""
        self._begin = BEGINNING
        self._done = self._total = self._added = 0

    async def run(self, since: datetime) -> int:
        """Add the events that were open at that time or later; return how many were missing or incomplete.

        If an earlier call for this time was interrupted, continue where it ended.
        """
        position = await self._lease()
        try:
            await self._run(position, since)
        finally:
            with suppress(RegistryUnavailable):
                await self._index.leases.release(self._name, self._holder)
        return self._added

    async def _run(self, position: SweepPosition, since: datetime) -> None:
        latest = await self._windows.latest()
        if latest is None:
            return
        if position.until and position.since and position.since <= since:
            first, begin, is_new = position.since, position.until, False
        else:
            first, begin, is_new = since, since, True
        self._begin, self._total = begin, await self._windows.count_since(begin)
        if is_new:
            await self._add(self._windows.open_runs(begin), begin)
        while begin < latest:
            end = min(begin + SLICE, latest)
            await self._add(self._windows.changed(begin, end), begin)
            await self._index.leases.set_position(self._name, SweepPosition(first, end))
            begin = end
        await self._index.leases.set_position(self._name, SweepPosition(None, None))

    async def _add(self, pages: AsyncIterator[list[WorkflowExecution]], begin: datetime) -> None:
        async for runs in pages:
            for n in range(0, len(runs), BATCH):
                some = runs[n : n + BATCH]
                self._added += await self._repair.repair(some)
                # A run that was opened in one slice and closed in another is listed twice.
                self._done += sum(run.start_time >= begin or run.start_time < self._begin for run in some)
                self._on_progress(min(self._done, self._total), self._total)
                await self._lease()

    async def _lease(self) -> SweepPosition:
        position = await self._index.leases.lease(self._name, self._holder, LEASE)
        if position is None:
            raise ReindexRunning("another `hookkeeper reindex` is running: wait until it has ended")
        return position
