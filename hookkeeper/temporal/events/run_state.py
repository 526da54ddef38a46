"""Read a run: its input, and its state, which is in its history once the run has closed by itself."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from temporalio.api.common.v1 import WorkflowExecution as Execution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids, temporal_names
from hookkeeper.messages.event import CancelledRun, EventInput, EventState, event_state, event_status
from hookkeeper.temporal.server.error_translation import not_found_suppressed
from hookkeeper.times import utc_now

Input = TypeVar("Input")
UNSTARTED_EVENTS = 3
"""Events in the history of a run that no worker has started: its start, and a workflow task."""
LAST_EVENTS = 50
"""Events at the end of a history that contain the final state of a cancelled run, or the latest workflow task."""


async def find_run(client: Client, workflow_id: str) -> WorkflowExecutionDescription | None:
    """Return the latest run with this id; None if there is none. Raises Temporal's `RPCError`."""
    with not_found_suppressed():
        return await client.get_workflow_handle(workflow_id).describe()
    return None


async def find_own_run(
    client: Client, tenant: str, event_id: str, accepted_at: datetime
) -> WorkflowExecutionDescription | None:
    """Return the latest run of its own of an event, not of an earlier one with its id; None if there is none.

    Raises Temporal's `RPCError`.
    """
    run = await find_run(client, ids.workflow_id(tenant, event_id))
    if run and await accepted_at_of(run) >= accepted_at:
        return run
    return await find_run(client, ids.run_apart(tenant, event_id, accepted_at))


def handle_of(client: Client, run: WorkflowExecution) -> WorkflowHandle[Any, Any]:
    """Return the handle of this run, not of a later one with the same workflow id."""
    return client.get_workflow_handle(run.id, run_id=run.run_id)


async def digest_of(run: WorkflowExecution) -> str:
    """Return the digest of the run's event; empty if the run was started with Temporal's own tools."""
    digest: str = await run.memo_value(temporal_names.DIGEST, default="")
    return digest


async def accepted_at_of(run: WorkflowExecution) -> datetime:
    """Return when the run's event was accepted; the start of a run that was started with Temporal's own tools."""
    return await run.memo_value(temporal_names.ACCEPTED_AT, default=run.start_time, type_hint=datetime)


async def number_of(run: WorkflowExecutionDescription) -> int:
    """Return the number of a run: 2 is the first redelivery."""
    number: int = await run.memo_value(temporal_names.RUN_NUMBER, default=1)
    return number


def is_unstarted(run: WorkflowExecutionDescription) -> bool:
    """Return whether no worker has started the run. It need not be queried then: a busy worker would answer late."""
    return run.status == WorkflowExecutionStatus.RUNNING and run.history_length <= UNSTARTED_EVENTS


def took_no_step(error: RPCError) -> bool:
    """Return whether a run could not be queried because it was terminated before a worker took its first step."""
    return error.status == RPCStatusCode.FAILED_PRECONDITION and "closed before WorkflowTaskStarted" in error.message


def is_deciding(run: WorkflowExecutionDescription) -> bool:
    """Return whether the run waits for a worker to take its next step."""
    return run.status == WorkflowExecutionStatus.RUNNING and run.raw_description.HasField("pending_workflow_task")


def unstarted_state(event: EventInput) -> EventState:
    """Return the state of a run that no worker has started."""
    return initial_state(event, scheduled=event.deliver_at is not None and event.deliver_at > utc_now())


def initial_state(event: EventInput, scheduled: bool) -> EventState:
    """Return the first state of a run."""
    return event_state(event, event.deliveries, deliver_at=event.deliver_at, scheduled=scheduled)


async def input_of(client: Client, handle: WorkflowHandle[Any, Any], type_: type[Input]) -> Input:
    """Return a run's input, from the first event of its history."""
    first = await anext(handle.fetch_history_events(page_size=1))
    payloads = first.workflow_execution_started_event_attributes.input.payloads
    (decoded,) = await client.data_converter.decode(payloads, [type_])
    assert isinstance(decoded, type_)
    return decoded


async def state_of(
    client: Client, handle: WorkflowHandle[Any, Any], status: WorkflowExecutionStatus | None
) -> EventState:
    """Return a run's state.

    A run that closed by itself is read from history, which needs no worker. An open or terminated run is queried.
    """
    if status == WorkflowExecutionStatus.COMPLETED:
        return EventState.model_validate(await handle.result(follow_runs=False))
    if status == WorkflowExecutionStatus.FAILED and (state := await _state_in_failure(handle)):
        return state
    if status == WorkflowExecutionStatus.CANCELED and (state := await _state_at_end(client, handle)):
        return state
    state = await handle.query(temporal_names.STATE, result_type=EventState)
    return state if status == WorkflowExecutionStatus.RUNNING else cut_short(state)


def cut_short(state: EventState) -> EventState:
    """Return the state of a run that was terminated: its open deliveries are cancelled."""
    deliveries = tuple(
        delivery if delivery.is_final else delivery.model_copy(update={"status": "cancelled", "next_attempt_at": None})
        for delivery in state.deliveries
    )
    return state.model_copy(update={"deliveries": deliveries, "status": event_status(deliveries)})


async def _state_in_failure(handle: WorkflowHandle[Any, Any]) -> EventState | None:
    try:
        await handle.result(follow_runs=False)
    except WorkflowFailureError as failure:
        return state_in_details(failure.cause)
    return None


def state_in_details(error: BaseException | None) -> EventState | None:
    """Return the state that a failure keeps, if it is that of a run."""
    if isinstance(error, ApplicationError) and error.details:
        return EventState.model_validate(error.details[0])
    return None


async def task_failure(client: Client, run: WorkflowExecutionDescription) -> str | None:
    """Return why the latest workflow task of a run failed; None if it succeeded or timed out."""
    for event in await _last_events(client, run.id, run.run_id):
        if event.event_type in (
            EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
            EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
        ):
            return None
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            failure = event.workflow_task_failed_event_attributes.failure
            return str(await client.data_converter.decode_failure(failure))
    return None


async def _state_at_end(client: Client, handle: WorkflowHandle[Any, Any]) -> EventState | None:
    """Find the input of `close_as_cancelled`, reading history from its end."""
    for event in await _last_events(client, handle.id, handle.run_id or ""):
        scheduled = event.activity_task_scheduled_event_attributes
        if scheduled.activity_type.name == temporal_names.CLOSE_AS_CANCELLED:
            (run,) = await client.data_converter.decode(scheduled.input.payloads, [CancelledRun])
            return EventState.model_validate(run.state)
    return None


async def _last_events(client: Client, workflow_id: str, run_id: str) -> Sequence[HistoryEvent]:
    """Return the last events of a history, the latest first."""
    answer = await client.workflow_service.get_workflow_execution_history_reverse(
        GetWorkflowExecutionHistoryReverseRequest(
            namespace=client.namespace,
            execution=Execution(workflow_id=workflow_id, run_id=run_id),
            maximum_page_size=LAST_EVENTS,
        )
    )
    return answer.history.events
