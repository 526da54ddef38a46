"""The worker process: its workflows, and one worker for each task queue. `activities.wiring` makes the activities."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.wiring import MAX_CONCURRENT_BULK, open_activities
from hookkeeper import ids
from hookkeeper.registry.store import Store
from hookkeeper.settings import Settings
from hookkeeper.temporal.worker_versions import UNVERSIONED, configure_workers
from workflows.event import EventWorkflow
from workflows.event_part import EventPartWorkflow
from workflows.large_event import LargeEventWorkflow
from workflows.ordered_queue import OrderedQueueWorkflow
from workflows.probe import ProbeWorkflow
from workflows.recovery import RecoveryWorkflow
from workflows.release import ReleaseWorkflow
from workflows.scheduled_event import ScheduledEventWorkflow

STICKY = timedelta(seconds=10)
"""After a worker is killed, its runs continue on another one once this time has passed. With less, a busy worker loses
runs that it has in memory, and replays them (decision 5)."""
CACHED_RUNS = 500
"""Waiting runs that a worker keeps in memory, about 0.2 MB each; others are replayed when they continue."""
HEARTBEATS = timedelta(milliseconds=100)
"""A killed worker loses at most this time of outcomes."""
SPARE = 10
"""Further slots of each queue, in which activities of tenants without a free place fail at once."""

WORKFLOWS: list[type] = [
    EventWorkflow,
    LargeEventWorkflow,
    EventPartWorkflow,
    ScheduledEventWorkflow,
    OrderedQueueWorkflow,
    ReleaseWorkflow,
    RecoveryWorkflow,
    ProbeWorkflow,
]
SANDBOX = SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_all_modules())
"""Keeps clocks and random numbers out of workflows. Passing modules through saves a third of its cost."""


@asynccontextmanager
async def running(client: Client, store: Store, settings: Settings) -> AsyncIterator[None]:
    """Serve all task queues until the block ends."""
    version = settings.deployment_version or UNVERSIONED
    async with open_activities(client, store, settings) as activities:
        serving = partial(
            Worker,
            client,
            deployment_config=await configure_workers(client, settings.task_queue, version),
            max_concurrent_activities=settings.max_concurrent_activities + SPARE,
            max_heartbeat_throttle_interval=HEARTBEATS,
            graceful_shutdown_timeout=settings.shutdown_timeout,
        )
        async with _at_work(
            serving(
                task_queue=settings.task_queue,
                workflows=WORKFLOWS,
                activities=activities.main,
                workflow_runner=SANDBOX,
                max_cached_workflows=CACHED_RUNS,
                sticky_queue_schedule_to_start_timeout=STICKY,
            ),
            serving(task_queue=ids.retry_queue(settings.task_queue), activities=activities.retries),
            serving(task_queue=ids.limited_queue(settings.task_queue), activities=activities.limited),
            serving(
                task_queue=ids.bulk_queue(settings.task_queue),
                activities=activities.bulk,
                max_concurrent_activities=MAX_CONCURRENT_BULK + SPARE,
                max_concurrent_activity_task_polls=2,
            ),
        ):
            yield


@asynccontextmanager
async def _at_work(*workers: Worker) -> AsyncIterator[None]:
    """Run all workers until the block ends, then stop them concurrently: each may take its whole grace period."""
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker)
        try:
            yield
        finally:
            await asyncio.gather(*(worker.shutdown() for worker in workers))
