"""The worker process: its workflows, and the activities of each task queue, which `activities.wiring` makes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from secrets import token_hex

from temporalio.client import Client

from activities.wiring import MAX_CONCURRENT_BULK, open_activities, webhook_runs
from hookkeeper import task_queues
from hookkeeper.registry.store import Store
from hookkeeper.registry.upkeep.retention_task import RetentionTask
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.run_repair import RunRepair
from hookkeeper.temporal.server.readiness import server_time
from hookkeeper.temporal.workers.serve import ServedQueue, serve
from workflows.event import EventWorkflow
from workflows.incident import IncidentWorkflow
from workflows.recovery import RecoveryWorkflow
from workflows.release import ReleaseWorkflow
from workflows.scheduled_event import ScheduledEventWorkflow
from workflows.shared_run import SharedRunWorkflow

WORKFLOWS: list[type] = [
    EventWorkflow,
    SharedRunWorkflow,
    ScheduledEventWorkflow,
    ReleaseWorkflow,
    RecoveryWorkflow,
    IncidentWorkflow,
]


@asynccontextmanager
async def running(client: Client, store: Store, settings: Settings) -> AsyncIterator[None]:
    """Serve all task queues until the block ends."""
    queue, slots = settings.task_queue, settings.max_concurrent_activities
    own_queue = task_queues.process_queue(queue, token_hex(8))
    gateway = Gateway(client, queue, store.rows)
    missing = webhook_runs(store, settings, gateway).start_missing
    temporal_time = partial(server_time, client, queue)
    kept = settings.retention, temporal_time, store.audit, settings.audit_retention, store.tenants
    retention = RetentionTask(store.index, *kept)
    async with (
        retention.running(),
        RunRepair(client, gateway, store, missing).running(),
        open_activities(client, store, settings, own_queue) as activities,
    ):
        queues = [
            ServedQueue(queue, activities.main, slots, WORKFLOWS),
            ServedQueue(task_queues.retry_queue(queue), activities.retries, slots),
            ServedQueue(task_queues.bulk_queue(queue), activities.bulk, MAX_CONCURRENT_BULK, polls=2),
            ServedQueue(own_queue, activities.own, slots, polls=2, is_own=True),
        ]
        async with serve(client, settings, queues):
            yield
