"""Rebuild the rows of events from the histories of runs, after the registry was restored from a backup."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta

from temporalio.client import Client, WorkflowExecution

from hookkeeper.registry.store import Store
from hookkeeper.temporal.index_reader import IndexReader
from hookkeeper.temporal.index_repair import IndexRepair
from hookkeeper.temporal.run_windows import RunWindows

BATCH = 100
"""Runs that are compared before progress is shown."""
MAX_CONCURRENT_READS = 10


class Reindex:
    """Raises Temporal's `RPCError`, and RegistryUnavailable."""

    def __init__(
        self,
        client: Client,
        store: Store,
        task_queue: str,
        retention: timedelta,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._windows = RunWindows(client, task_queue)
        reader = IndexReader(client, store.index, store.rows, MAX_CONCURRENT_READS, pause=0.0)
        self._repair = IndexRepair(client, store.index, reader, retention)
        self._on_progress = on_progress
        """Gets the number of runs that were compared, and that of all."""
        self._done = self._total = self._added = 0

    async def run(self, since: datetime) -> int:
        """Add the events that were open at that time or later; return how many were missing or incomplete.

        What is there already is compared only, so that a call that was interrupted can be repeated.
        """
        latest = await self._windows.latest()
        if latest is None:
            return 0
        self._total = await self._windows.count_since(since)
        await self._add(self._windows.open_runs(since))
        await self._add(self._windows.changed(since, latest))
        return self._added

    async def _add(self, pages: AsyncIterator[list[WorkflowExecution]]) -> None:
        async for runs in pages:
            for n in range(0, len(runs), BATCH):
                some = runs[n : n + BATCH]
                self._added += await self._repair.repair(some)
                self._done += len(some)
                self._on_progress(min(self._done, self._total), self._total)
