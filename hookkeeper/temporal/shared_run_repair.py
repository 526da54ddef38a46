"""Add to the index what it lacks of listed shared runs.

Temporal lists a shared run with the ids of its events and with their number. If the index has so many of them in this
run, complete, the run is not read.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import partial

import structlog
from pydantic import ValidationError
from temporalio.client import Client, WorkflowExecution

from hookkeeper import ids, temporal_names
from hookkeeper.crypto.keyring import CipherError
from hookkeeper.messages.event import EventInput
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.index.compared_rows import IndexedEvent
from hookkeeper.registry.index.index import EventIndex
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.search_attributes import EVENTS_KEY
from hookkeeper.temporal.index_reader import IndexReader
from hookkeeper.temporal.run_reports import first_report_of
from hookkeeper.temporal.run_snapshots import Unreadable
from hookkeeper.temporal.shared_runs import SharedRun, find_shared_run

MAX_SKEW = timedelta(hours=1)
"""Difference between the clocks of the API and of Temporal. If it is larger, the runs are read."""
log = structlog.get_logger("hookkeeper.index")


class SharedRunRepair:
    """Raises Temporal's `RPCError`, and RegistryUnavailable."""

    def __init__(self, client: Client, index: EventIndex, reader: IndexReader) -> None:
        self._client = client
        self._index = index
        self._reader = reader

    async def repair(self, runs: Sequence[WorkflowExecution]) -> int:
        """Read the events that the index lacks, or whose end it lacks; return their number."""
        missing: list[EventKey] = []
        await self._reader.write(await self._incomplete(runs), partial(self._read, missing))
        return len(missing)

    async def _incomplete(self, runs: Sequence[WorkflowExecution]) -> list[WorkflowExecution]:
        if not runs:
            return []
        times = [run.start_time for run in runs]
        event_ids = {id_ for run in runs for id_ in run.typed_search_attributes.get(EVENTS_KEY, ())}
        rows = await self._index.compared_rows.in_shared_runs(event_ids, min(times) - MAX_SKEW, max(times) + MAX_SKEW)
        return [run for run in runs if not await _has_all(run, rows.get(run.id, ()))]

    async def _read(self, missing: list[EventKey], listed: WorkflowExecution) -> list[RunReport]:
        """Return the reports that the index lacks of a listed run, and add their events to those that are missing."""
        try:
            run = await find_shared_run(self._client, listed.id)
            keys = {_event_key(event): event for event in run.events} if run else {}
        except (CipherError, ValidationError) as error:
            log.warning("shared run not indexed", workflow=listed.id, error=str(error))
            return []
        if run is None:  # deleted
            return []
        rows = await self._index.compared_rows.events(keys)
        of_run = {key: event for key, event in keys.items() if not _is_complete(run, rows.get(key))}
        missing += of_run
        try:
            return await self._reader.shared(run, [*of_run.values()])
        except Unreadable as error:
            log.warning("shared run not indexed: another try follows", workflow=listed.id, error=str(error))
            return [first_report_of(run, event) for event in of_run.values()]


async def _has_all(run: WorkflowExecution, rows: Collection[IndexedEvent]) -> bool:
    """Return whether these are all events of a listed run, and complete."""
    count = await run.memo_value(temporal_names.EVENT_COUNT, default=-1)
    return len(rows) == count and all(_has_run(row, run.run_id, is_closed=run.close_time is not None) for row in rows)


def _is_complete(run: SharedRun, row: IndexedEvent | None) -> bool:
    """Return whether the index has an event of the run: with its end, or from a later run."""
    if row is None or row.size is None:
        return False
    if row.shared_run is None or ids.is_later_shared_run(row.shared_run, run.id):
        return True
    return _has_run(row, run.run_id, is_closed=not run.is_open)


def _has_run(row: IndexedEvent, run_id: str, *, is_closed: bool) -> bool:
    return row.size is not None and row.run_id == run_id and (row.finished_at is not None or not is_closed)


def _event_key(event: EventInput) -> EventKey:
    return EventKey(event.accepted_at, event.tenant, event.id)
