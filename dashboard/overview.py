"""The first page: one sentence that says whether all is well, what is wrong, how deliveries went, and what runs."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, get_args

from fastapi import APIRouter, Request, Response

from api import views
from api.access import needs
from api.deps import AnyTenant, CallerDep, GatewayDep, LinksDep, SettingsDep, StoreDep, SystemDep
from api.state import state_of
from dashboard.charts import Counted, ShownRange, count_range
from dashboard.event import REASONS
from dashboard.rendering import query, redirect, render
from dashboard.routes import PageRoute
from hookkeeper.policy import HealthStatus
from hookkeeper.registry.events.conditions import Search
from hookkeeper.registry.events.waiting import WaitingDeliveries
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.store import Store
from hookkeeper.services.webhooks.fields import WebhookView
from hookkeeper.services.webhooks.webhooks import names_of
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.server.error_translation import Unavailable

router = APIRouter(include_in_schema=False, route_class=PageRoute)
CHECK_TIMEOUT = 2.0
"""Seconds for Temporal to answer; a page may be late, and does not wait for long."""
CHART_HEIGHT = 120.0
MAX_EVENTS = 8
MAX_WEBHOOKS = 10
"""Webhooks of a table."""
MAX_FAILED = 1000
"""Failed events that are counted."""
LATE = 60.0
"""Seconds for which a delivery has been due from which on the page says so."""
Unwell = Literal["failing", "disabled", "degraded", "slow", "paused"]
Wrong = Literal[Unwell, "failed", "retrying", "held"]
"""What the sentence can name: states of webhooks, then failed events, then waiting deliveries."""
STATES: tuple[Unwell, ...] = get_args(Unwell)
STOPPED: tuple[HealthStatus, ...] = ("disabled", "paused")
BAD = frozenset({"failing", "disabled", "failed"})


class Component(NamedTuple):
    """A part of the installation."""

    name: str
    works: bool
    text: str


class Clause(NamedTuple):
    """A part of the sentence."""

    what: Wrong
    number: int
    is_least: bool
    """There are more than were counted."""
    path: str
    """The list behind it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The sentence with which the page begins."""

    works: bool
    """All parts of the installation run."""
    clauses: Sequence[Clause]
    healthy: int
    new: int
    late: float = 0.0
    """Seconds for which the oldest delivery has waited for a worker, if that is long."""

    @property
    def tone(self) -> Literal["bad", "wait", "good", "unknown"]:
        """The colour. It is green only if webhooks are healthy and nothing is wrong."""
        if not self.works or any(clause.what in BAD for clause in self.clauses):
            return "bad"
        if self.clauses or self.late:
            return "wait"
        return "good" if self.healthy else "unknown"


class TroubledWebhook(NamedTuple):
    """A webhook that does not get all its events."""

    webhook: WebhookView
    target: str
    waiting: WaitingDeliveries

    @property
    def since(self) -> datetime | None:
        """When it was disabled or paused, else when it began to fail."""
        if not self.webhook.enabled:
            return self.webhook.disabled_at
        return self.webhook.paused_at or self.webhook.health.failing_since


@router.get("/", dependencies=[needs("events:read", "webhooks:read")])
async def show_overview(
    request: Request,
    store: StoreDep,
    gateway: GatewayDep,
    links: LinksDep,
    settings: SettingsDep,
    caller: CallerDep,
    system: SystemDep,
    tenant: AnyTenant,
    shown: ShownRange = "24h",
) -> Response:
    """Show how it goes. A key without `events:read` has the list of its webhooks instead."""
    if "events:read" not in caller.scopes:
        return redirect("/webhooks")
    waiting = state_of(request).ingest.backlog.total
    components = await asyncio.gather(_temporal(gateway, waiting), _worker(gateway), _registry(store))
    named_components = components if caller.tenant is None else []  # what runs is for the operator
    named = tenant if caller.tenant is None else None
    try:
        counted = await count_range(store.index, CHART_HEIGHT, shown, tenant=tenant)
        states = await store.webhooks.count_by_state(tenant) if "webhooks:read" in caller.scopes else {}
        events, _ = await store.index.events(Search(tenant=tenant, needs_attention=True), MAX_EVENTS, None)
        clauses = clauses_of(await _numbers(store, tenant, states, counted), named)
        times = await store.index.delivery_times(tenant)
        late = (await system.read()).deliveries if caller.tenant is None else None
        failing, stopped = await _troubled(store, tenant, states)
        names = await names_of(store, caller, (event.latest.webhook_id for event in events if event.latest))
        is_new = not (events or (await store.index.events(Search(tenant=tenant), 1, None))[0])
    except RegistryUnavailable:
        return await render(request, "overview_unavailable.html", 503, components=named_components)
    return await render(
        request,
        "overview.html",
        components=named_components,
        verdict=Verdict(
            all(component.works for component in components),
            clauses,
            states.get("healthy", 0),
            states.get("new", 0),
            late.oldest_pending if late and late.oldest_pending >= LATE else 0,
        ),
        stream=query("/live", tenant=named),
        counted=counted,
        times=times,
        shown=shown,
        failing=failing,
        stopped=stopped,
        states=states,
        events=[views.event_summary(event, links, names) for event in events],
        reasons=REASONS,
        is_new=is_new,
        tenant=tenant,
        about={"tenant": named} if named else {},
        api=settings.public_url,
    )


class Number(NamedTuple):
    counted: int
    is_least: bool = False
    """There are more."""


def clauses_of(numbers: Mapping[Wrong, Number], tenant: str | None) -> list[Clause]:
    """Return the parts of the sentence. `tenant`: the one that the lists behind them are filtered by."""
    paths: dict[Wrong, str] = {
        **{state: query("/webhooks", status=state, tenant=tenant) for state in STATES},
        "failed": query("/events", needs_attention="true", delivery_status="failed", tenant=tenant),
        "retrying": query("/events", delivery_status="retrying", tenant=tenant),
        "held": query("/events", delivery_status="held", tenant=tenant),
    }
    return [Clause(what, *numbers[what], paths[what]) for what in get_args(Wrong) if numbers[what].counted]


async def _numbers(
    store: Store, tenant: str | None, states: Mapping[HealthStatus, int], counted: Counted | None
) -> dict[Wrong, Number]:
    """Count what can be wrong. The numbers of now have been `counted`, unless there were too many counters."""
    search = Search(tenant=tenant, needs_attention=True, delivery_statuses=("failed",))
    failed, are_all = await store.index.count_up_to(search, MAX_FAILED)
    if counted:
        held, retrying, is_capped = counted.counts.held, counted.counts.retrying, counted.is_capped
    else:
        waiting = await store.index.count_waiting(tenant)
        now = waiting.counts.get((), {})
        held, retrying, is_capped = now.get("held", 0), now.get("retrying", 0), waiting.is_capped
    return {
        **{state: Number(states.get(state, 0)) for state in STATES},
        "failed": Number(failed, not are_all),
        "retrying": Number(retrying, is_capped),
        "held": Number(held, is_capped),
    }


async def _troubled(
    store: Store, tenant: str | None, states: Mapping[HealthStatus, int]
) -> tuple[list[TroubledWebhook], list[TroubledWebhook]]:
    """Return the webhooks that fail, the first to begin first, and some of those that are disabled or paused."""
    failing = (
        await store.webhooks.in_trouble(tenant, MAX_WEBHOOKS) if states.keys() & {"failing", "degraded", "slow"} else []
    )
    stopped: list[Webhook] = []
    for state in STOPPED:
        if state in states and (left := MAX_WEBHOOKS - len(stopped)):
            found, _ = await store.webhooks.page(
                tenant=tenant, event=None, enabled=None, status=state, limit=left, cursor=None
            )
            stopped += found
    waiting = await store.index.waiting_of_webhooks({webhook.id for webhook in (*failing, *stopped)})

    def shown(webhooks: Sequence[Webhook]) -> list[TroubledWebhook]:
        return [
            TroubledWebhook(views.webhook(webhook), webhook.target, waiting.get(webhook.id, WaitingDeliveries()))
            for webhook in webhooks
        ]

    return shown(failing), shown(stopped)


async def _temporal(gateway: Gateway, waiting: int) -> Component:
    """`waiting`: events without a run."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            await gateway.readiness.ping()
    except (Unavailable, TimeoutError):
        return Component("Temporal", False, f"does not answer: events are accepted and wait. {waiting} wait now.")
    return Component("Temporal", True, f"answers; {waiting} events have no run yet" if waiting else "answers")


async def _worker(gateway: Gateway) -> Component:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            works, waiting = await asyncio.gather(gateway.readiness.has_worker(), gateway.readiness.count_waiting())
    except (Unavailable, TimeoutError):
        return Component("Workers", False, "are unknown while Temporal does not answer.")
    if not works:
        return Component("Workers", False, f"do not run: events are accepted and wait. {waiting} tasks wait now.")
    return Component("Workers", True, f"run; {waiting} tasks wait" if waiting else "run; nothing waits")


async def _registry(store: Store) -> Component:
    try:
        await store.ping()
    except RegistryUnavailable:
        text = "does not answer: new events are refused with 503, and deliveries wait until it does."
        return Component("Registry", False, text)
    return Component("Registry", True, "answers")
