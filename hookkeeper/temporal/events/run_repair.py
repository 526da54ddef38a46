"""Look after open events whose runs have ended abnormally: close their rows, or start runs that Temporal has lost.

A run records each of its steps itself. So every half hour, one worker process asks Temporal which runs were terminated
or have timed out since the last time. Once a day, it looks up all open events of which nothing was recorded for half an
hour: what was lost is listed nowhere. An event whose run was terminated or has timed out is cancelled. One that has no
run, because Temporal was restored from a backup or is a new one, is started again from its rows.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta

import structlog
from pydantic import ValidationError
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.client import WorkflowQueryFailedError as QueryFailed
from temporalio.service import RPCError

from hookkeeper import ids, temporal_names
from hookkeeper.asyncio_tasks import in_background, wait_for_all
from hookkeeper.messages.run_report import RunReport, progress_of, report_of
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.index.compared_rows import OPEN_STATUSES, ComparedRow
from hookkeeper.registry.index.leases import Term
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.registry.store import Store
from hookkeeper.temporal.events.gateway import Gateway
from hookkeeper.temporal.events.own_runs import read
from hookkeeper.temporal.events.run_state import find_run
from hookkeeper.temporal.events.shared_runs import find_shared_run
from hookkeeper.temporal.server.error_translation import GatewayError
from hookkeeper.temporal.server.visibility import in_queue
from hookkeeper.times import utc_now

LEASE_NAME = "repair"
FIRST_DELAY, INTERVAL = 60.0, 1800.0
"""Seconds before the first repair of a process, and between two."""
FULL_INTERVAL = timedelta(days=1)
"""Between two repairs that look all open events up."""
OVERLAP = timedelta(hours=1)
"""By which each look at closed runs goes back beyond the one before: lists may be late, and clocks differ."""
MIN_AGE = timedelta(minutes=30)
"""Since the latest record of an event that is looked up."""
CLOSED = (
    f"WorkflowType IN ('{temporal_names.EVENT}', '{temporal_names.SHARED_RUN}')"
    " AND ExecutionStatus IN ('Terminated', 'TimedOut')"
)
"""Runs that have closed without a record."""
EVENTS_PER_PAGE = 500
MAX_CONCURRENT_READS = 4
PAUSE = 0.02
"""Seconds after each event that a reader has looked up: there may be very many, and no request waits for them."""
log = structlog.get_logger("hookkeeper.repair")


class RunRepair:
    """One for the worker process."""

    def __init__(
        self,
        client: Client,
        gateway: Gateway,
        store: Store,
        start_missing: Callable[[datetime], Awaitable[None]] | None = None,
    ) -> None:
        """`start_missing` starts the runs of webhooks that are missing since a time."""
        self._client = client
        self._gateway = gateway
        self._store = store
        self._start_missing = start_missing

    def running(self) -> AbstractAsyncContextManager[None]:
        """Repair every half hour until the block ends."""
        return in_background(self._repair_regularly(), "repair rows of events")

    async def _repair_regularly(self) -> None:
        await asyncio.sleep(FIRST_DELAY)
        while True:
            try:
                if await self._store.index.leases.take(LEASE_NAME, INTERVAL):
                    await self.repair_regularly()
                    if self._start_missing:
                        await self._start_missing(utc_now() - MIN_AGE)
            except (RPCError, GatewayError, RegistryUnavailable) as error:
                log.warning("rows not repaired", error=str(error))
            except Exception:
                log.exception("rows not repaired")
            await asyncio.sleep(INTERVAL)

    async def repair_regularly(self) -> int:
        """Repair what may be wrong since the last time; return how many events were repaired.

        Raises Temporal's `RPCError`, and RegistryUnavailable. The next time then goes back as far as this one.
        """
        leases, now = self._store.index.leases, utc_now()
        last = await leases.term(LEASE_NAME)  # since the last full repair, until the last one
        if last is None or now - last.begin > FULL_INTERVAL:
            repaired = await self.repair(MIN_AGE if last else timedelta())
            await leases.set_term(LEASE_NAME, Term(now, now))
        else:
            repaired = await self._repair_closed(last.end - OVERLAP)
            await leases.set_term(LEASE_NAME, Term(last.begin, now))
        return repaired

    async def repair(self, min_age: timedelta) -> int:
        """Look all open events up that have recorded nothing for this time; return how many were repaired.

        Raises Temporal's `RPCError`, and RegistryUnavailable.
        """
        return await self._repair_pages(self._store.index.compared_rows.silent, min_age)

    async def _repair_closed(self, since: datetime) -> int:
        """Look up the open events whose runs have closed since a time without a record."""
        query = f"{CLOSED} AND {in_queue(self._gateway.task_queue)} AND CloseTime > '{since.isoformat()}'"
        closed = [run.id async for run in self._client.list_workflows(query)]
        event_ids = {ids.event_of(run)[1] for run in closed if ids.is_event_run(run)}
        for run in filter(ids.is_shared_run, closed):
            if shared := await find_shared_run(self._client, run):
                event_ids |= {event.id for event in shared.events}
        rows = await self._store.index.compared_rows.with_ids(event_ids)
        return await self._repair_all([row for row in rows if row.status in OPEN_STATUSES and not row.finished_at])

    async def _repair_pages(
        self, read: Callable[[datetime, EventKey | None, int], Awaitable[list[ComparedRow]]], min_age: timedelta
    ) -> int:
        before, after = utc_now() - min_age, None
        repaired = 0
        while rows := await read(before, after, EVENTS_PER_PAGE):
            repaired += await self._repair_all(rows)
            after = rows[-1].key
        return repaired

    async def _repair_all(self, rows: Iterable[ComparedRow]) -> int:
        waiting = iter(rows)
        repaired = sum(await wait_for_all(self._repair_each(waiting) for _ in range(MAX_CONCURRENT_READS)))
        if repaired:
            log.info("rows repaired", events=repaired)
        return repaired

    async def _repair_each(self, rows: Iterator[ComparedRow]) -> int:
        repaired = 0
        for row in rows:
            repaired += await self._repair(row)
            await asyncio.sleep(PAUSE)
        return repaired

    async def repair_now(self, tenant: str, event_id: str) -> None:
        """Repair one event, also if its run has recorded something in the last half hour."""
        for row in await self._store.index.compared_rows.with_ids([event_id]):
            if row.key.tenant == tenant:
                await self._repair(row)

    async def _repair(self, row: ComparedRow) -> bool:
        """Write the end of an event, or remove it if it has no run; return whether it has changed."""
        try:
            return await (self._repair_siblings(row) if row.parts > 1 else self._repair_run(row))
        except (GatewayError, QueryFailed, ValidationError) as error:
            log.warning(
                "event not repaired: another try follows",
                tenant=row.key.tenant,
                event_id=row.key.event_id,
                error=str(error),
            )
            return False

    async def _repair_run(self, row: ComparedRow) -> bool:
        _, tenant, event_id = row.key
        run = await find_run(self._client, row.shared_run or ids.workflow_id(tenant, event_id))
        if run is not None and run.status == WorkflowExecutionStatus.RUNNING:
            await self._note(row, run)
            return False
        if (found := await self._gateway.read_runs(tenant, event_id)) is None:
            return await self._start_again(row)
        if found.state.status in OPEN_STATUSES:
            return False
        shared_run = found.workflow_id if ids.is_shared_run(found.workflow_id) else None
        progress = progress_of(found.state, found.run_id, row.digest, shared_run=shared_run)
        finished_at = found.state.finished_at or _end_of(run)
        await self._write([report_of(found.state, progress, max(finished_at, row.as_of), finished_at)])
        return True

    async def _repair_siblings(self, row: ComparedRow) -> bool:
        """Write the ends of runs that have ended with open deliveries in their rows, and start those that are lost."""
        _, tenant, event_id = row.key
        siblings, reports = self._gateway.reader.siblings, list[RunReport]()
        runs = await siblings.find(tenant, event_id, row.parts)
        if (first := runs[0]) and first.status == WorkflowExecutionStatus.RUNNING:
            await self._note(row, first)
        is_started = False
        for part in await siblings.open_parts(tenant, event_id):
            if (run := runs[part - 1]) is None:
                is_started = is_started or await self._start_again(row)
            elif run.status != WorkflowExecutionStatus.RUNNING:
                found = await read(self._client, run)
                progress = progress_of(found.state, run.run_id, row.digest)
                end = found.state.finished_at or _end_of(run)
                reports.append(report_of(found.state, progress, max(end, row.as_of), end, part, row.parts))
        await self._write(reports)
        return is_started or bool(reports)

    async def _start_again(self, row: ComparedRow) -> bool:
        """Start the runs that an open event has lost. Without its input, which `reindex` does not find, it is gone."""
        _, tenant, event_id = row.key
        if await self._gateway.start_missing(tenant, event_id):
            log.warning("an event had no run, and is started again", tenant=tenant, event_id=event_id)
        elif await self._store.rows.inputs.find(tenant, event_id) is None:
            log.error("event removed: it has no run, and no input", tenant=tenant, event_id=event_id)
            await self._store.rows.remove(tenant, event_id)
        else:  # it has ended meanwhile
            return False
        return True

    async def _write(self, reports: Sequence[RunReport]) -> None:
        """Write reports, and call the runs whose turn has come by that."""
        await self._gateway.lines.call(await self._store.rows.write(reports))

    async def _note(self, row: ComparedRow, run: WorkflowExecutionDescription) -> None:
        """Note that the event has this run: it need not be looked for again."""
        if not row.run_id:
            await self._store.rows.inputs.note_run([row.key], run.run_id)


def _end_of(run: WorkflowExecutionDescription | None) -> datetime:
    return (run and run.close_time) or utc_now()
