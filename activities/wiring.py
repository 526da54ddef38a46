"""Make all activities of a worker from its settings and clients, in lists by task queue."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from temporalio.client import Client

from activities.alerts import AlertActivities
from activities.delivery_batch import BatchRunner
from activities.health import HealthRecorder
from activities.incident import IncidentActivities
from activities.memory_budget import WorkerMemory
from activities.probe import ProbeActivities
from activities.rate_gate import RateGate
from activities.recovery import RecoveryActivities, TenantActivities
from activities.release import ReleaseActivities
from activities.rendering import Renderer
from activities.runs import RunActivities
from activities.scheduled_event import ScheduledEventActivities
from activities.targets import target_activities
from activities.tenant_concurrency import TenantConcurrency
from activities.turns import TurnActivities
from activities.webhooks import WebhookActivities
from hookkeeper.addresses import EVERYWHERE, parse_networks
from hookkeeper.egress import http
from hookkeeper.egress.notifier import Notifier
from hookkeeper.egress.resolver import Lookups
from hookkeeper.links import LinkBuilder
from hookkeeper.registry.store import Store
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.services.events.ingest import EventIngest
from hookkeeper.services.events.scheduled_ingest import ScheduledEventIngest
from hookkeeper.services.incidents import incident_calls
from hookkeeper.services.system.settings import mail_provider, operator_alerts
from hookkeeper.services.webhooks.runs import WebhookRuns
from hookkeeper.settings import Settings
from hookkeeper.targets import sending
from hookkeeper.targets.email.suppressing import SuppressingProvider
from hookkeeper.temporal.bulk.recovery_candidates import RecoveryCandidates
from hookkeeper.temporal.bulk.releases import HeldDeliveries
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.schedules.client import Schedules
from hookkeeper.tenant_limits import SANDBOX_CALLS


@dataclass(frozen=True, slots=True)
class Clients:
    guarded: httpx.AsyncClient
    """For URLs that tenants choose: it connects to allowed addresses only."""
    own: httpx.AsyncClient
    """For URLs that the operator chooses, such as that of the mail provider."""
    sandbox: Sandbox


@asynccontextmanager
async def open_clients(settings: Settings) -> AsyncIterator[Clients]:
    """Open all clients until the block ends."""
    allowed = parse_networks(settings.allowed_networks)
    proxy = settings.egress_proxy.get_secret_value() if settings.egress_proxy else None
    lookups = Lookups(settings.dns_servers)
    async with (
        http.make_client(
            allowed,
            proxy=proxy,
            lookups=lookups,
            require_https=settings.require_https,
        ) as guarded,
        http.make_client(EVERYWHERE, proxy=proxy, lookups=lookups) as own,
        Sandbox(per_tenant=SANDBOX_CALLS.per_tenant) as sandbox,
    ):
        yield Clients(guarded, own, sandbox)


MAX_CONCURRENT_BULK = 20
"""Activities of releases and recoveries at the same time; each waits for deliveries most of the time."""

Activity = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Activities:
    """The activities of each task queue (docs/internals/architecture.md, "Task queues")."""

    main: list[Activity]
    retries: list[Activity]
    bulk: list[Activity]
    own: list[Activity]
    """Activities for runs that the same process has begun."""


@asynccontextmanager
async def open_activities(
    temporal: Client, store: Store, settings: Settings, process_queue: str
) -> AsyncIterator[Activities]:
    """Make the activities, and keep the clients that they use open until the block ends."""
    async with open_clients(settings) as clients:
        yield _activities(temporal, store, settings, clients, process_queue)


def webhook_runs(store: Store, settings: Settings, gateway: Gateway) -> WebhookRuns:
    """Make what starts the runs of webhooks that are missing."""
    calls = incident_calls(gateway, settings)
    return WebhookRuns(
        store, gateway.releases, calls, settings.disable_after, probes=settings.probe_interval is not None
    )


def _activities(temporal: Client, store: Store, settings: Settings, clients: Clients, process_queue: str) -> Activities:
    gateway = Gateway(temporal, settings.task_queue, store.rows)
    operators = operator_alerts(settings)
    concurrency = TenantConcurrency(settings.max_concurrent_activities, settings.max_concurrent_per_tenant)
    memory = WorkerMemory(settings.max_bytes_in_flight, settings.render_limits.body_bytes)
    renderer = Renderer(clients.sandbox, memory, settings.render_limits)
    calls = incident_calls(gateway, settings)
    batches = BatchRunner(
        store,
        temporal,
        concurrency,
        memory,
        HealthRecorder(store, settings.health_defaults, calls).record,
        heartbeat_delay=settings.heartbeat_delay,
        process_queue=process_queue,
        always_alert=operators is not None,
    )
    mail = SuppressingProvider(mail_provider(settings, clients.own), store.suppressions)
    notifier = Notifier(clients.guarded)
    links = LinkBuilder(settings.public_url, settings.temporal_ui_url, temporal.namespace, settings.portal_url)
    webhooks = WebhookActivities(
        batches,
        clients.guarded,
        renderer,
        RateGate(store.reserved_times, store.health, settings.max_concurrent_per_webhook),
        memory,
        send_traceparent=settings.send_traceparent,
    )
    attempts: list[Activity] = [
        webhooks.deliver_webhooks,
        *target_activities(batches, renderer, sending.Clients(clients.guarded, mail)),
    ]
    alerts = AlertActivities(store, mail, notifier, renderer, links, operators, concurrency, memory)
    ingest = EventIngest(gateway, store, clients.sandbox, settings)
    scheduled_ingest = ScheduledEventIngest(ingest, store, settings.rate_limit)
    firing = ScheduledEventActivities(scheduled_ingest, gateway, concurrency)
    turns = TurnActivities(temporal, store.rows.lines, gateway.lines, gateway.runs)
    runs = RunActivities(temporal, store, gateway.lines, calls, concurrency, memory)
    incidents = IncidentActivities(
        store, settings.disable_after, settings.probe_interval, always_alert=operators is not None
    )
    return Activities(
        main=[
            *attempts,
            runs.record,
            runs.start_siblings,
            runs.is_in_open_run,
            runs.close_as_cancelled,
            turns.ask_turn,
            firing.accept_scheduled_event,
        ],
        retries=[
            *attempts,
            alerts.send_alert,
            incidents.look_at_webhook,
            ProbeActivities(store, webhooks, gateway.releases).probe_webhook,
            firing.await_delivery,
            firing.cancel_scheduled_event,
        ],
        bulk=_bulk_activities(temporal, store, settings, gateway),
        own=[webhooks.deliver_webhooks],
    )


def _bulk_activities(temporal: Client, store: Store, settings: Settings, gateway: Gateway) -> list[Activity]:
    concurrency = TenantConcurrency(MAX_CONCURRENT_BULK, settings.max_concurrent_per_tenant)
    release = ReleaseActivities(store, HeldDeliveries(temporal, store.index.runs_by_status), concurrency)
    candidates = RecoveryCandidates(temporal, store.index, gateway.commands, store.rows, gateway.erasure)
    recovery = RecoveryActivities(store, candidates, concurrency)
    schedules = Schedules(temporal, settings.task_queue, store)
    tenants = TenantActivities(store, candidates, schedules, concurrency)
    return [
        release.find_held,
        release.release_held,
        recovery.count_candidates,
        recovery.find_candidates,
        recovery.redeliver_candidates,
        tenants.close_tenant,
        tenants.remove_tenant,
    ]
