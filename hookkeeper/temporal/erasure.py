"""Erase what Temporal keeps of an event: all its runs, with data, state and log. Temporal cannot remove less.

The server deletes in the background, once its queues have noted that they are done with the run: by default every 30 s
(`history.transferProcessorUpdateAckInterval`, `history.visibilityProcessorUpdateAckInterval`). Then its database has
the rows no more; what is left of them in free pages, logs and backups of the database is the database's own affair.
"""

from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids
from hookkeeper.commands import Refused
from hookkeeper.partition import partition
from hookkeeper.temporal.reading import started_with


async def erase(client: Client, workflow_id: str) -> int:
    """Have all runs of an event and of its parts deleted, and give their number.

    Raises `Refused` while one is open, also where it was started meanwhile, and `RPCError` where there is none.
    """
    handle = client.get_workflow_handle(workflow_id)
    latest = await handle.describe()
    parts = await _parts(client, handle) if latest.workflow_type == ids.LARGE_EVENT else []
    # The event's own runs go last: while one is there, the request can be repeated.
    runs = [run for each in (*parts, workflow_id) for run in await _runs(client, each)]
    for each, run_id in (*await _firings(client, workflow_id), *runs):
        await _delete(client, each, run_id)
    again = await _latest(client, workflow_id)
    if again and again.status == WorkflowExecutionStatus.RUNNING:
        raise Refused("erased, but somebody has it delivered again meanwhile: cancel that, and erase it too")
    return len(runs)


async def _parts(client: Client, handle: WorkflowHandle[Any, Any]) -> list[str]:
    event = await started_with(client, handle)
    return [ids.part_id(event.tenant, event.id, n) for n, _ in enumerate(partition(event.deliveries), start=1)]


async def _firings(client: Client, workflow_id: str) -> list[tuple[str, str]]:
    """Give the runs by which a schedule has made the event: its data is their input. An open one is ended as well."""
    firing = ids.firing_of(*ids.event_of(workflow_id))
    if firing is None:
        return []
    return [(firing, run.run_id) async for run in client.list_workflows(f"WorkflowId = '{firing}'")]


async def _runs(client: Client, workflow_id: str) -> list[tuple[str, str]]:
    """Give all runs; raise `Refused` where one is open."""
    latest = await _latest(client, workflow_id)
    if latest and latest.status == WorkflowExecutionStatus.RUNNING:
        raise Refused("cannot erase: the event is still open, cancel it first")
    # Of each run, visibility has known since it began. The latest may be younger than what visibility knows.
    runs = {run.run_id async for run in client.list_workflows(f"WorkflowId = '{workflow_id}'")}
    return [(workflow_id, run_id) for run_id in sorted(runs | ({latest.run_id} if latest else set()))]


async def _delete(client: Client, workflow_id: str, run_id: str) -> None:
    """Have a run deleted that is closed, as all but the latest are."""
    request = DeleteWorkflowExecutionRequest(
        namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
    )
    try:
        await client.workflow_service.delete_workflow_execution(request)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:  # deleted before, and visibility has not heard of it yet
            raise


async def _latest(client: Client, workflow_id: str) -> WorkflowExecutionDescription | None:
    try:
        return await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return None
