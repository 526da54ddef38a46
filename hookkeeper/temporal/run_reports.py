"""Read from Temporal what the runs of an event have recorded in its rows, or would have: its latest run, that of a
sibling, and the shared run that has it.
"""

from collections.abc import Sequence

from pydantic_core import to_json
from temporalio.client import Client, WorkflowExecutionDescription

from hookkeeper import ids
from hookkeeper.messages.event import EventInput, EventState
from hookkeeper.messages.run_report import EventProgress, RunReport, progress_of, report_of
from hookkeeper.messages.shared_run import SharedEvent
from hookkeeper.partition import parts_of
from hookkeeper.temporal.run_snapshots import query_timeout, raising_unreadable, read_snapshot
from hookkeeper.temporal.run_state import digest_of, handle_of, input_of
from hookkeeper.temporal.shared_read import SharedRun, final_states, first_state


async def read_event(client: Client, run: WorkflowExecutionDescription, *, with_input: bool) -> RunReport:
    """Return the report of the latest run of an event, or of one of its siblings.

    Without its input, the report lacks the size of the event's data, and the number of siblings: the row has them.
    Raises `Unreadable`, and Temporal's `RPCError`.
    """
    with raising_unreadable():
        snapshot = await read_snapshot(client, run)
        event = await input_of(client, handle_of(client, run), EventInput) if with_input else None
        size = None if event is None else len(to_json(event.data))
        progress = progress_of(snapshot.state, run.run_id, await digest_of(run), size=size)
        parts = 1 if event is None else parts_of(event)[0].parts
        part = ids.part_of(run.id)
        return report_of(snapshot.state, progress, snapshot.as_of, snapshot.finished_at, part, parts)


async def read_shared_run(client: Client, run: SharedRun, events: Sequence[SharedEvent]) -> dict[str, RunReport | None]:
    """Return the reports of events of a shared run, by their keys; None for those that have a run of their own.

    While it is open, its events have their first state: a run of its own, or the end of this one, soon follows. Raises
    `Unreadable`, and Temporal's `RPCError`.
    """
    if run.is_open:
        return {shared.key: first_report_of(run, shared) for shared in events}
    with raising_unreadable():
        async with query_timeout():
            states = await final_states(client, run, events)
    return {shared.key: _shared_report(run, shared, states[shared.key]) for shared in events}


def first_report_of(run: SharedRun, shared: SharedEvent) -> RunReport:
    """Return the report of an event of a shared run as it was accepted."""
    state = first_state(shared.event)
    return report_of(state, _shared_progress(run, shared, state), run.description.start_time)


def _shared_report(run: SharedRun, shared: SharedEvent, state: EventState | None) -> RunReport | None:
    if state is None:
        return None
    finished_at = state.finished_at or run.description.close_time or run.description.start_time
    return report_of(state, _shared_progress(run, shared, state), finished_at, finished_at)


def _shared_progress(run: SharedRun, shared: SharedEvent, state: EventState) -> EventProgress:
    size = len(to_json(shared.event.data))
    return progress_of(state, run.run_id, shared.digest, shared_run=run.id, size=size)
