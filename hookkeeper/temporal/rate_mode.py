"""What keeps the rates of webhooks: the limited queue if Temporal's fairness works, otherwise timers in the runs.

With fairness, the limited queue hands out one task a second for each fairness key, times the task's weight. Without it,
one slow key would block all others of that queue. Then the queue has no limit, and each request reserves a time in the
registry (`activities.rate_gate`).

The configuration of the queue tells which of the two is in use: workers write their result there, and all processes
read it (decision 11).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

import structlog
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import RateLimit, TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, UpdateTaskQueueConfigRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode, ServiceClient

from hookkeeper import task_queues
from hookkeeper.asyncio_tasks import in_background
from hookkeeper.temporal.fairness import is_fair

log = structlog.get_logger("hookkeeper.temporal")

RateKeeper = Literal["queue", "timers"]
"""What keeps the rates of webhooks: Temporal's limited queue, or timers in the runs."""
REFRESH_INTERVAL = 30.0
"""Seconds between two reads of what other workers wrote."""
REASONS: dict[RateKeeper, str] = {
    "queue": "rates of webhooks are enforced by this queue",
    "timers": "rates of webhooks are enforced by timers: fairness does not work",
}
LOG_MESSAGES: dict[RateKeeper, str] = {
    "queue": "rates of webhooks are enforced by Temporal's task queue: fairness works on this server",
    "timers": "rates of webhooks are enforced by timers: fairness does not work on this server (docs/rates.md)",
}
_fairness_results: WeakKeyDictionary[ServiceClient, bool] = WeakKeyDictionary()
"""The result of the test for each connection, unless it failed."""


@dataclass(slots=True)
class RateMode:
    """The present keeper; it changes if another worker comes to another result."""

    keeper: RateKeeper


@asynccontextmanager
async def keeping_rates(client: Client, task_queue: str) -> AsyncIterator[RateMode]:
    """Test what can keep rates, configure the limited queue for it, and follow the results of other workers.

    If there is a result from before, begin with it and test meanwhile: the test takes a second, or five.
    """
    known = await rates_kept_by(client, task_queue)
    mode = RateMode(known or await _test(client, task_queue))
    async with in_background(_follow(client, task_queue, mode, test=known is not None), "what keeps rates"):
        yield mode


async def rates_kept_by(client: Client, task_queue: str) -> RateKeeper | None:
    """Read what keeps the rates; None if no worker has written it, or it cannot be read."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queues.limited_queue(task_queue)),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        report_config=True,
    )
    try:
        described = await client.workflow_service.describe_task_queue(request)
    except RPCError:
        return None
    reason = described.config.fairness_keys_rate_limit_default.metadata.reason
    return next((keeper for keeper, text in REASONS.items() if text == reason), None)


async def _test(client: Client, task_queue: str) -> RateKeeper:
    keeper = await _set_up(client, task_queue)
    log.info(LOG_MESSAGES[keeper])
    return keeper


async def _set_up(client: Client, task_queue: str) -> RateKeeper:
    fair = await _supports_limits(client, task_queue) and await _fairness(client)
    if fair is None and (known := await rates_kept_by(client, task_queue)):
        return known
    keeper: RateKeeper = "queue" if fair else "timers"
    try:
        await configure(client, task_queue, keeper)
    except RPCError as error:
        # Then the queue has no limit, unless an operator has set one, and timers keep the rates.
        log.warning("the limited queue cannot be configured", error=error.message)
        return "timers"
    return keeper


async def _supports_limits(client: Client, task_queue: str) -> bool:
    """Return whether the server supports limits of task queues, by an empty change."""
    try:
        await client.workflow_service.update_task_queue_config(_change(client, task_queue))
    except RPCError as error:
        return error.status != RPCStatusCode.UNIMPLEMENTED
    return True


async def _fairness(client: Client) -> bool | None:
    """Test once for each connection: the result does not change while a server runs."""
    if client.service_client not in _fairness_results:
        fair = await is_fair(client)
        if fair is None:
            log.warning("the test whether fairness works on this server failed: it is slow, or does not allow it")
            return None
        _fairness_results[client.service_client] = fair
    return _fairness_results[client.service_client]


async def configure(client: Client, task_queue: str, keeper: RateKeeper) -> None:
    """Set the limit of the limited queue, or remove it. Idempotent."""
    limit = RateLimit(requests_per_second=1.0) if keeper == "queue" else None
    update = UpdateTaskQueueConfigRequest.RateLimitUpdate(rate_limit=limit, reason=REASONS[keeper])
    request = _change(client, task_queue)
    request.update_fairness_key_rate_limit_default.CopyFrom(update)
    await client.workflow_service.update_task_queue_config(request, retry=True)


def _change(client: Client, task_queue: str) -> UpdateTaskQueueConfigRequest:
    return UpdateTaskQueueConfigRequest(
        namespace=client.namespace,
        identity="hookkeeper",
        task_queue=task_queues.limited_queue(task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    )


async def _follow(client: Client, task_queue: str, mode: RateMode, *, test: bool) -> None:
    if test:
        mode.keeper = await _test(client, task_queue)
    while True:
        await asyncio.sleep(REFRESH_INTERVAL)
        keeper = await rates_kept_by(client, task_queue)
        if keeper and keeper != mode.keeper:
            mode.keeper = keeper
            log.warning(LOG_MESSAGES[keeper])
