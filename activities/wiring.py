"""Make all activities of a worker from its settings and clients, in lists by task queue."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client

from activities.alerts import AlertActivities
from activities.closing import ClosingActivities
from activities.delivery_batch import BatchRunner
from activities.emails import EmailActivities
from activities.health import HealthRecorder
from activities.memory_budget import WorkerMemory
from activities.notifications import NotificationActivities
from activities.ordered_queue import OrderedQueueActivities
from activities.probe import ProbeActivities
from activities.rate_gate import RateGate
from activities.recovery import RecoveryActivities
from activities.release import ReleaseActivities
from activities.rendering import Renderer
from activities.scheduled_event import ScheduledEventActivities
from activities.tenant_concurrency import TenantConcurrency
from activities.webhooks import WebhookActivities
from hookkeeper.egress import http
from hookkeeper.egress.addresses import EVERYWHERE, parse_networks
from hookkeeper.egress.apprise_sender import AppriseSender
from hookkeeper.egress.notifier import Notifier
from hookkeeper.egress.resolver import Lookups
from hookkeeper.links import LinkBuilder
from hookkeeper.mail.suppressing import SuppressingProvider
from hookkeeper.registry.index.buffer import IndexBuffer
from hookkeeper.registry.store import Store
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.services.ingest import EventIngest
from hookkeeper.services.operator_settings import mail_provider, operator_alerts
from hookkeeper.services.scheduled_ingest import ScheduledEventIngest
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.index_catch_up import IndexCatchUp
from hookkeeper.temporal.rate_mode import keeping_rates
from hookkeeper.temporal.recovery_candidates import RecoveryCandidates
from hookkeeper.temporal.webhook_workflows import HeldDeliveries, Probes

MAX_CONCURRENT_BULK = 20
"""Activities of releases and recoveries at the same time; each waits for deliveries most of the time."""

Activity = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Activities:
    """The activities of each task queue (docs/architecture.md, "Task queues")."""

    main: list[Activity]
    retries: list[Activity]
    limited: list[Activity]
    bulk: list[Activity]


@asynccontextmanager
async def open_activities(
    client: Client, store: Store, index: IndexBuffer, settings: Settings
) -> AsyncIterator[Activities]:
    """Open the clients that activities use, until the block ends."""
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
        AppriseSender(settings.notification_services, allowed, require_https=settings.require_https) as services,
        Sandbox(
            children=settings.max_concurrent_sandbox_calls,
            per_tenant=settings.max_concurrent_sandbox_calls_per_tenant,
        ) as sandbox,
        keeping_rates(client, settings.task_queue) as rate_mode,
    ):
        operators = operator_alerts(settings)
        concurrency = TenantConcurrency(settings.max_concurrent_activities, settings.max_concurrent_per_tenant)
        bulk_concurrency = TenantConcurrency(MAX_CONCURRENT_BULK, settings.max_concurrent_per_tenant)
        memory = WorkerMemory(
            settings.max_bytes_in_flight, settings.max_bytes_in_flight_per_tenant, settings.render_limits.body_bytes
        )
        renderer = Renderer(sandbox, memory, settings.render_limits)
        batches = BatchRunner(store, client, concurrency, memory, always_alert=operators is not None)
        mail = SuppressingProvider(mail_provider(settings, own), store.suppressions)
        notifier = Notifier(services, web)
        links = LinkBuilder(settings.public_url, settings.temporal_ui_url, client.namespace)
        gate = RateGate(store.reserved_times, rate_mode, settings.max_concurrent_per_webhook)
        interval = settings.probe_interval
        probes = Probes(client, settings.task_queue, interval) if interval else None
        health = HealthRecorder(store, settings.disable_after, probes)
        webhooks = WebhookActivities(
            batches, health, web, renderer, gate, memory, send_traceparent=settings.send_traceparent
        )
        sending: list[Activity] = [
            webhooks.deliver_webhooks,
            EmailActivities(batches, mail, renderer).send_emails,
            NotificationActivities(batches, notifier, renderer).send_notifications,
        ]
        closing = ClosingActivities(client)
        alerts = AlertActivities(store, client, mail, notifier, renderer, links, operators, concurrency, memory)
        gateway = Gateway(client, settings.task_queue, store.claims)
        ingest = EventIngest(gateway, store, index, sandbox, settings)
        ordered_queues = OrderedQueueActivities(gateway.ordered_queues, store)
        firing = ScheduledEventActivities(
            ScheduledEventIngest(ingest, store.api_keys, settings.rate_limit), gateway, concurrency
        )
        catch_up = IndexCatchUp(client, store.index, settings.task_queue)
        release = ReleaseActivities(store, HeldDeliveries(client, store.index.walks, catch_up), bulk_concurrency)
        probing = ProbeActivities(store, webhooks, gateway.releases, interval)
        candidates = RecoveryCandidates(client, store.index.walks, catch_up, gateway.commands, gateway.shared_runs)
        recovery = RecoveryActivities(store, candidates, bulk_concurrency)
        yield Activities(
            main=[
                *sending,
                webhooks.deliver_events_together,
                closing.close_as_cancelled,
                firing.accept_scheduled_event,
                ordered_queues.enqueue,
                ordered_queues.check_queued_run,
                ordered_queues.find_waiting_events,
            ],
            retries=[
                *sending,
                alerts.send_alert,
                firing.await_delivery,
                firing.cancel_scheduled_event,
                probing.send_probe,
                probing.enable_webhook,
            ],
            limited=sending,
            bulk=[
                release.find_held,
                release.release_held,
                recovery.count_candidates,
                recovery.find_candidates,
                recovery.redeliver_candidates,
            ],
        )
