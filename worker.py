"""The worker: settings -> clients -> activities -> four workers, one a task queue. A list, nothing else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.alerts import AlertActivities
from activities.delivery_batch import BatchRunner
from activities.emails import EmailActivities
from activities.finalize import ClosingActivities
from activities.health import HealthRecorder
from activities.memory_budget import WorkerMemory
from activities.notifications import NotificationActivities
from activities.ordered_queue import OrderedQueueActivities
from activities.probe import ProbeActivities
from activities.rate_gate import RateGate
from activities.recovery import RecoveryActivities
from activities.release import ReleaseActivities
from activities.scheduled_event import ScheduledEventActivities
from activities.tenant_concurrency import TenantConcurrency
from activities.webhook_concurrency import WebhookConcurrency
from activities.webhooks import WebhookActivities
from hookkeeper import ids
from hookkeeper.egress import http
from hookkeeper.egress.network import EVERYWHERE, parse_networks
from hookkeeper.egress.notifier import Notifier
from hookkeeper.egress.resolver import Lookups
from hookkeeper.egress.services import Services
from hookkeeper.links import Links
from hookkeeper.mail.suppressing import SuppressingProvider
from hookkeeper.registry.store import Store
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.services.ingest import EventIngest
from hookkeeper.services.operator_settings import mail_provider, operator_alerts
from hookkeeper.services.scheduled_ingest import ScheduledEventIngest
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.rate_mode import keeping_rates
from hookkeeper.temporal.recovery_candidates import RecoveryCandidates
from hookkeeper.temporal.webhook_workflows import HeldDeliveries, Probes
from hookkeeper.version import VERSION
from workflows.event import EventWorkflow
from workflows.event_part import EventPartWorkflow
from workflows.large_event import LargeEventWorkflow
from workflows.ordered_queue import OrderedQueueWorkflow
from workflows.probe import ProbeWorkflow
from workflows.recovery import RecoveryWorkflow
from workflows.release import ReleaseWorkflow
from workflows.scheduled_event import ScheduledEventWorkflow

STICKY = timedelta(seconds=10)
"""After a worker is killed, its runs go on elsewhere once its own queue has been given up. With less, a worker that is
merely busy loses runs that it has in memory, and replays them (decision 5)."""
CACHED_RUNS = 500
"""Of the runs that wait, a worker keeps so many in memory, some 0.2 MB each; others are replayed when they go on."""
HEARTBEATS = timedelta(milliseconds=100)
"""A killed worker loses at most this time of outcomes."""
BULK = 20
"""Releases and recoveries that have their turns at the same time; each waits for deliveries most of the time."""
SPARE = 10
"""Further slots of each queue, in which activities of tenants without a free place fail at once."""
USER_AGENT = f"Hookkeeper/{VERSION}"

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
    allowed = parse_networks(settings.allowed_networks)
    proxy = settings.egress_proxy.get_secret_value() if settings.egress_proxy else None
    lookups = Lookups(settings.dns_servers, settings.dns_timeout, settings.max_concurrent_lookups)
    async with (
        http.make_client(
            allowed,
            proxy=proxy,
            lookups=lookups,
            max_handshakes=settings.max_concurrent_handshakes,
            require_https=settings.require_https,
        ) as web,
        http.make_client(EVERYWHERE, proxy=proxy, lookups=lookups) as own,
        Services(settings.notification_services, allowed, require_https=settings.require_https) as services,
        Sandbox(
            children=settings.max_concurrent_sandbox_calls,
            per_tenant=settings.max_concurrent_sandbox_calls_per_tenant,
        ) as sandbox,
        keeping_rates(client, settings.task_queue) as rate_mode,
    ):
        operators = operator_alerts(settings)
        concurrency = TenantConcurrency(settings.max_concurrent_activities, settings.max_concurrent_per_tenant)
        bulk_concurrency = TenantConcurrency(BULK, settings.max_concurrent_per_tenant)
        memory = WorkerMemory(
            settings.max_bytes_in_flight, settings.max_bytes_in_flight_per_tenant, settings.max_body_bytes
        )
        batches = BatchRunner(store, client, concurrency, memory, always_alert=operators is not None)
        mail = SuppressingProvider(mail_provider(settings, own), store.suppressions)
        notifier = Notifier(services, web, USER_AGENT)
        links = Links(settings.public_url, settings.temporal_ui_url, client.namespace)
        gate = RateGate(store.slots, rate_mode)
        webhook_concurrency = WebhookConcurrency(settings.max_concurrent_per_webhook)
        interval = settings.probe_interval
        probes = Probes(client, settings.task_queue, interval) if interval else None
        health = HealthRecorder(store, settings.disable_after, probes)
        webhooks = WebhookActivities(batches, health, web, sandbox, USER_AGENT, webhook_concurrency, gate)
        sending: list[Callable[..., Any]] = [
            webhooks.deliver_webhooks,
            EmailActivities(batches, mail, sandbox).send_emails,
            NotificationActivities(batches, notifier, sandbox).send_notifications,
        ]
        closing = ClosingActivities(client)
        alerts = AlertActivities(store, client, mail, notifier, sandbox, links, operators, concurrency, memory)
        gateway = Gateway(client, settings.task_queue)
        ingest = EventIngest(gateway, store, sandbox, settings)
        ordered_queues = OrderedQueueActivities(gateway.ordered_queues, store)
        firing = ScheduledEventActivities(
            ScheduledEventIngest(ingest, store.api_keys, settings.rate_limit), gateway, concurrency
        )
        release = ReleaseActivities(store, HeldDeliveries(client), bulk_concurrency)
        probing = ProbeActivities(store, webhooks, gateway.releases, interval)
        recovery = RecoveryActivities(store, RecoveryCandidates(client, gateway.commands), bulk_concurrency)
        serving = partial(
            Worker,
            client,
            max_concurrent_activities=settings.max_concurrent_activities + SPARE,
            max_heartbeat_throttle_interval=HEARTBEATS,
            graceful_shutdown_timeout=settings.shutdown_timeout,
        )
        async with _at_work(
            serving(
                task_queue=settings.task_queue,
                workflows=WORKFLOWS,
                activities=[
                    *sending,
                    closing.close_as_cancelled,
                    firing.accept_scheduled_event,
                    ordered_queues.enqueue,
                    ordered_queues.check_queued_run,
                    ordered_queues.find_waiting_events,
                ],
                workflow_runner=SANDBOX,
                max_cached_workflows=CACHED_RUNS,
                sticky_queue_schedule_to_start_timeout=STICKY,
            ),
            serving(
                task_queue=ids.retry_queue(settings.task_queue),
                activities=[
                    *sending,
                    alerts.send_alert,
                    firing.await_delivery,
                    firing.cancel_scheduled_event,
                    probing.send_probe,
                    probing.enable_webhook,
                ],
            ),
            serving(task_queue=ids.limited_queue(settings.task_queue), activities=sending),
            serving(
                task_queue=ids.bulk_queue(settings.task_queue),
                activities=[
                    release.find_held,
                    release.release_held,
                    recovery.count_candidates,
                    recovery.find_candidates,
                    recovery.redeliver_candidates,
                ],
                max_concurrent_activities=BULK + SPARE,
                max_concurrent_activity_task_polls=2,
            ),
        ):
            yield


@asynccontextmanager
async def _at_work(*workers: Worker) -> AsyncIterator[None]:
    """Let all work until the block ends, then stop all at once: each may take its whole grace."""
    async with AsyncExitStack() as stack:
        for each in workers:
            await stack.enter_async_context(each)
        try:
            yield
        finally:
            await asyncio.gather(*(each.shutdown() for each in workers))
