"""Close the rows of events whose runs have ended abnormally: terminated, timed out, deleted, or never started.

A run records each of its steps itself. So only an open event of which nothing was recorded for half an hour is looked
up in Temporal, every half hour, by one worker process. Its rows get what `GET /v1/events/{event_id}` shows of it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta

import structlog
from pydantic import ValidationError
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.client import WorkflowQueryFailedError as QueryFailed
from temporalio.service import RPCError

from hookkeeper import ids
from hookkeeper.asyncio_tasks import in_background, wait_for_all
from hookkeeper.messages.run_report import RunReport, progress_of, report_of
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.index.compared_rows import OPEN_STATUSES, ComparedRow
from hookkeeper.registry.store import Store
from hookkeeper.temporal.events.gateway import Gateway
from hookkeeper.temporal.events.own_runs import read
from hookkeeper.temporal.events.run_state import find_run
from hookkeeper.temporal.server.error_translation import GatewayError, UnknownEvent
from hookkeeper.times import utc_now

LEASE_NAME = "repair"
FIRST_DELAY, INTERVAL = 60.0, 1800.0
"""Seconds before the first repair of a process, and between two."""
MIN_AGE = timedelta(minutes=30)
"""Since the latest record of an event that is looked up."""
EVENTS_PER_PAGE = 500
MAX_CONCURRENT_READS = 4
PAUSE = 0.02
"""Seconds after each event that a reader has looked up: there may be very many, and no request waits for them."""
log = structlog.get_logger("hookkeeper.repair")


class RunRepair:
    """One for the worker process."""

    def __init__(self, client: Client, gateway: Gateway, store: Store) -> None:
        self._client = client
        self._gateway = gateway
        self._store = store

    def running(self) -> AbstractAsyncContextManager[None]:
        """Repair every half hour until the block ends."""
        return in_background(self._repair_regularly(), "repair rows of events")

    async def _repair_regularly(self) -> None:
        await asyncio.sleep(FIRST_DELAY)
        while True:
            try:
                if await self._store.index.leases.take(LEASE_NAME, INTERVAL):
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
        while rows := await self._store.index.compared_rows.silent(before, after, EVENTS_PER_PAGE):
            waiting = iter(rows)
            repaired += sum(await wait_for_all(self._repair_each(waiting) for _ in range(MAX_CONCURRENT_READS)))
            after = rows[-1].key
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
        except UnknownEvent:
            log.warning("event removed: it has no run", tenant=row.key.tenant, event_id=row.key.event_id)
            return True  # the gateway has removed its rows
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
            return False
        found = await self._gateway.read(tenant, event_id)
        if found.state.status in OPEN_STATUSES:
            return False
        shared_run = found.workflow_id if ids.is_shared_run(found.workflow_id) else None
        progress = progress_of(found.state, found.run_id, row.digest, shared_run=shared_run)
        finished_at = found.state.finished_at or _end_of(run)
        await self._store.rows.write([report_of(found.state, progress, max(finished_at, row.as_of), finished_at)])
        return True

    async def _repair_siblings(self, row: ComparedRow) -> bool:
        """Write the ends of those runs that have ended, or were deleted, with open deliveries in their rows."""
        _, tenant, event_id = row.key
        siblings, reports = self._gateway.reader.siblings, list[RunReport]()
        runs = await siblings.find(tenant, event_id, row.parts)
        if not any(runs):
            await self._gateway.read(tenant, event_id)  # raises UnknownEvent
        for part in await siblings.open_parts(tenant, event_id):
            if (run := runs[part - 1]) is None:
                found = await siblings.read_without_run(tenant, event_id, part, row.parts)
            elif run.status != WorkflowExecutionStatus.RUNNING:
                found = await read(self._client, run)
            else:
                continue
            if found is not None:
                progress = progress_of(found.state, run.run_id if run else "", row.digest)
                end = found.state.finished_at or _end_of(run)
                reports.append(report_of(found.state, progress, max(end, row.as_of), end, part, row.parts))
        await self._store.rows.write(reports)
        return bool(reports)


def _end_of(run: WorkflowExecutionDescription | None) -> datetime:
    return (run and run.close_time) or utc_now()
