"""Times of a run's latest workflow tasks, read from the end of its history: they are the times of its reports."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus

CLOSED_BY_THEMSELVES = (
    WorkflowExecutionStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED,
)
LAST_EVENTS = 20


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
