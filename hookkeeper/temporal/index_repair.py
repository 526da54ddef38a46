"""Add to the index what it lacks of listed runs: whole events, and the ends of runs. Used by `hookkeeper reindex`."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple

import structlog
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from hookkeeper import ids, temporal_names
from hookkeeper.crypto.keyring import CipherError
from hookkeeper.messages.run_report import EventProgress, RunReport
from hookkeeper.registry.index.compared_rows import IndexedEvent
from hookkeeper.registry.index.index import EventIndex
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.search_attributes import EVENT_TYPE_KEY
from hookkeeper.temporal.index_reader import IndexReader, counting
from hookkeeper.temporal.run_snapshots import Unreadable
from hookkeeper.temporal.run_state import accepted_at_of, digest_of, find_run
from hookkeeper.temporal.shared_run_repair import SharedRunRepair
from hookkeeper.times import utc_now

MAX_TASK_TIME = timedelta(seconds=10)
"""Time between the last report of a run and its close: the timeout of a workflow task."""
MAX_LISTING_DELAY = timedelta(minutes=2)
"""Time in which a closed run may still be listed as open. An event that the index has as finished since is not read."""
EXPIRY_MARGIN = timedelta(minutes=1)
"""Time between the end of an event in the index and the close of its run, with differences between clocks."""
log = structlog.get_logger("hookkeeper.index")


class Candidate(NamedTuple):
    """A listed run, of which the index may lack something."""

    run: WorkflowExecution
    key: EventKey

    @property
    def part(self) -> int:
        return ids.part_of(self.run.id)


class IndexRepair:
    """Raises Temporal's `RPCError`, and RegistryUnavailable."""

    def __init__(self, client: Client, index: EventIndex, reader: IndexReader, retention: timedelta) -> None:
        self._client = client
        self._index = index
        self._reader = reader
        self._retention = retention
        self._shared_runs = SharedRunRepair(client, index, reader)

    async def repair(self, runs: Iterable[WorkflowExecution]) -> int:
        """Read the events that the index lacks, or whose end it lacks; return their number.

        What the index has removed by its retention is not added and counted again, if Temporal keeps it for longer.
        """
        expired = utc_now() - self._retention + EXPIRY_MARGIN
        listed = [run for run in runs if not (run.close_time and run.close_time < expired)]
        new = await self._decrypted(listed)
        shared_runs = [run for run in new if run.workflow_type == temporal_names.SHARED_RUN]
        candidates = await _candidates(run for run in new if run.workflow_type != temporal_names.SHARED_RUN)
        rows = await self._index.compared_rows.events({candidate.key for candidate in candidates})
        incomplete = [candidate for candidate in candidates if not _is_complete(candidate, rows.get(candidate.key))]

        async def read(candidate: Candidate) -> list[RunReport]:
            return await self._read(candidate, rows.get(candidate.key))

        await self._reader.write(incomplete, read)
        return len(incomplete) + await self._shared_runs.repair(shared_runs)

    async def _decrypted(self, runs: Sequence[WorkflowExecution]) -> list[WorkflowExecution]:
        """Return the runs whose key this process has: a missing one must not keep the others out of the index."""
        found, undecrypted, reason = [], 0, ""
        for n, run in enumerate(runs, start=1):
            try:
                await run.memo()
                found.append(run)
            except CipherError as error:
                undecrypted += 1
                reason = f"{run.id}: {error}"
            if n % 50 == 0:
                await asyncio.sleep(0)
        if undecrypted:
            log.warning("runs not indexed: their key is missing", count=undecrypted, error=reason)
        return found

    async def _read(self, candidate: Candidate, row: IndexedEvent | None) -> list[RunReport]:
        """Read the latest run of an event, or of a sibling."""
        run = await find_run(self._client, candidate.run.id)
        if run is None:  # deleted
            return []
        try:
            reports = [await self._reader.event(run, with_input=row is None or row.size is None)]
        except Unreadable as error:
            log.warning("event not indexed: another try follows", workflow=run.id, error=str(error))
            return [await _unread(candidate)] if candidate.part == 1 else []
        if row and run.status == WorkflowExecutionStatus.RUNNING and _is_reopened(run, row):
            return counting(reports, row.as_of)
        return reports


async def _candidates(runs: Iterable[WorkflowExecution]) -> list[Candidate]:
    """Read which events the runs belong to, and let others work in between."""
    candidates = []
    for run in runs:
        if not ids.is_event_run(run.id):
            continue
        tenant, event_id = ids.event_of(run.id)
        accepted_at = await accepted_at_of(run)
        candidates.append(Candidate(run, EventKey(accepted_at, tenant, event_id)))
        if len(candidates) % 50 == 0:
            await asyncio.sleep(0)
    return candidates


def _is_complete(candidate: Candidate, row: IndexedEvent | None) -> bool:
    """Return whether the index has the run: an open one at all, a closed one with its end, or a later run.

    A run records its end a moment before Temporal stores it, or does not: then the run continues. The row of an event
    with several runs does not say whether it has the end of each.
    """
    run = candidate.run
    if row is None or row.size is None:
        return False
    if row.parts > 1:
        return run.close_time is None
    if run.close_time is None:
        return not _is_reopened(run, row) and (row.run_id == run.run_id or row.as_of > run.start_time)
    if row.run_id != run.run_id:
        return row.as_of > run.close_time
    return row.finished_at is not None and run.close_time - row.finished_at < MAX_TASK_TIME


def _is_reopened(run: WorkflowExecution, row: IndexedEvent) -> bool:
    """Return whether the index has the end of an open run: Temporal was restored to an older state."""
    is_finished = row.finished_at is not None and row.finished_at < utc_now() - MAX_LISTING_DELAY
    return is_finished and row.run_id == run.run_id


async def _unread(candidate: Candidate) -> RunReport:
    """Return what the list shows of an event. The index then has an open event, which is checked until it is read."""
    run, key = candidate
    progress = EventProgress(
        status="delivering",
        needs_attention=False,
        deliver_at=None,
        run_id=run.run_id,
        digest=await digest_of(run),
    )
    return RunReport(
        tenant=key.tenant,
        event_id=key.event_id,
        type=run.typed_search_attributes.get(EVENT_TYPE_KEY, ""),
        accepted_at=key.accepted_at,
        as_of=run.start_time,
        progress=progress,
        deliveries=(),
    )
