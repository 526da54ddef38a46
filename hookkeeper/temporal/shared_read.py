"""Read an event of a shared run: what was accepted, and the state in which the shared run has left it.

A run that closed by itself, or that no worker has started, is read from history, which needs no worker.
"""

from dataclasses import dataclass
from typing import Any

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowHandle

from hookkeeper import ids
from hookkeeper.messages.event import EventInput, EventState
from hookkeeper.messages.shared_run import SharedEvent, SharedRunInput, SharedRunResult
from hookkeeper.temporal.error_translation import not_found_suppressed
from hookkeeper.temporal.run_state import cut_short, find_run, initial_state, input_of, is_unstarted

UNSTARTED_EVENTS_AT_END = 4
"""Events in the history of a run that was terminated before a worker started it."""


@dataclass(frozen=True, slots=True)
class SharedRun:
    """A shared run and its events."""

    handle: WorkflowHandle[Any, Any]
    description: WorkflowExecutionDescription
    events: tuple[SharedEvent, ...]

    @property
    def id(self) -> str:
        return self.description.id

    @property
    def run_id(self) -> str:
        return self.description.run_id

    @property
    def is_open(self) -> bool:
        return self.description.status == WorkflowExecutionStatus.RUNNING

    def event(self, tenant: str, event_id: str) -> SharedEvent | None:
        """Return an event of the run; None if the run lacks it."""
        key = ids.workflow_id(tenant, event_id)
        return next((shared for shared in self.events if shared.key == key), None)


async def find_shared_run(client: Client, workflow_id: str) -> SharedRun | None:
    """Return the shared run with this id; None if there is none. Raises Temporal's `RPCError`."""
    description = await find_run(client, workflow_id)
    if description is None or description.workflow_type != ids.SHARED_RUN:
        return None
    handle = client.get_workflow_handle(workflow_id, run_id=description.run_id)
    with not_found_suppressed():  # deleted meanwhile
        return SharedRun(handle, description, (await input_of(client, handle, SharedRunInput)).events)
    return None


async def state_of(run: SharedRun, event: EventInput) -> EventState | None:
    """Return the state of an event of the run; None if the event continues in a run of its own.

    A run that has started and is open, or was terminated, is queried, which needs a worker.
    """
    if run.description.status == WorkflowExecutionStatus.COMPLETED:
        return state_in(await result_of(run), event)
    if is_unstarted(run.description):
        return first_state(event)
    if run.is_open:
        return await _queried(run, event)
    if run.description.history_length <= UNSTARTED_EVENTS_AT_END:
        return cut_short(first_state(event))
    return cut_short(await _queried(run, event))


def first_state(event: EventInput) -> EventState:
    """Return the first state of an event; those of shared runs have no `deliver_at`."""
    return initial_state(event, scheduled=False)


async def result_of(run: SharedRun) -> SharedRunResult:
    """Return the result of a run that has completed."""
    return SharedRunResult.model_validate(await run.handle.result(follow_runs=False))


def state_in(result: SharedRunResult, event: EventInput) -> EventState | None:
    """Return the final state of an event; None if it continues in a run of its own."""
    return next((state for state in result.finished if (state.tenant, state.id) == (event.tenant, event.id)), None)


async def _queried(run: SharedRun, event: EventInput) -> EventState:
    key = ids.workflow_id(event.tenant, event.id)
    return EventState.model_validate(await run.handle.query(ids.STATE, key, result_type=EventState))
