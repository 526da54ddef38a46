"""Bring the index of one tenant up to date, before a release or a recovery relies on it.

The index lacks the reports that a worker has not written yet, or had not when it was killed. The sweep adds them within
some minutes; this adds those of one tenant at once. It looks at the same: runs that were opened or closed since the
sweep's position, and open events that have reported, or were to report, within the last minute.
"""

from datetime import timedelta

from temporalio.client import Client

from hookkeeper.registry.index.index import EventIndex
from hookkeeper.registry.index.merge import CHECK_DELAY
from hookkeeper.temporal.index_checks import IndexChecks
from hookkeeper.temporal.index_reader import IndexReader
from hookkeeper.temporal.index_repair import IndexRepair
from hookkeeper.temporal.index_sweep import MAX_CONCURRENT_READS, OVERLAP, begin_at
from hookkeeper.temporal.run_windows import RunWindows
from hookkeeper.times import utc_now


class IndexCatchUp:
    """One for the worker process. Raises Temporal's `RPCError`, and RegistryUnavailable."""

    def __init__(self, client: Client, index: EventIndex, task_queue: str, retention: timedelta) -> None:
        self._client = client
        self._index = index
        self._task_queue = task_queue
        reader = IndexReader(client, index, MAX_CONCURRENT_READS, pause=1.0)
        self._repair = IndexRepair(client, index, reader, retention)
        self._checks = IndexChecks(client, index, reader)

    async def run(self, tenant: str) -> None:
        """Add what the index lacks of the tenant's runs until now."""
        due = utc_now() + CHECK_DELAY
        windows = RunWindows(self._client, self._task_queue, tenant)
        latest = await windows.latest()
        if latest is None:
            return
        begin = begin_at(await self._index.leases.swept_until(self._task_queue), latest)
        async for runs in windows.changed(begin - OVERLAP, latest):
            await self._repair.repair(runs)
        await self._checks.run_for(tenant, due)
