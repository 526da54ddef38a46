"""Rebuild the rows of events from the histories of runs, after the registry was restored from a backup."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog
from pydantic import ValidationError
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids, temporal_names
from hookkeeper.content.search_terms import keys_of, keys_of_channels
from hookkeeper.crypto.keyring import CipherError
from hookkeeper.messages.event import EventInput, EventState
from hookkeeper.messages.partition import PART, parts_of
from hookkeeper.messages.rows import EventRow
from hookkeeper.messages.run_report import RunReport, row_of, with_data
from hookkeeper.registry.store import Store
from hookkeeper.search_attributes import EVENTS_KEY
from hookkeeper.temporal.events.own_runs import read_own
from hookkeeper.temporal.events.run_state import digest_of, find_run
from hookkeeper.temporal.events.shared_runs import final_states, find_shared_run, first_state
from hookkeeper.temporal.server.visibility import in_queue, quoted, read_all
from hookkeeper.times import rfc3339, utc_now

RUN_TYPES = (temporal_names.EVENT, temporal_names.SHARED_RUN)
BATCH = 100
"""Runs that are compared before progress is shown."""
REPORTS_PER_WRITE = 50
"""A report has up to a hundred deliveries, and others write in between."""
READ_TIMEOUT = 30.0
"""Seconds to read a run. Only open and terminated runs need a worker, which may be away."""
Rows = dict[tuple[str, str], EventRow]
"""By tenant and event id."""
UNREADABLE = (
    CipherError,
    ValidationError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    TimeoutError,
    RPCError,
)
NO_WORKER = (RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.DEADLINE_EXCEEDED)
"""How a query ends that no worker answers."""
log = structlog.get_logger("hookkeeper.index")


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
        types = ", ".join(map(quoted, RUN_TYPES))
        self._client = client
        self._store = store
        self._query = f"WorkflowType IN ({types}) AND {in_queue(task_queue)}"
        self._retention = retention
        self._on_progress = on_progress
        """Gets the number of runs that were compared, and that of all."""
        self._search_keys: dict[tuple[str, str], tuple[str, ...]] = {}
        """By tenant and type."""

    async def run(self, since: datetime) -> int:
        """Write the events that were open at that time or later; return how many were missing or different.

        What the registry has removed by its retention is not added and counted again. Finished events that are
        complete are not read, so that a call that was interrupted can be repeated.
        """
        time = quoted(rfc3339(max(since, utc_now() - self._retention)))
        query = f"{self._query} AND (StartTime >= {time} OR CloseTime >= {time} OR ExecutionStatus = 'Running')"
        total = (await self._client.count_workflows(query)).count
        done = written = 0
        async for runs in self._pages(query):
            written += await self._write(runs)
            done += len(runs)
            self._on_progress(min(done, total), total)
        return written

    async def _pages(self, query: str) -> AsyncIterator[Sequence[WorkflowExecution]]:
        runs = self._client.list_workflows(query, page_size=BATCH)
        while True:
            await runs.fetch_next_page()
            yield runs.current_page or ()
            if not runs.next_page_token:
                return

    async def _write(self, runs: Sequence[WorkflowExecution]) -> int:
        """Write the events of runs; return how many were missing or different."""
        found = await self._store.rows.with_ids({id_ for run in runs for id_ in _event_ids(run)})
        # Before the runs are read: what they record from now on counts more.
        rows = {row.name: row for row in found}

        async def reports_of(run: WorkflowExecution) -> list[RunReport]:
            with _warning_of(run):
                async with asyncio.timeout(READ_TIMEOUT):
                    if not _event_ids(run) or await _is_complete(run, found):
                        return []
                    return await (self._shared(run.id, rows) if ids.is_shared_run(run.id) else self._own(run.id, rows))
            return []

        reports = [report for found_in_run in await read_all(runs, reports_of) for report in found_in_run]
        for n in range(0, len(reports), REPORTS_PER_WRITE):
            await self._store.rows.write(reports[n : n + REPORTS_PER_WRITE])
        return len({report.event.name for report in reports if _differs(report.event, rows)})

    async def _report(self, row: EventRow, state: EventState, event: EventInput, part: int = 1) -> RunReport:
        """Return the report of a run, with what starts it, and what the event can be searched by as that is declared
        now.
        """
        key = row.tenant, row.type
        if key not in self._search_keys:
            self._search_keys[key] = (await self._store.catalogue.rules(*key)).search_keys
        keys = keys_of(event.data, self._search_keys[key]) + keys_of_channels(event.channels)
        has_all = row.parts == 1 or len(event.deliveries) > PART  # a run that continued as new has only its own part
        row = with_data(row, event)._replace(input=event.model_dump_json(exclude_defaults=True) if has_all else "")
        return RunReport(row, state.deliveries, part, keys=keys)

    async def _own(self, workflow_id: str, rows: Rows) -> list[RunReport]:
        """Return the reports of an event's latest run."""
        if (run := await find_run(self._client, workflow_id)) is None:  # deleted
            return []
        event, state = await read_own(self._client, run)
        finished_at = state.finished_at or run.close_time
        as_of = finished_at or run.start_time
        # If Temporal was restored, or its clock set back, the row has a later time than what is true now.
        if known := rows.get((event.tenant, event.id)):
            as_of = max(as_of, known.as_of)
        row = row_of(state, as_of, run.run_id, event)._replace(
            finished_at=finished_at,
            digest=await digest_of(run),
            parts=parts_of(event)[0].parts,
            apart=ids.is_apart(run.id),
        )
        return [await self._report(row, state, event, ids.part_of(run.id))]

    async def _shared(self, workflow_id: str, rows: Rows) -> list[RunReport]:
        """Return the reports of the events of a shared run, without those that have left it.

        While it is open, they have their first state: what it records follows.
        """
        if (run := await find_shared_run(self._client, workflow_id)) is None:  # deleted
            return []
        events = run.events
        states: dict[str, EventState | None] = {event.workflow_id: first_state(event) for event in events}
        if not run.is_open:
            states = await final_states(self._client, run, events)
        reports: list[RunReport] = []
        for event in events:
            if (state := states[event.workflow_id]) is None:
                continue
            finished_at = None if run.is_open else state.finished_at or run.description.close_time
            as_of = finished_at or run.description.start_time
            known = rows.get((event.tenant, event.id))
            if known and known.shared_run == run.id:  # otherwise the later run counts
                as_of = max(as_of, known.as_of)
            row = row_of(state, as_of, run.run_id, event)._replace(finished_at=finished_at, shared_run=run.id)
            reports.append(await self._report(row, state, event))
        return reports


def _event_ids(run: WorkflowExecution) -> Sequence[str]:
    if ids.is_shared_run(run.id):
        return run.typed_search_attributes.get(EVENTS_KEY, ())
    return [ids.event_of(run.id)[1]] if ids.is_event_run(run.id) else []


async def _is_complete(run: WorkflowExecution, rows: Iterable[EventRow]) -> bool:
    """Return whether these are all events of a closed run, with their ends."""
    if run.close_time is None:
        return False
    count = await run.memo_value(temporal_names.EVENT_COUNT, default=-1) if ids.is_shared_run(run.id) else 1
    return count == sum(row.run_id == run.run_id and None not in (row.size, row.finished_at) for row in rows)


def _differs(reported: EventRow, rows: Rows) -> bool:
    """Return whether a report changes the row of its event."""
    row = rows.get(reported.name)
    if row is None or row.size is None:
        return True
    if reported.parts > 1 or reported.as_of < row.as_of:  # of siblings, each reports its part
        return False
    return (row.run_id, row.status) != (reported.run_id, reported.status)


@contextmanager
def _warning_of(run: WorkflowExecution) -> Iterator[None]:
    """Log errors that concern one run only: its key is missing, or no worker answers."""
    try:
        yield
    except UNREADABLE as error:
        if isinstance(error, RPCError) and error.status not in NO_WORKER:
            raise
        log.warning("run not indexed", workflow=run.id, error=str(error))
