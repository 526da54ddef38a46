"""Read from Temporal what the runs of an event have reported to the index, or would have: an event's latest run, the
latest run of each of its parts, and the shared run that has it.

A run that closed by itself is read from its history. An open or terminated run is queried, which needs a worker.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import to_json
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids, temporal_names
from hookkeeper.crypto.keyring import CipherError
from hookkeeper.messages.event import NEED_ATTENTION, EventInput, EventState
from hookkeeper.messages.run_report import EventProgress, RunReport
from hookkeeper.messages.shared_run import SharedEvent
from hookkeeper.partition import is_open, merged
from hookkeeper.search_attributes import key_of
from hookkeeper.temporal import event_read
from hookkeeper.temporal.event_read import LargeEventRun, Part
from hookkeeper.temporal.run_state import cut_short, find_run, handle_of, input_of, state_of, unstarted_state
from hookkeeper.temporal.shared_read import SharedRun, final_states, first_state

CLOSED_BY_THEMSELVES = (
    WorkflowExecutionStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED,
)
QUERY_TIMEOUT = 10.0
"""Seconds in which a worker has to answer."""
LAST_EVENTS = 20


class Unreadable(Exception):
    """The run cannot be read at the moment: no worker answers, or it cannot be decoded."""


class _Snapshot(NamedTuple):
    """The state of a run, and the time of the report that contains it."""

    state: EventState
    as_of: datetime
    finished_at: datetime | None


async def read_event(client: Client, run: WorkflowExecutionDescription, *, with_size: bool) -> dict[str, RunReport]:
    """Return the reports of an event's latest run, and of its parts, by workflow id.

    Raises `Unreadable`, and Temporal's `RPCError`.
    """
    with _unreadable():
        if run.workflow_type == temporal_names.LARGE_EVENT:
            return await _read_large_event(client, run)
        snapshot = await _read(client, run)
        event = await input_of(client, handle_of(client, run), EventInput) if with_size else None
        return {run.id: _report(snapshot, await _progress(run, snapshot, event))}


async def read_part(client: Client, run: WorkflowExecutionDescription) -> dict[str, RunReport]:
    """Return the report of the latest run of a part. Raises `Unreadable`, and Temporal's `RPCError`."""
    with _unreadable():
        return {run.id: _report(await _read(client, run), None, ids.part_of(run.id))}


async def read_shared_run(client: Client, run: SharedRun, events: Sequence[SharedEvent]) -> dict[str, RunReport | None]:
    """Return the reports of events of a shared run, by their keys; None for those that have a run of their own.

    While it is open, its events have their first state: a run of its own, or the end of this one, soon follows. Raises
    `Unreadable`, and Temporal's `RPCError`.
    """
    if run.is_open:
        return {key_of(shared): first_report_of(run, shared) for shared in events}
    with _unreadable():
        try:
            async with asyncio.timeout(QUERY_TIMEOUT):
                states = await final_states(client, run, events)
        except TimeoutError:
            raise Unreadable("no worker answers") from None
    return {key_of(shared): _shared_report(run, shared, states[key_of(shared)]) for shared in events}


def first_report_of(run: SharedRun, shared: SharedEvent) -> RunReport:
    """Return the report of an event of a shared run as it was accepted."""
    snapshot = _Snapshot(first_state(shared.event), run.description.start_time, None)
    return _report(snapshot, _shared_progress(run, shared, snapshot.state))


@contextmanager
def _unreadable() -> Iterator[None]:
    """Raise `Unreadable` for errors that concern one run only."""
    try:
        yield
    except (CipherError, ValidationError, WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
        raise Unreadable(str(error)) from error
    except RPCError as error:
        if error.status != RPCStatusCode.FAILED_PRECONDITION:
            raise
        raise Unreadable(error.message) from error  # a query, and no worker to answer it


async def latest_task_time(client: Client, run: WorkflowExecutionDescription) -> datetime | None:
    """Return the start of the latest workflow task that was completed, which is the time in the run's latest report;
    None if no worker has started the run.
    """
    is_completed = False
    async for event in _latest_events(client, run):
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            is_completed = True
        elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED and is_completed:
            return _time_of(event)
    return None


async def _read(client: Client, run: WorkflowExecutionDescription) -> _Snapshot:
    """Read the run of an event with its deliveries, or of a part."""
    handle = handle_of(client, run)
    if run.status in CLOSED_BY_THEMSELVES:
        state = await state_of(client, handle, run.status)
        finished_at = state.finished_at or run.close_time
        return _Snapshot(state, finished_at or run.start_time, finished_at)
    last_task = await latest_task_time(client, run)
    if last_task is None:
        state = unstarted_state(await input_of(client, handle, EventInput))
        return _unstarted(state, run)
    state = await _queried_state(client, handle, run.status)
    finished_at = state.finished_at or run.close_time
    return _Snapshot(state, finished_at or last_task, finished_at)


def _unstarted(state: EventState, run: WorkflowExecutionDescription) -> _Snapshot:
    if run.close_time:
        return _Snapshot(cut_short(state), run.close_time, run.close_time)
    return _Snapshot(state, run.start_time, None)


async def _queried_state(
    client: Client, handle: WorkflowHandle[Any, Any], status: WorkflowExecutionStatus | None
) -> EventState:
    try:
        async with asyncio.timeout(QUERY_TIMEOUT):
            return await state_of(client, handle, status)
    except (TimeoutError, RPCError) as error:
        raise Unreadable(str(error) or "no worker answers") from error


def _report(snapshot: _Snapshot, progress: EventProgress | None, part: int = 0) -> RunReport:
    state = snapshot.state
    return RunReport(
        tenant=state.tenant,
        event_id=state.id,
        type=state.type,
        accepted_at=state.accepted_at,
        as_of=snapshot.as_of,
        progress=progress,
        deliveries=state.deliveries,
        finished_at=snapshot.finished_at,
        part=part,
    )


async def _progress(run: WorkflowExecutionDescription, snapshot: _Snapshot, event: EventInput | None) -> EventProgress:
    state = snapshot.state
    return EventProgress(
        status=state.status,
        needs_attention=any(delivery.status in NEED_ATTENTION for delivery in state.deliveries),
        deliver_at=state.deliver_at,
        run_id=run.run_id,
        digest=await run.memo_value("digest", default=""),
        size=None if event is None else len(to_json(event.data)),
    )


# Shared runs


def _shared_report(run: SharedRun, shared: SharedEvent, state: EventState | None) -> RunReport | None:
    if state is None:
        return None
    finished_at = state.finished_at or run.description.close_time or run.description.start_time
    return _report(_Snapshot(state, finished_at, finished_at), _shared_progress(run, shared, state))


def _shared_progress(run: SharedRun, shared: SharedEvent, state: EventState) -> EventProgress:
    return EventProgress(
        status=state.status,
        needs_attention=any(delivery.status in NEED_ATTENTION for delivery in state.deliveries),
        deliver_at=None,
        run_id=run.run_id,
        digest=shared.digest,
        shared_run=run.id,
        size=len(to_json(shared.event.data)),
    )


# Large events


async def _read_large_event(client: Client, run: WorkflowExecutionDescription) -> dict[str, RunReport]:
    """Return the report of the event without deliveries, and those of its parts."""
    large = LargeEventRun(handle_of(client, run), run, await input_of(client, handle_of(client, run), EventInput))
    snapshots = [await _read_part_of(client, large, part) for part in await event_read.parts_of(client, large)]
    finished_at = await _closing_time(client, run) if run.close_time else None
    as_of = finished_at or await latest_task_time(client, run) or run.start_time
    state = merged(large.event, [snapshot.state for snapshot in snapshots], finished_at)
    snapshot = _Snapshot(state, as_of, finished_at)
    own = _report(snapshot, await _progress(run, snapshot, large.event))._replace(deliveries=())
    of_parts = {f"{run.id}.{n}": _report(snapshot, None, n) for n, snapshot in enumerate(snapshots, start=1)}
    return {run.id: own, **of_parts}


async def _read_part_of(client: Client, large: LargeEventRun, part: Part) -> _Snapshot:
    """Read a part in its latest run, also if that was under an earlier run of the event and all was final there."""
    if part.final_state is None and (part.handle or not is_open(part.event.deliveries)):
        run = await find_run(client, ids.part_id(part.event.tenant, part.event.id, part.n))
        if run is not None:
            return await _read(client, run)
    state = part.final_state or unstarted_state(part.event)
    if large.description.close_time:
        state = cut_short(state)
    finished_at = state.finished_at or large.description.close_time
    return _Snapshot(state, finished_at or large.description.start_time, finished_at)


async def _closing_time(client: Client, run: WorkflowExecutionDescription) -> datetime | None:
    """Return the start of the workflow task in which a large event's run has decided to close, as it has reported."""
    if run.status not in CLOSED_BY_THEMSELVES:
        return run.close_time
    time: datetime | None = None
    count = 0
    async for event in _latest_events(client, run):
        count += 1
        if count > LAST_EVENTS and time:
            break
        if event.activity_task_scheduled_event_attributes.activity_type.name == temporal_names.CLOSE_AS_CANCELLED:
            time = None  # it was decided before that
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED and time is None:
            time = _time_of(event)
    return time or run.close_time


# Histories


async def _latest_events(client: Client, run: WorkflowExecutionDescription) -> AsyncIterator[HistoryEvent]:
    """Iterate over the history of a run from its end."""
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=client.namespace,
        execution=WorkflowExecution(workflow_id=run.id, run_id=run.run_id),
        maximum_page_size=LAST_EVENTS,
    )
    while True:
        answer = await client.workflow_service.get_workflow_execution_history_reverse(request)
        for event in answer.history.events:
            yield event
        request.next_page_token = answer.next_page_token
        if not request.next_page_token:
            return


def _time_of(event: HistoryEvent) -> datetime:
    """Return the time as `workflow.now()` rounds it: a row made from it equals that of the run's own report."""
    return datetime.fromtimestamp(event.event_time.ToNanoseconds() / 1e9, UTC)
