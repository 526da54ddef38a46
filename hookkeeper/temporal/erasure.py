"""Delete all that Temporal stores of an event: all its runs, with data, state and history.

The server deletes in the background, once its queues have recorded that they are done with the run: by default every
30 s (`history.transferProcessorUpdateAckInterval`, `history.visibilityProcessorUpdateAckInterval`). Remains in free
pages, logs and backups of the server's database are the responsibility of that database.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from hookkeeper import ids
from hookkeeper.commands import Refused
from hookkeeper.messages.event import EventInput
from hookkeeper.partition import partition
from hookkeeper.temporal.error_translation import not_found_suppressed
from hookkeeper.temporal.run_state import find_run, input_of


@dataclass(frozen=True, slots=True)
class ClosedEvent:
    """All that Temporal stores of an event whose runs are closed."""

    workflow_id: str
    accepted_at: datetime
    runs: list[tuple[str, str]]
    """Workflow id and run id of each run. The event's own are last: while one exists, the request can be repeated."""


async def find(client: Client, workflow_id: str) -> ClosedEvent:
    """Return all runs of an event. Raises `Refused` if one is open, and `RPCError` if there is none."""
    handle = client.get_workflow_handle(workflow_id)
    latest = await handle.describe()
    parts = await _parts(client, handle) if latest.workflow_type == ids.LARGE_EVENT else []
    runs = [run for id_ in (*parts, workflow_id) for run in await _runs(client, id_)]
    accepted_at = await latest.memo_value("accepted_at", default=latest.start_time, type_hint=datetime)
    return ClosedEvent(workflow_id, accepted_at, runs)


async def erase(client: Client, event: ClosedEvent) -> int:
    """Delete all runs of an event, and return their number. Raises `Refused` if one was started meanwhile."""
    for id_, run_id in (*await _firings(client, event.workflow_id), *event.runs):
        await _delete(client, id_, run_id)
    newest = await find_run(client, event.workflow_id)
    if newest and newest.status == WorkflowExecutionStatus.RUNNING:
        raise Refused("erased, but a redelivery has started meanwhile: cancel and erase it too")
    return len(event.runs)


async def _parts(client: Client, handle: WorkflowHandle[Any, Any]) -> list[str]:
    event = await input_of(client, handle, EventInput)
    return [ids.part_id(event.tenant, event.id, n) for n, _ in enumerate(partition(event.deliveries), start=1)]


async def _firings(client: Client, workflow_id: str) -> list[tuple[str, str]]:
    """Return the runs by which a schedule made the event: their input has its data. Open ones are deleted too."""
    firing = ids.firing_of(*ids.event_of(workflow_id))
    if firing is None:
        return []
    return [(firing, run.run_id) async for run in client.list_workflows(f"WorkflowId = '{firing}'")]


async def _runs(client: Client, workflow_id: str) -> list[tuple[str, str]]:
    """Return all runs; raise `Refused` if one is open."""
    latest = await find_run(client, workflow_id)
    if latest and latest.status == WorkflowExecutionStatus.RUNNING:
        raise Refused("cannot erase: the event is still open, cancel it first")
    # Visibility lags behind: it may not list the latest run yet.
    runs = {run.run_id async for run in client.list_workflows(f"WorkflowId = '{workflow_id}'")}
    return [(workflow_id, run_id) for run_id in sorted(runs | ({latest.run_id} if latest else set()))]


async def _delete(client: Client, workflow_id: str, run_id: str) -> None:
    request = DeleteWorkflowExecutionRequest(
        namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
    )
    with not_found_suppressed():  # visibility still lists runs that are deleted
        await client.workflow_service.delete_workflow_execution(request)
