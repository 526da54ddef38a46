"""How the parts of a large event have ended, by the history of their parent.

Parts end earlier than their parent, and so are deleted earlier. Then they are read here.
"""

from typing import Any, NamedTuple

from temporalio.api.common.v1 import Memo
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle

from hookkeeper import ids, temporal_names
from hookkeeper.messages.event import EventState
from hookkeeper.temporal.run_state import state_in_details


class PartEnd(NamedTuple):
    """How the latest run of a part has ended."""

    run_number: int
    state: EventState | None
    """None if it was cancelled or terminated: only its own history had its state."""


async def ends_of_parts(client: Client, parent: WorkflowHandle[Any, Any]) -> dict[int, PartEnd]:
    """Return the ends of those parts whose run was started and has ended."""
    numbers: dict[int, int] = {}
    ends: dict[int, PartEnd] = {}
    async for event in parent.fetch_history_events():
        if event.HasField("start_child_workflow_execution_initiated_event_attributes"):
            initiated = event.start_child_workflow_execution_initiated_event_attributes
            part = ids.part_of(initiated.workflow_id)
            numbers[part] = await _number_in(client, initiated.memo)
            ends.pop(part, None)
        elif workflow_id := _ended_child(event):
            part = ids.part_of(workflow_id)
            ends[part] = PartEnd(numbers[part], await _state_of_ended_child(client, event))
    return ends


async def _number_in(client: Client, memo: Memo) -> int:
    if temporal_names.RUN_NUMBER not in memo.fields:
        return 1
    (number,) = await client.data_converter.decode([memo.fields[temporal_names.RUN_NUMBER]], [int])
    return int(number)


def _ended_child(event: HistoryEvent) -> str | None:
    """Return the workflow id of the part whose end this is."""
    ends = (
        event.child_workflow_execution_completed_event_attributes,
        event.child_workflow_execution_failed_event_attributes,
        event.child_workflow_execution_canceled_event_attributes,
        event.child_workflow_execution_terminated_event_attributes,
        event.child_workflow_execution_timed_out_event_attributes,
    )
    return next((end.workflow_execution.workflow_id for end in ends if end.workflow_execution.workflow_id), None)


async def _state_of_ended_child(client: Client, event: HistoryEvent) -> EventState | None:
    if result := event.child_workflow_execution_completed_event_attributes.result.payloads:
        (state,) = await client.data_converter.decode(result, [EventState])
        return EventState.model_validate(state)
    failure = event.child_workflow_execution_failed_event_attributes.failure
    return state_in_details(await client.data_converter.decode_failure(failure))
