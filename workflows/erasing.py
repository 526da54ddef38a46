"""Erase what Temporal keeps of an event: all its runs, with data, state and log. Temporal cannot remove less.

The server deletes in the background, once its queues have noted that they are done with the run: by default every 30 s
(`history.transferProcessorUpdateAckInterval`, `history.visibilityProcessorUpdateAckInterval`). Then its database has
the rows no more; what is left of them in free pages, logs and backups of the database is the database's own affair.
"""

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from workflows.commands import Refused


async def erase(client: Client, workflow_id: str) -> int:
    """Have all runs of an event deleted, and give their number.

    Raises `Refused` while one is open, also where it was started meanwhile, and `RPCError` where there is none.
    """
    latest = await client.get_workflow_handle(workflow_id).describe()
    if latest.status == WorkflowExecutionStatus.RUNNING:
        raise Refused("cannot erase: the event is still open, cancel it first")
    # Of each run, visibility has known since it began. The latest may be younger than what visibility knows.
    runs = {run.run_id async for run in client.list_workflows(f"WorkflowId = '{workflow_id}'")} | {latest.run_id}
    for run_id in runs:
        await _delete(client, workflow_id, run_id)
    if await _is_open(client, workflow_id):
        raise Refused("erased, but somebody has it delivered again meanwhile: cancel that, and erase it too")
    return len(runs)


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


async def _is_open(client: Client, workflow_id: str) -> bool:
    try:
        return (await client.get_workflow_handle(workflow_id).describe()).status == WorkflowExecutionStatus.RUNNING
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return False
