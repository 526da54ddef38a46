"""Close the rows of events whose runs have ended abnormally: terminated, timed out, deleted, or never started.

A run records each of its steps itself. So only an open event of which nothing was recorded for half an hour is looked
up in Temporal, every half hour, by one worker process.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import structlog
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from hookkeeper import ids
from hookkeeper.asyncio_tasks import in_background
from hookkeeper.messages.run_report import RunReport, progress_of, report_of
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.index.compared_rows import OpenEvent
from hookkeeper.registry.store import Store
from hookkeeper.temporal.event_read import Siblings
from hookkeeper.temporal.index_reader import IndexReader, counting
from hookkeeper.temporal.run_snapshots import Unreadable, raising_unreadable
from hookkeeper.temporal.run_state import find_run
from hookkeeper.temporal.shared_read import SharedRun, find_shared_run, listed_runs
from hookkeeper.times import utc_now

LEASE_NAME = "repair"
FIRST_DELAY, INTERVAL = 60.0, 1800.0
"""Seconds before the first repair of a process, and between two."""
MIN_AGE = timedelta(minutes=30)
"""Since the latest record of an event that is looked up."""
EVENTS_PER_PAGE = 500
MAX_CONCURRENT_READS = 4
log = structlog.get_logger("hookkeeper.repair")


class RunRepair:
    """One for the worker process."""

    def __init__(self, client: Client, store: Store) -> None:
        self._client = client
        self._index = store.index
        self._rows = store.rows
        self._siblings = Siblings(client, store.rows)
        self._reader = IndexReader(client, store.index, store.rows, MAX_CONCURRENT_READS, pause=1.0)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Repair every half hour until the block ends."""
        return in_background(self._repair_regularly(), "repair rows of events")

    async def _repair_regularly(self) -> None:
        await asyncio.sleep(FIRST_DELAY)
        while True:
            try:
                if await self._index.leases.take(LEASE_NAME, INTERVAL):
                    await self.repair()
            except (RPCError, RegistryUnavailable) as error:
                log.warning("rows not repaired", error=str(error))
            except Exception:
                log.exception("rows not repaired")
            await asyncio.sleep(INTERVAL)

    async def repair(self, min_age: timedelta = MIN_AGE) -> int:
        """Look all open events up that have recorded nothing for this time; return how many were repaired.

        Raises Temporal's `RPCError`, and RegistryUnavailable.
        """
        before, after = utc_now() - min_age, None
        repaired = 0

        async def read(event: OpenEvent) -> list[RunReport]:
            nonlocal repaired
            reports = await self._read(event)
            repaired += reports is None or bool(reports)
            return reports or []

        while events := await self._index.compared_rows.open_events(before, after, EVENTS_PER_PAGE):
            await self._reader.write(events, read)
            after = events[-1].key
        if repaired:
            log.info("rows repaired", events=repaired)
        return repaired

    async def _read(self, event: OpenEvent) -> list[RunReport] | None:
        """Return what the run of an event reports, if it has ended; None if there is none, and the row was removed."""
        tenant, event_id = event.key.tenant, event.key.event_id
        try:
            if event.parts > 1 and any(await self._siblings.find(tenant, event_id, event.parts)):
                return counting(await self._read_siblings(event), event.as_of)
            if run := await find_run(self._client, ids.workflow_id(tenant, event_id)):
                if run.status == WorkflowExecutionStatus.RUNNING:
                    return []
                return counting([await self._reader.event(run, with_input=False)], event.as_of)
            with raising_unreadable():
                shared_run = await self._shared_run_of(event)
            if shared_run is None or (shared := shared_run.event(tenant, event_id)) is None:
                log.warning("event removed: it has no run", tenant=tenant, event_id=event_id)
                await self._rows.remove(tenant, event_id)
                return None
            if shared_run.is_open:
                return []
            return counting(await self._reader.shared(shared_run, [shared]), event.as_of)
        except Unreadable as error:
            log.warning("event not repaired: another try follows", tenant=tenant, event_id=event_id, error=str(error))
            return []

    async def _read_siblings(self, event: OpenEvent) -> list[RunReport]:
        """Return what the siblings report that have ended, or were deleted, with open deliveries in their rows."""
        tenant, event_id, reports = event.key.tenant, event.key.event_id, []
        for part in await self._siblings.open_parts(tenant, event_id):
            run = await find_run(self._client, ids.run_of(tenant, event_id, part))
            if run is None:
                lost = await self._siblings.read_without_run(tenant, event_id, part, event.parts)
                if lost is not None:
                    progress = progress_of(lost.state, "", "")
                    reports.append(report_of(lost.state, progress, event.as_of, utc_now(), part, event.parts))
            elif run.status != WorkflowExecutionStatus.RUNNING:
                reports.append(await self._reader.event(run, with_input=False))
        return reports

    async def _shared_run_of(self, event: OpenEvent) -> SharedRun | None:
        """Return the shared run in the event's row, or the one that has replaced it."""
        if event.shared_run is not None and (run := await find_shared_run(self._client, event.shared_run)):
            return run
        return next(iter(await listed_runs(self._client, event.key.tenant, event.key.event_id)), None)
