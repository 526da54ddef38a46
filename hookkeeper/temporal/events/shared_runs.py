"""Shared runs: start one, find it, and read the state in which it has left the event.

The id of a shared run is chosen before it is started, and written into the rows of its events. A run that closed by
itself, or that no worker has started, is read from history, which needs no worker.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from hookkeeper import task_queues, temporal_names
from hookkeeper.messages import Message
from hookkeeper.messages.event import EventInput, EventState
from hookkeeper.messages.shared_run import SharedRunInput
from hookkeeper.search_attributes import shared_search_attributes, shared_summary
from hookkeeper.temporal.events.run_state import (
    cut_short,
    find_own_run,
    find_run,
    handle_of,
    initial_state,
    input_of,
    is_unstarted,
    took_no_step,
)
from hookkeeper.temporal.server.error_translation import not_found_suppressed
from hookkeeper.temporal.server.visibility import in_queue, quoted, read_all, with_tenant

UNSTARTED_EVENTS_AT_END = 4
"""Events in the history of a run that was terminated before a worker started it."""
Decoded = dict[str, Any]
"""An event or a state, which is validated only when it is needed: a run has up to fifty."""


class _Decoded(Message):
    """A `SharedRunInput` or a `SharedRunResult`."""

    events: tuple[Decoded, ...] = ()
    finished: tuple[Decoded, ...] = ()


@dataclass(frozen=True, slots=True)
class SharedRun:
    """A shared run and its input."""

    handle: WorkflowHandle[Any, Any]
    description: WorkflowExecutionDescription
    input: _Decoded

    @property
    def id(self) -> str:
        return self.description.id

    @property
    def run_id(self) -> str:
        return self.description.run_id

    @property
    def events(self) -> tuple[EventInput, ...]:
        return tuple(map(EventInput.model_validate, self.input.events))

    @property
    def is_open(self) -> bool:
        """Its events may still change. Those of a run that replaces another one do not."""
        return self.description.status == WorkflowExecutionStatus.RUNNING and not self.input.finished

    def event(self, tenant: str, event_id: str) -> EventInput | None:
        """Return an event of the run; None if the run lacks it."""
        found = _of_event(self.input.events, tenant, event_id)
        return EventInput.model_validate(found) if found else None


async def start_shared_run(client: Client, task_queue: str, workflow_id: str, run: SharedRunInput) -> str | None:
    """Start a shared run, and return its run id; None if a run with this id exists. Raises Temporal's `RPCError`."""
    with suppress(WorkflowAlreadyStartedError):
        handle = await client.start_workflow(
            temporal_names.SHARED_RUN,
            run,
            id=workflow_id,
            task_queue=task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            memo={temporal_names.EVENT_COUNT: len(run.events)},
            search_attributes=shared_search_attributes(run.events),
            static_summary=shared_summary(run.events),
            priority=Priority(fairness_key=task_queues.tenant_or_several({event.tenant for event in run.events})),
            request_eager_start=True,
        )
        return handle.result_run_id
    return None


async def find_shared_run(client: Client, workflow_id: str) -> SharedRun | None:
    """Return the shared run with this id; None if there is none. Raises Temporal's `RPCError`."""
    description = await find_run(client, workflow_id)
    if description is None or description.workflow_type != temporal_names.SHARED_RUN:
        return None
    handle = handle_of(client, description)
    with not_found_suppressed():  # deleted meanwhile
        return SharedRun(handle, description, await input_of(client, handle, _Decoded))
    return None


async def listed_runs(client: Client, task_queue: str, tenant: str, event_id: str) -> list[SharedRun]:
    """Return the shared runs with this event that Temporal lists, the latest first: usually one.

    One that was replaced when an event of it was erased is listed until it is deleted.
    """
    is_ours = f"WorkflowType = {quoted(temporal_names.SHARED_RUN)} AND {in_queue(task_queue)}"
    query = f"{temporal_names.EVENTS} = {quoted(event_id)} AND {is_ours} AND {with_tenant(tenant)}"
    found = [await find_shared_run(client, listed.id) async for listed in client.list_workflows(query)]
    return [run for run in found if run is not None and run.event(tenant, event_id)]


async def state_of(run: SharedRun, event: EventInput) -> EventState | None:
    """Return the state of an event of the run; None if the event continues in a run of its own.

    A run that has started and is open, or was terminated, is queried, which needs a worker.
    """
    if (finished := await _finished_in(run)) is not None:
        return _state_in(finished, event)
    if is_unstarted(run.description):
        return first_state(event)
    if run.is_open:
        return await _queried_state(run, event)
    if run.description.history_length <= UNSTARTED_EVENTS_AT_END:
        return cut_short(first_state(event))
    try:
        state = await _queried_state(run, event)
    except RPCError as error:
        if not took_no_step(error):
            raise
        state = first_state(event)
    return cut_short(state) if state else None


def first_state(event: EventInput) -> EventState:
    """Return the first state of an event; those of shared runs have no `deliver_at`."""
    return initial_state(event, scheduled=False)


async def final_states(client: Client, run: SharedRun, events: Sequence[EventInput]) -> dict[str, EventState | None]:
    """Return the states of events of a closed run, by their workflow ids; None for those that have a run of their own.

    Events that a terminated run has left unfinished have ended with it.
    """
    if (finished := await _finished_in(run)) is not None:
        return {event.workflow_id: _state_in(finished, event) for event in events}

    async def read(event: EventInput) -> EventState | None:
        if await find_own_run(client, event.tenant, event.id, event.accepted_at):
            return None
        if (state := await state_of(run, event)) is None:
            return None
        return state.model_copy(update={"finished_at": state.finished_at or run.description.close_time})

    return dict(zip((event.workflow_id for event in events), await read_all(events, read), strict=True))


async def _finished_in(run: SharedRun) -> tuple[Decoded, ...] | None:
    """Return the final states of the events that the run has finished; None if it is open, or was terminated."""
    if run.input.finished:
        return run.input.finished
    if run.description.status != WorkflowExecutionStatus.COMPLETED:
        return None
    return _Decoded.model_validate(await run.handle.result(follow_runs=False)).finished


def _state_in(finished: Iterable[Decoded], event: EventInput) -> EventState | None:
    """Return the final state of an event among those of a run; None if it is not there."""
    found = _of_event(finished, event.tenant, event.id)
    return EventState.model_validate(found) if found else None


def _of_event(decoded: Iterable[Decoded], tenant: str, event_id: str) -> Decoded | None:
    return next((one for one in decoded if (one["tenant"], one["id"]) == (tenant, event_id)), None)


async def _queried_state(run: SharedRun, event: EventInput) -> EventState | None:
    state = await run.handle.query(temporal_names.STATE, event.workflow_id)
    return EventState.model_validate(state) if state else None
