"""The worker: settings -> clients -> activities -> two workers, one a task queue. A list, nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities import http
from activities.closing import ClosingActivities
from activities.network import parse_networks
from activities.webhooks import WebhookActivities
from registry.store import Store
from settings import Settings
from version import VERSION
from workflows import names
from workflows.event import EventWorkflow

STICKY = timedelta(seconds=2)
"""After a worker is killed, its runs go on elsewhere once its own queue has been given up: by default 10 s later."""
GRACE = timedelta(seconds=30)
"""A stopping worker finishes the attempts that are under way: the longest timeout of a webhook."""

SANDBOX = SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_all_modules())
"""Keeps clocks and random numbers out of workflows. Passing modules through saves a third of its cost."""


@asynccontextmanager
async def running(client: Client, store: Store, settings: Settings) -> AsyncIterator[None]:
    """Serve both task queues until the block ends."""
    async with http.make_client(parse_networks(settings.allowed_networks)) as web:
        webhooks = WebhookActivities(store, web, client, user_agent=f"Hookkeeper/{VERSION}")
        closing = ClosingActivities(client)
        async with (
            Worker(
                client,
                task_queue=settings.task_queue,
                workflows=[EventWorkflow],
                activities=[webhooks.deliver, closing.close_as_cancelled],
                workflow_runner=SANDBOX,
                sticky_queue_schedule_to_start_timeout=STICKY,
                max_heartbeat_throttle_interval=timedelta(seconds=1),
                graceful_shutdown_timeout=GRACE,
            ),
            Worker(
                client,
                task_queue=names.retry_queue(settings.task_queue),
                activities=[webhooks.deliver],
                max_heartbeat_throttle_interval=timedelta(seconds=1),
                graceful_shutdown_timeout=GRACE,
            ),
        ):
            yield
