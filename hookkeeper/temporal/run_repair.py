"""Look after open events whose runs have ended abnormally: close their rows, or start runs that Temporal has lost. Look
after schedules in the same way.

A run records each of its steps itself. So every minute, one worker process asks Temporal which runs were terminated or
have timed out since the last time. Once a day, it looks up all open events of which nothing was recorded for half an
hour: what was lost is listed nowhere. An event whose run was terminated or has timed out is cancelled. One that has no
run, because Temporal was restored from a backup or is a new one, is started again from its rows.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta

import structlog
from pydantic import ValidationError
from temporalio.client import Client
from temporalio.client import WorkflowQueryFailedError as QueryFailed
from temporalio.service import RPCError

from hookkeeper import ids, temporal_names
from hookkeeper.asyncio_tasks import in_background, wait_for_all
from hookkeeper.messages.event import OPEN
from hookkeeper.messages.rows import EventKey, EventRow
from hookkeeper.registry.events.leases import Term
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.store import Store
from hookkeeper.temporal.events.shared_runs import find_shared_run
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.schedules.client import Schedules
from hookkeeper.temporal.server.error_translation import GatewayError
from hookkeeper.temporal.server.visibility import in_queue
from hookkeeper.times import utc_now

LEASE_NAME = "repair"
FIRST_DELAY, INTERVAL = 60.0, 60.0
"""Seconds before the first repair of a process, and between two."""
FULL_INTERVAL = timedelta(days=1)
"""Between two repairs that look all open events up."""
OVERLAP = timedelta(minutes=10)
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
        self._schedules = Schedules(client, gateway.task_queue, store)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Repair every minute until the block ends."""
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
            await self._schedules.repair(compares=False)
            await leases.set_term(LEASE_NAME, Term(last.begin, now))
        return repaired

    async def repair(self, min_age: timedelta) -> int:
        """Look up all open events that have recorded nothing for this time, and all schedules; return how many events
        were repaired. Raises Temporal's `RPCError`, `GatewayError`, and RegistryUnavailable.
        """
        repaired = await self._repair_pages(self._store.rows.silent, min_age)
        await self._schedules.repair(compares=True)
        return repaired

    async def _repair_closed(self, since: datetime) -> int:
        """Look up the open events whose runs have closed since a time without a record."""
        query = f"{CLOSED} AND {in_queue(self._gateway.task_queue)} AND CloseTime > '{since.isoformat()}'"
        closed = [run.id async for run in self._client.list_workflows(query)]
        event_ids = {ids.event_of(run)[1] for run in closed if ids.is_event_run(run)}
        for run in filter(ids.is_shared_run, closed):
            if shared := await find_shared_run(self._client, run):
                event_ids |= {event.id for event in shared.events}
        rows = await self._store.rows.with_ids(event_ids)
        return await self._repair_all([row for row in rows if row.status in OPEN and not row.finished_at])

    async def _repair_pages(
        self, read: Callable[[datetime, EventKey | None, int], Awaitable[list[EventRow]]], min_age: timedelta
    ) -> int:
        before, after = utc_now() - min_age, None
        repaired = 0
        while rows := await read(before, after, EVENTS_PER_PAGE):
            repaired += await self._repair_all(rows)
            after = rows[-1].key
        return repaired

    async def _repair_all(self, rows: Iterable[EventRow]) -> int:
        waiting = iter(rows)
        repaired = sum(await wait_for_all(self._repair_each(waiting) for _ in range(MAX_CONCURRENT_READS)))
        if repaired:
            log.info("rows repaired", events=repaired)
        return repaired

    async def _repair_each(self, rows: Iterator[EventRow]) -> int:
        repaired = 0
        for row in rows:
            repaired += await self._repair(row)
            await asyncio.sleep(PAUSE)
        return repaired

    async def _repair(self, row: EventRow) -> bool:
        """Repair an event, or remove it if it has neither a run nor an input; return whether it has changed."""
        tenant, event_id = row.name
        rows = self._store.rows
        try:
            if await self._gateway.runs.repair(tenant, event_id):
                return True
            if await rows.inputs.find(tenant, event_id) or not (found := await rows.find(tenant, event_id)):
                return False
            if await self._gateway.runs.find(found):
                return False
            log.error("event removed: it has no run, and no input", tenant=tenant, event_id=event_id)
            await rows.remove(tenant, event_id)
        except (GatewayError, QueryFailed, ValidationError) as error:
            log.warning("event not repaired: another try follows", tenant=tenant, event_id=event_id, error=str(error))
            return False
        return True
