"""Read an event of a shared run: what was accepted, and the state in which the shared run has left it.

A run that closed by itself, or that no worker has started, is read from history, which needs no worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowHandle

from hookkeeper import ids, temporal_names
from hookkeeper.messages.event import EventInput, EventState
from hookkeeper.messages.shared_run import SharedEvent, SharedRunInput, SharedRunResult
from hookkeeper.temporal.error_translation import not_found_suppressed
from hookkeeper.temporal.run_state import (
    UNSTARTED_EVENTS,
    cut_short,
    find_own_run,
    find_run,
    handle_of,
    initial_state,
    input_of,
    is_unstarted,
)
from hookkeeper.temporal.visibility import of_tenant, quoted, read_all


@dataclass(frozen=True, slots=True)
class SharedRun:
    """A shared run and its input."""

    handle: WorkflowHandle[Any, Any]
    description: WorkflowExecutionDescription
    input: SharedRunInput

    @property
    def id(self) -> str:
        return self.description.id

    @property
    def run_id(self) -> str:
        return self.description.run_id

    @property
    def events(self) -> tuple[SharedEvent, ...]:
        return self.input.events

    @property
    def is_open(self) -> bool:
        """Its events may still change. Those of a run that replaces another one do not."""
        return self.description.status == WorkflowExecutionStatus.RUNNING and not self.input.finished

    def event(self, tenant: str, event_id: str) -> SharedEvent | None:
        """Return an event of the run; None if the run lacks it."""
        key = ids.workflow_id(tenant, event_id)
        return next((shared for shared in self.events if shared.key == key), None)


async def find_shared_run(client: Client, workflow_id: str) -> SharedRun | None:
    """Return the shared run with this id; None if there is none. Raises Temporal's `RPCError`."""
    description = await find_run(client, workflow_id)
    if description is None or description.workflow_type != temporal_names.SHARED_RUN:
        return None
    handle = handle_of(client, description)
    with not_found_suppressed():  # deleted meanwhile
        return SharedRun(handle, description, await input_of(client, handle, SharedRunInput))
    return None


async def listed_runs(client: Client, tenant: str, event_id: str) -> list[SharedRun]:
    """Return the shared runs with this event that Temporal lists, the latest first: usually one.

    One that was replaced when an event of it was erased is listed until it is deleted.
    """
    is_shared = f"WorkflowType = {quoted(temporal_names.SHARED_RUN)} AND {of_tenant(tenant)}"
    query = f"{temporal_names.EVENTS} = {quoted(event_id)} AND {is_shared}"
    found = [await find_shared_run(client, listed.id) async for listed in client.list_workflows(query)]
    return [run for run in found if run is not None and run.event(tenant, event_id)]


async def state_of(run: SharedRun, event: EventInput) -> EventState | None:
    """Return the state of an event of the run; None if the event continues in a run of its own.

    A run that has started and is open, or was terminated, is queried, which needs a worker.
    """
    if (finished := await finished_in(run)) is not None:
        return state_in(finished, event)
    if is_unstarted(run.description):
        return first_state(event)
    if run.is_open:
        return await _queried_state(run, event)
    if run.description.history_length <= UNSTARTED_EVENTS + 1:
        return cut_short(first_state(event))
    return cut_short(await _queried_state(run, event))


def first_state(event: EventInput) -> EventState:
    """Return the first state of an event; those of shared runs have no `deliver_at`."""
    return initial_state(event, scheduled=False)


async def final_states(client: Client, run: SharedRun, events: Sequence[SharedEvent]) -> dict[str, EventState | None]:
    """Return the states of events of a closed run, by their keys; None for those that have a run of their own.

    Events that a terminated run has left unfinished have ended with it.
    """
    if (finished := await finished_in(run)) is not None:
        return {shared.key: state_in(finished, shared.event) for shared in events}

    async def read(shared: SharedEvent) -> EventState | None:
        event = shared.event
        if await find_own_run(client, event.tenant, event.id, event.accepted_at):
            return None
        if (state := await state_of(run, event)) is None:
            return None
        return state.model_copy(update={"finished_at": state.finished_at or run.description.close_time})

    return dict(zip((shared.key for shared in events), await read_all(events, read), strict=True))


async def finished_in(run: SharedRun) -> tuple[EventState, ...] | None:
    """Return the final states of the events that the run has finished; None if it is open, or was terminated."""
    if run.input.finished:
        return run.input.finished
    if run.description.status != WorkflowExecutionStatus.COMPLETED:
        return None
    return SharedRunResult.model_validate(await run.handle.result(follow_runs=False)).finished


def state_in(finished: tuple[EventState, ...], event: EventInput) -> EventState | None:
    """Return the final state of an event among those of a run; None if it is not there."""
    return next((state for state in finished if (state.tenant, state.id) == (event.tenant, event.id)), None)


async def _queried_state(run: SharedRun, event: EventInput) -> EventState:
    key = ids.workflow_id(event.tenant, event.id)
    return EventState.model_validate(await run.handle.query(temporal_names.STATE, key, result_type=EventState))
