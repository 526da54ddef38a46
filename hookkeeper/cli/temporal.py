"""Connect to Temporal from the command line."""

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from hookkeeper.cli.console import Failed
from hookkeeper.crypto.keyring import Keyring
from hookkeeper.temporal import connection


async def connect(keyring: Keyring | None = None) -> Client:
    """Connect with the settings in `TEMPORAL_…`, waiting up to a minute for the server. Raises `Failed`."""
    try:
        return await connection.connect(keyring)
    except connection.TemporalUnreachable as error:
        raise Failed(str(error)) from error
    except RuntimeError as error:
        raise Failed(f"invalid settings of Temporal (TEMPORAL_…): {error}") from error


async def is_polled(client: Client, task_queue: str) -> bool:
    """Whether a worker polls this queue for workflows."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    try:
        return len((await client.workflow_service.describe_task_queue(request)).pollers) > 0
    except RPCError:
        return False
