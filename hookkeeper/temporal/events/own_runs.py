"""Read what a run of its own has of an event: from its history if it has closed by itself, which needs no worker."""

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError

from hookkeeper.messages.event import EventInput, EventState
from hookkeeper.messages.partition import parts_of
from hookkeeper.temporal.events import run_state

RUNNING = WorkflowExecutionStatus.RUNNING


async def read_own(client: Client, run: WorkflowExecutionDescription) -> tuple[EventInput, EventState]:
    """Return the event, and the state of the deliveries that the run has. Raises Temporal's `RPCError`."""
    handle = run_state.handle_of(client, run)
    event = await run_state.input_of(client, handle, EventInput)
    was_started = run.history_length > run_state.UNSTARTED_EVENTS + (run.status != RUNNING)
    if was_started:
        try:
            return event, await run_state.state_of(client, handle, run.status)
        except RPCError as error:
            if not run_state.took_no_step(error):
                raise
    state = run_state.unstarted_state(parts_of(event)[0])
    return event, state if run.status == RUNNING else run_state.cut_short(state)
