"""Check the events that are open by the index: a worker that was killed may have lost the latest report of one.

A description shows, without a worker, whether a run has closed or continued. Only then is its state read. A check is
due a minute after the latest report, or after the time of the next attempt. The longer nothing has changed, the later
is the next check, within `MAX_DELAY`.

Finished events are looked for in Temporal's visibility, page by page: their runs may have been deleted there.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog
from cachetools import LRUCache
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus

from hookkeeper import temporal_names
from hookkeeper.messages.run_report import BEGINNING, RunReport
from hookkeeper.registry.index.index import EventIndex
from hookkeeper.registry.index.merge import CHECK_DELAY, EventKey
from hookkeeper.registry.index.swept_rows import CheckedEvent
from hookkeeper.temporal.index_reader import BATCH, IndexReader, counting
from hookkeeper.temporal.run_snapshots import Unreadable, raising_unreadable
from hookkeeper.temporal.run_state import accepted_at_of, find_own_run, find_run
from hookkeeper.temporal.shared_read import SharedRun, find_shared_run, listed_runs
from hookkeeper.temporal.task_times import latest_task_time
from hookkeeper.temporal.visibility import quoted
from hookkeeper.times import utc_now

CHECKS = 1000
"""Events of one pass of the sweep."""
FEW = 50
"""As many are checked before they are due: where few events are open, each pass checks all."""
MAX_DELAY = timedelta(minutes=4)
"""The index has what a killed worker left out within five minutes, as long as a pass can check all that are due."""
FINISHED, RUNS_PER_LIST = 500, 100
"""Finished events of one pass, and runs that one request asks visibility for: 720,000 events a day."""
SETTLED = timedelta(minutes=10)
"""After this time, an event that has finished is looked for."""
MAX_REMEMBERED = 50_000
Lengths = tuple[tuple[str, int], ...]
"""The history lengths of an event's open runs, with the ids of the runs."""
log = structlog.get_logger("hookkeeper.index")


class IndexChecks:
    """Raises Temporal's `RPCError`, and RegistryUnavailable."""

    def __init__(self, client: Client, index: EventIndex, reader: IndexReader) -> None:
        self._client = client
        self._index = index
        self._reader = reader
        self._lengths: LRUCache[EventKey, Lengths] = LRUCache(MAX_REMEMBERED)
        """By event: the history lengths at its latest check."""

    async def run(self) -> int:
        """Check those that are due; return how many had changed."""
        events = await self._index.swept_rows.open_events(CHECKS, until=utc_now())
        if len(events) < FEW:
            events = await self._index.swept_rows.open_events(FEW)
        return await self._check_all(events)

    async def run_for(self, tenant: str, until: datetime) -> None:
        """Check all events of a tenant whose check is due until then. Each is due later after that."""
        while events := await self._index.swept_rows.open_events(CHECKS, tenant, until):
            await self._check_all(events)

    async def remove_deleted(self, after: datetime) -> datetime:
        """Remove those of the next finished events whose runs were deleted; return the time to continue after."""
        events = await self._index.swept_rows.finished_events(FINISHED, after, utc_now() - SETTLED)
        run_ids = sorted({event.run_id for event in events})
        listed: set[str] = set()
        for n in range(0, len(run_ids), RUNS_PER_LIST):
            query = f"RunId IN ({', '.join(map(quoted, run_ids[n : n + RUNS_PER_LIST]))})"
            listed |= {run.run_id async for run in self._client.list_workflows(query)}
        for event in events:
            if event.run_id not in listed and await self._is_deleted(event):
                await self._index.swept_rows.remove(event.key)
        return events[-1].key.accepted_at if len(events) == FINISHED else BEGINNING

    async def _is_deleted(self, event: CheckedEvent) -> bool:
        """Return whether Temporal has no run of an event that visibility does not list."""
        key = event.key
        own = await find_own_run(self._client, key.tenant, key.event_id, key.accepted_at)
        if own is not None and await accepted_at_of(own) <= key.accepted_at:  # else of a later event with the id
            return False
        shared = await self._shared_run_of(event)
        return shared is None or shared.event(key.tenant, key.event_id) is None

    async def _check_all(self, events: Sequence[CheckedEvent]) -> int:
        changed: set[EventKey] = set()
        for n in range(0, len(events), BATCH):
            batch = events[n : n + BATCH]
            await self._reader.write(batch, partial(self._check, changed))
            await self._check_later(event for event in batch if event.key not in changed)
        return len(changed)

    async def _check(self, changed: set[EventKey], event: CheckedEvent) -> list[RunReport]:
        """Return the reports of an event if the index may lack one, and add the event to those that have changed."""
        key = event.key
        try:
            with raising_unreadable():
                run = await find_own_run(self._client, key.tenant, key.event_id, key.accepted_at)
        except Unreadable as error:
            log.warning("event not indexed: another try follows", event_id=key.event_id, error=str(error))
            return []
        if run is None:
            return await self._check_shared(changed, event)
        lengths = await self._lengths_of(run)
        reports: list[RunReport] = []
        if not await self._is_indexed(event, run, lengths):
            try:
                reports = await self._reader.event(run, with_size=event.size is None)
            except Unreadable as error:
                log.warning("event not indexed: another try follows", workflow=run.id, error=str(error))
                return []
            changed.add(event.key)
            if run.status != WorkflowExecutionStatus.RUNNING:
                reports = counting(reports, event.as_of)
        self._lengths[event.key] = lengths
        return reports

    async def _check_shared(self, changed: set[EventKey], event: CheckedEvent) -> list[RunReport]:
        """Return the report of an event without a run of its own, if its shared run is over."""
        try:
            with raising_unreadable():
                run = await self._shared_run_of(event)
            if run is None or (shared := run.event(event.key.tenant, event.key.event_id)) is None:
                await self._index.swept_rows.remove(event.key)
                return []
            if run.is_open and run.run_id == event.run_id:
                return []
            reports = await self._reader.shared(run, [shared])
        except Unreadable as error:
            log.warning("event not indexed: another try follows", workflow=event.shared_run, error=str(error))
            return []
        if not reports:  # the event's own run was deleted
            await self._index.swept_rows.remove(event.key)
            return []
        changed.add(event.key)
        return reports if run.is_open else counting(reports, event.as_of)

    async def _shared_run_of(self, event: CheckedEvent) -> SharedRun | None:
        """Return the shared run in the event's row, or the one that has replaced it."""
        if event.shared_run is None:
            return None
        if run := await find_shared_run(self._client, event.shared_run):
            return run
        return next(iter(await listed_runs(self._client, event.key.tenant, event.key.event_id)), None)

    async def _is_indexed(self, event: CheckedEvent, run: WorkflowExecutionDescription, lengths: Lengths) -> bool:
        if run.status != WorkflowExecutionStatus.RUNNING or run.run_id != event.run_id:
            return False
        if self._lengths.get(event.key) == lengths:
            return True
        if run.workflow_type == temporal_names.LARGE_EVENT:
            return False
        last = await latest_task_time(self._client, run)
        return last is None or last <= event.as_of

    async def _lengths_of(self, run: WorkflowExecutionDescription) -> Lengths:
        parts = [await find_run(self._client, child.workflow_id) for child in run.raw_description.pending_children]
        runs = [run, *(part for part in parts if part)] if run.workflow_type == temporal_names.LARGE_EVENT else [run]
        return tuple((each.run_id, each.history_length) for each in runs)

    async def _check_later(self, events: Iterable[CheckedEvent]) -> None:
        """Check an event again when it has been unchanged for twice as long, or is to continue before."""
        unchanged = list(events)
        due = await self._index.swept_rows.next_times([event.key for event in unchanged])
        now = utc_now()
        times = {}
        for event in unchanged:
            quiet = now - max(event.as_of, event.key.accepted_at)
            later = now + min(max(quiet, CHECK_DELAY), MAX_DELAY)
            next_time = max(due.get(event.key, later), now) + CHECK_DELAY
            times[event.key] = min(later, next_time)
        await self._index.swept_rows.check_at(times)
