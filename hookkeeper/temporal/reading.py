"""Read a run: what it was started with, and how it stands, from history where it closed by itself."""

from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import ApplicationError

from hookkeeper import ids
from hookkeeper.messages.event import CancelledRun, EventInput, EventState, event_status
from hookkeeper.times import utc_now

UNREAD = 3
"""Events of a run of which no worker has made a step: its start, and a workflow task that waits or is under way."""
TAIL = 50
"""Events at the end of a cancelled run's history among which its final state stands."""


def is_unread(run: WorkflowExecutionDescription) -> bool:
    """Tell whether it stands as it was started, so that it need not be asked: its worker may have much to do."""
    return run.status == WorkflowExecutionStatus.RUNNING and run.history_length <= UNREAD


def as_started(event: EventInput) -> EventState:
    """Give the state of a run that no worker has begun."""
    return at_start(event, scheduled=event.deliver_at is not None and event.deliver_at > utc_now())


def at_start(event: EventInput, scheduled: bool) -> EventState:
    """Give the state that a run begins with."""
    return EventState(
        **event.model_dump(include={"id", "type", "tenant", "timestamp", "accepted_at", "deliver_at"}),
        status=event_status(event.deliveries, scheduled=scheduled),
        deliveries=event.deliveries,
    )


async def started_with(client: Client, handle: WorkflowHandle[Any, Any]) -> EventInput:
    """Give a run's input, from its first event."""
    first = await anext(handle.fetch_history_events(page_size=1))
    payloads = first.workflow_execution_started_event_attributes.input.payloads
    (event,) = await client.data_converter.decode(payloads, [EventInput])
    assert isinstance(event, EventInput)
    return event


async def state_of(
    client: Client, handle: WorkflowHandle[Any, Any], status: WorkflowExecutionStatus | None
) -> EventState:
    """Give a run's whole state.

    A run that closed by itself is read from history and needs no worker; one that is open, or was terminated, is asked.
    """
    if status == WorkflowExecutionStatus.COMPLETED:
        return EventState.model_validate(await handle.result(follow_runs=False))
    if status == WorkflowExecutionStatus.FAILED and (state := await _in_failure(handle)):
        return state
    if status == WorkflowExecutionStatus.CANCELED and (state := await _in_tail(client, handle)):
        return state
    state: EventState = await handle.query(ids.STATE, result_type=EventState)
    return state if status == WorkflowExecutionStatus.RUNNING else cut_short(state)


async def _in_failure(handle: WorkflowHandle[Any, Any]) -> EventState | None:
    try:
        await handle.result(follow_runs=False)
    except WorkflowFailureError as failure:
        cause = failure.cause
        if isinstance(cause, ApplicationError) and cause.details:
            return EventState.model_validate(cause.details[0])
    return None


async def _in_tail(client: Client, handle: WorkflowHandle[Any, Any]) -> EventState | None:
    """Find what `close_as_cancelled` was given, reading history from its end."""
    answer = await client.workflow_service.get_workflow_execution_history_reverse(
        GetWorkflowExecutionHistoryReverseRequest(
            namespace=client.namespace,
            execution=WorkflowExecution(workflow_id=handle.id, run_id=handle.run_id or ""),
            maximum_page_size=TAIL,
        )
    )
    for event in answer.history.events:
        scheduled = event.activity_task_scheduled_event_attributes
        if scheduled.activity_type.name == ids.CLOSE_AS_CANCELLED:
            (run,) = await client.data_converter.decode(scheduled.input.payloads, [CancelledRun])
            return EventState.model_validate(run.state)
    return None


def cut_short(state: EventState) -> EventState:
    """Say of a run that was ended what is true of it: what was open will not be delivered."""
    deliveries = tuple(
        each if each.is_final else each.model_copy(update={"status": "cancelled", "next_attempt_at": None})
        for each in state.deliveries
    )
    return state.model_copy(update={"deliveries": deliveries, "status": event_status(deliveries)})
