"""Read events from Temporal, a few at the same time, and write what they report to the index."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from itertools import chain
from typing import TypeVar

from temporalio.client import Client, WorkflowExecutionDescription

from hookkeeper import ids
from hookkeeper.asyncio_tasks import wait_for_all
from hookkeeper.messages.run_report import RunReport
from hookkeeper.messages.shared_run import SharedEvent
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.registry.index.index import EventIndex
from hookkeeper.registry.index.merge import key_of
from hookkeeper.temporal.attempt_history import with_all_attempts
from hookkeeper.temporal.run_reports import read_event, read_shared_run
from hookkeeper.temporal.run_state import find_own_run
from hookkeeper.temporal.shared_read import SharedRun

BATCH = 50
"""Events that are read before their reports are written."""

Item = TypeVar("Item")


class IndexReader:
    """Raises Temporal's `RPCError`, and RegistryUnavailable."""

    def __init__(self, client: Client, index: EventIndex, rows: EventRows, concurrency: int, pause: float) -> None:
        self._client = client
        self._index = index
        self._rows = rows
        self._slots = asyncio.Semaphore(concurrency)
        self._pause = pause
        """Pause after each batch, as a multiple of the time that the batch has taken."""

    async def event(self, run: WorkflowExecutionDescription, *, with_input: bool) -> RunReport:
        """Return the report of the latest run of an event, or of a sibling. Raises `Unreadable`."""
        return await self._in_full(run.id, await read_event(self._client, run, with_input=with_input))

    async def shared(self, run: SharedRun, events: Sequence[SharedEvent]) -> list[RunReport]:
        """Return the reports of events of a shared run; of those that have left it, those of their own runs.

        Raises `Unreadable`.
        """
        reports: list[RunReport] = []
        of_run = await read_shared_run(self._client, run, events)
        for event in (shared.event for shared in events):
            if (report := of_run[ids.workflow_id(event.tenant, event.id)]) is not None:
                reports.append(report)
            elif own := await find_own_run(self._client, event.tenant, event.id, event.accepted_at):
                reports.append(await self.event(own, with_input=True))
        return reports

    async def write(self, items: Sequence[Item], read: Callable[[Item], Awaitable[Sequence[RunReport]]]) -> None:
        """Read the items, and write their reports."""
        for n in range(0, len(items), BATCH):
            began = time.monotonic()
            await self._write_batch(items[n : n + BATCH], read)
            await asyncio.sleep(self._pause * (time.monotonic() - began))

    async def _write_batch(self, items: Sequence[Item], read: Callable[[Item], Awaitable[Sequence[RunReport]]]) -> None:
        async def read_one(item: Item) -> Sequence[RunReport]:
            async with self._slots:
                return await read(item)

        await self._rows.write([*chain.from_iterable(await wait_for_all(map(read_one, items)))])

    async def _in_full(self, workflow_id: str, report: RunReport) -> RunReport:
        """Add attempts that the run's state leaves out, and the index has not counted."""
        if not any(delivery.attempts_omitted for delivery in report.deliveries):
            return report
        counted = await self._index.compared_rows.attempts(key_of(report))
        return await with_all_attempts(self._client, report, workflow_id, counted)


def counting(reports: Sequence[RunReport], row: datetime) -> list[RunReport]:
    """Return reports that count more than the row of their event.

    If Temporal's clock was set back, or Temporal was restored, the row has a later time than what is true now.
    """
    return [report._replace(as_of=max(report.as_of, row)) for report in reports]
