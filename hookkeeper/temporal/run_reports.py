"""Read from Temporal what the runs of an event have recorded in its rows, or would have: an event's latest run, the
latest run of each of its parts, and the shared run that has it.
"""

from collections.abc import Sequence

from pydantic_core import to_json
from temporalio.client import Client, WorkflowExecutionDescription

from hookkeeper import ids, temporal_names
from hookkeeper.messages.event import EventInput, EventState
from hookkeeper.messages.run_report import EventProgress, RunReport, progress_of, report_of
from hookkeeper.partition import merged
from hookkeeper.temporal import event_read
from hookkeeper.temporal.event_read import LargeEventRun
from hookkeeper.temporal.run_snapshots import (
    Snapshot,
    query_timeout,
    raising_unreadable,
    read_part_snapshot,
    read_snapshot,
)
from hookkeeper.temporal.run_state import digest_of, handle_of, input_of
from hookkeeper.temporal.shared_runs import SharedRun, final_states, first_state
from hookkeeper.temporal.task_times import closing_time, latest_task_time


async def read_event(client: Client, run: WorkflowExecutionDescription, *, with_size: bool) -> dict[str, RunReport]:
    """Return the reports of an event's latest run, and of its parts, by workflow id.

    Raises `Unreadable`, and Temporal's `RPCError`.
    """
    with raising_unreadable():
        if run.workflow_type == temporal_names.LARGE_EVENT:
            return await _read_large_event(client, run)
        snapshot = await read_snapshot(client, run)
        event = await input_of(client, handle_of(client, run), EventInput) if with_size else None
        return {run.id: _report(snapshot, await _progress(run, snapshot, event))}


async def read_part(client: Client, run: WorkflowExecutionDescription) -> dict[str, RunReport]:
    """Return the report of the latest run of a part. Raises `Unreadable`, and Temporal's `RPCError`."""
    with raising_unreadable():
        return {run.id: _report(await read_snapshot(client, run), None, ids.part_of(run.id))}


async def read_shared_run(client: Client, run: SharedRun, events: Sequence[EventInput]) -> dict[str, RunReport | None]:
    """Return the reports of events of a shared run, by their keys; None for those that have a run of their own.

    While it is open, its events have their first state: a run of its own, or the end of this one, soon follows. Raises
    `Unreadable`, and Temporal's `RPCError`.
    """
    if run.is_open:
        return {event.workflow_id: first_report_of(run, event) for event in events}
    with raising_unreadable():
        async with query_timeout():
            states = await final_states(client, run, events)
    return {event.workflow_id: _shared_report(run, event, states[event.workflow_id]) for event in events}


def first_report_of(run: SharedRun, event: EventInput) -> RunReport:
    """Return the report of an event of a shared run as it was accepted."""
    state = first_state(event)
    return report_of(state, _shared_progress(run, event, state), run.description.start_time)


def _report(snapshot: Snapshot, progress: EventProgress | None, part: int = 0) -> RunReport:
    return report_of(snapshot.state, progress, snapshot.as_of, snapshot.finished_at, part)


async def _progress(run: WorkflowExecutionDescription, snapshot: Snapshot, event: EventInput | None) -> EventProgress:
    size = None if event is None else len(to_json(event.data))
    return progress_of(snapshot.state, run.run_id, await digest_of(run), size=size)


# Shared runs


def _shared_report(run: SharedRun, event: EventInput, state: EventState | None) -> RunReport | None:
    if state is None:
        return None
    finished_at = state.finished_at or run.description.close_time or run.description.start_time
    return report_of(state, _shared_progress(run, event, state), finished_at, finished_at)


def _shared_progress(run: SharedRun, event: EventInput, state: EventState) -> EventProgress:
    size = len(to_json(event.data))
    return progress_of(state, run.run_id, event.digest, shared_run=run.id, size=size)


# Large events


async def _read_large_event(client: Client, run: WorkflowExecutionDescription) -> dict[str, RunReport]:
    """Return the report of the event without deliveries, and those of its parts."""
    large = LargeEventRun(handle_of(client, run), run, await input_of(client, handle_of(client, run), EventInput))
    snapshots = [await read_part_snapshot(client, large, part) for part in await event_read.parts_of(client, large)]
    finished_at = await closing_time(client, run) if run.close_time else None
    as_of = finished_at or await latest_task_time(client, run) or run.start_time
    state = merged(large.event, [snapshot.state for snapshot in snapshots], finished_at)
    snapshot = Snapshot(state, as_of, finished_at)
    own = _report(snapshot, await _progress(run, snapshot, large.event))._replace(deliveries=())
    of_parts = {f"{run.id}.{n}": _report(snapshot, None, n) for n, snapshot in enumerate(snapshots, start=1)}
    return {run.id: own, **of_parts}
