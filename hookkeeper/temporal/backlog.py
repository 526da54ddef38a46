"""How much waits for a worker. Temporal counts it, roughly and for nothing."""

import asyncio

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

STEPS = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
ROUNDS = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY


async def waiting(client: Client, task_queue: str) -> int:
    """Give the steps of runs and the first rounds that wait in this queue. Raises Temporal's `RPCError`."""
    return sum(await asyncio.gather(*(_waiting(client, task_queue, each) for each in (STEPS, ROUNDS))))


async def _waiting(client: Client, task_queue: str, kind: "TaskQueueType.ValueType") -> int:
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=kind,
        report_stats=True,
    )
    described = await client.workflow_service.describe_task_queue(request)
    return described.stats.approximate_backlog_count
