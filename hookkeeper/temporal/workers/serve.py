"""Run the workers of a process: one for each task queue."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerDeploymentConfig,
)

from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.settings import Settings
from hookkeeper.temporal.server.connection import while_away
from hookkeeper.temporal.workers.versions import UNVERSIONED, configure_workers
from hookkeeper.version import VERSION

STICKY_TIMEOUT = timedelta(seconds=10)
"""After a worker is killed, its runs continue on another one once this time has passed. With less, a busy worker loses
runs that it has in memory, and replays them (decision 5)."""
BYTES_PER_RUN = 200 * 1024
"""Memory of an open run that a worker keeps."""
WORKFLOW_POLLS, PART_FOR_NEW_RUNS = 10, 0.5
"""Requests for workflow tasks that wait at Temporal at the same time, and how many of them for the first task of a run.
With the SDK's defaults, one of five, new runs wait behind each other as soon as the server takes long to answer."""
SPARE_SLOTS = 10
"""Further slots of each queue, in which activities of tenants without a free slot fail at once."""

WORKFLOW_RUNNER = UnsandboxedWorkflowRunner()
"""The SDK's sandbox costs a sixth of the worker's CPU time. Tests replay all kinds of runs in it (decision 32)."""

activity_log = structlog.get_logger("hookkeeper.activity")


@dataclass(frozen=True, slots=True)
class ServedQueue:
    """A task queue, and what is run for it."""

    name: str
    activities: Sequence[Callable[..., Any]]
    max_concurrent_activities: int
    workflows: Sequence[type] = ()
    polls: int = 5
    """Requests for activities that wait at Temporal at the same time."""
    is_own: bool = False
    """It is the queue of this process alone: its worker has no version."""


@asynccontextmanager
async def serve(client: Client, settings: Settings, queues: Sequence[ServedQueue]) -> AsyncIterator[None]:
    """Serve the task queues until the block ends, then stop all workers concurrently: each may take its whole grace
    period.
    """
    wanted = settings.deployment_version or UNVERSIONED
    version = await while_away(lambda: configure_workers(client, settings.task_queue, wanted))
    workers = [_worker(client, queue, version, settings) for queue in queues]
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker)
        try:
            yield
        finally:
            await asyncio.gather(*(worker.shutdown() for worker in workers))


def _worker(
    client: Client,
    queue: ServedQueue,
    version: WorkerDeploymentConfig | None,
    settings: Settings,
) -> Worker:
    version = None if queue.is_own else version
    return Worker(
        client,
        task_queue=queue.name,
        workflows=queue.workflows,
        activities=queue.activities,
        interceptors=[_Outages()],
        workflow_runner=WORKFLOW_RUNNER,
        deployment_config=version,
        # Without one, the SDK hashes the code of all imported modules, for 0.2 s.
        build_id=None if version else VERSION,
        max_cached_workflows=settings.max_run_cache_bytes // BYTES_PER_RUN,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        max_concurrent_workflow_task_polls=WORKFLOW_POLLS,
        nonsticky_to_sticky_poll_ratio=PART_FOR_NEW_RUNS,
        max_concurrent_activities=queue.max_concurrent_activities + SPARE_SLOTS,
        max_concurrent_local_activities=queue.max_concurrent_activities + SPARE_SLOTS,
        max_concurrent_activity_task_polls=queue.polls,
        max_heartbeat_throttle_interval=settings.heartbeat_delay,
        graceful_shutdown_timeout=settings.shutdown_timeout,
    )


class _Outages(Interceptor):
    """Logs an outage of the registry in one line for each activity that meets it, not with a traceback of 11 KB.

    Temporal retries the activity as before.
    """

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Put the interceptor before an activity."""
        return _OutageLog(next)


class _OutageLog(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        except RegistryUnavailable as error:
            info = activity.info()
            activity_log.warning(
                "activity is retried later",
                activity=info.activity_type,
                run=info.workflow_id,
                attempt=info.attempt,
                error=str(error),
            )
            # The SDK logs a benign error without its traceback.
            raise ApplicationError(
                str(error), type=type(error).__name__, category=ApplicationErrorCategory.BENIGN
            ) from None
