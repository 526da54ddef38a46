"""Temporal keeps each webhook's rate: the limited queue lets one task a second of each fairness key through, times the
task's weight. So there is no bucket of ours, however many workers there are.
"""

import structlog
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import RateLimit
from temporalio.api.workflowservice.v1 import UpdateTaskQueueConfigRequest
from temporalio.client import Client
from temporalio.service import RPCError

from workflows import names

log = structlog.get_logger("hookkeeper.temporal")


async def keep_rates(client: Client, task_queue: str) -> None:
    """Set the limited queue up, which is idempotent. Where a server cannot do it, the log says so: no rate is kept."""
    limit = RateLimit(requests_per_second=1.0)
    update = UpdateTaskQueueConfigRequest.RateLimitUpdate(rate_limit=limit, reason="rates of webhooks")
    request = UpdateTaskQueueConfigRequest(
        namespace=client.namespace,
        identity="hookkeeper",
        task_queue=names.limited_queue(task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        update_fairness_key_rate_limit_default=update,
    )
    try:
        await client.workflow_service.update_task_queue_config(request, retry=True)
    except RPCError as error:
        log.error("the rates of webhooks are not kept: this Temporal server cannot limit a queue", error=error.message)
