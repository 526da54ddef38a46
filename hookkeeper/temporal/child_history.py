"""How the parts of an event have ended, as the history of the event's run has it.

It is asked where the runs of parts are gone: what ends earlier is deleted earlier, and an event can be open for months
while a delivery is held.
"""

from typing import Any, NamedTuple

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle
from temporalio.converter import decode_typed_search_attributes
from temporalio.exceptions import ApplicationError

from hookkeeper import ids
from hookkeeper.messages.event import EventState


class End(NamedTuple):
    """How a part's latest run has ended."""

    number: int
    """Of the run."""
    state: EventState | None
    """None where it was cancelled or terminated: its own history alone had its state."""


async def ends_of_parts(client: Client, handle: WorkflowHandle[Any, Any]) -> dict[int, End]:
    """Give the ends of those parts whose run was started, and is over."""
    numbers: dict[int, int] = {}
    ends: dict[int, End] = {}
    async for event in handle.fetch_history_events():
        if event.HasField("start_child_workflow_execution_initiated_event_attributes"):
            initiated = event.start_child_workflow_execution_initiated_event_attributes
            attributes = decode_typed_search_attributes(initiated.search_attributes)
            part = ids.part_of(initiated.workflow_id)
            numbers[part] = attributes.get(ids.RUN_NUMBER, 1)
            ends.pop(part, None)
        elif workflow_id := _ended(event):
            part = ids.part_of(workflow_id)
            ends[part] = End(numbers[part], await _state(client, event))
    return ends


def _ended(event: HistoryEvent) -> str | None:
    """Give the workflow id of the part whose end this is."""
    ends = (
        event.child_workflow_execution_completed_event_attributes,
        event.child_workflow_execution_failed_event_attributes,
        event.child_workflow_execution_canceled_event_attributes,
        event.child_workflow_execution_terminated_event_attributes,
        event.child_workflow_execution_timed_out_event_attributes,
    )
    return next((end.workflow_execution.workflow_id for end in ends if end.workflow_execution.workflow_id), None)


async def _state(client: Client, event: HistoryEvent) -> EventState | None:
    """Give the final state that came with the end."""
    if result := event.child_workflow_execution_completed_event_attributes.result.payloads:
        (state,) = await client.data_converter.decode(result, [EventState])
        return EventState.model_validate(state)
    failure = event.child_workflow_execution_failed_event_attributes.failure
    cause = await client.data_converter.decode_failure(failure)
    if isinstance(cause, ApplicationError) and cause.details:
        return EventState.model_validate(cause.details[0])
    return None
