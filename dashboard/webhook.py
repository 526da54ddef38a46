"""What the tabs of a webhook share, and its first tabs: how it is, and its deliveries.

`webhook_settings.py` has the settings, `webhook_receiver.py` what one needs to build a receiver.
"""

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from api import views
from api.access import needs
from api.deps import Cursor, KnownWebhook, RecoveriesDep, StoreDep, WebhooksDep
from api.filters import DeliverySearch
from api.problems import Problem
from dashboard import filters
from dashboard.charts import Counted, RangeName, ShownRange, count_range
from dashboard.event import REASONS
from dashboard.recoveries import PERIODS, read_recovery
from dashboard.rendering import paging, problem_of, query, redirect, render
from dashboard.routes import PageRoute
from hookkeeper.filters import OF_DELIVERIES
from hookkeeper.messages.event import Attempt
from hookkeeper.messages.rows import DeliveryRow
from hookkeeper.registry.events.conditions import Search
from hookkeeper.registry.events.delivery_times import DeliveryTimes
from hookkeeper.registry.events.rows import EventRows
from hookkeeper.registry.events.waiting import WaitingDeliveries
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.webhooks.targets import part_of
from hookkeeper.services.errors import ServiceError
from hookkeeper.services.events.recoveries import RecoveryRequest, incident_began
from hookkeeper.services.webhooks.webhooks import WebhookService
from hookkeeper.statuses import DeliveryStatus
from hookkeeper.temporal.server.error_translation import Conflict
from hookkeeper.wording import N_

router = APIRouter(prefix="/webhooks", include_in_schema=False, route_class=PageRoute)
DELIVERIES_ON_PAGE = 25
TIME_FIELDS = frozenset({"last", "since", "until"})
FIELDS = TIME_FIELDS.union(each.name for each in OF_DELIVERIES)
"""Filters that the form of the deliveries has."""
CHART_HEIGHT = 90.0
FAILURES = 5
"""Latest failures that the first tab shows."""
NOT_DELIVERED: tuple[DeliveryStatus, ...] = ("failed", "retrying")
TABS = {
    "overview": ("", "webhooks:read"),
    "deliveries": ("/deliveries", "events:read"),
    "settings": ("/settings", "webhooks:read"),
    "test": ("/test", "webhooks:read"),
    "verify": ("/verify", "webhooks:read"),
}
"""The end of the path, and the scope that one needs."""
DONE = {
    "pause": N_("The webhook is paused: its deliveries are held."),
    "resume": N_("The webhook was resumed: held deliveries are released, oldest first."),
    "disable": N_("The webhook is disabled: its deliveries are held until it is enabled."),
    "enable": N_("The webhook is enabled: held deliveries are released, oldest first."),
    "create": N_("The webhook is registered. Send a test event to try it."),
    "again": N_(
        "This form has registered the webhook already, as it was when it was first sent. Edit the webhook to change it."
    ),
    "change": N_("The webhook was changed. Deliveries that wait use the new settings at their next attempt."),
    "untested": N_(
        "The webhook is saved, but the test event was not accepted. Send it below: if it is refused again, the"
        " page says why."
    ),
    "recover": N_("The failed deliveries are made again in the background, oldest first."),
}
"""What a tab says after a change."""


class Failure(NamedTuple):
    """A delivery whose latest attempt has failed, and that attempt; None while its run cannot be read."""

    delivery: DeliveryRow
    attempt: Attempt | None


class History(NamedTuple):
    """What the index has of a webhook."""

    counted: Counted | None
    """None if there are too many counters to add up."""
    failed: int | None
    """Deliveries that have failed for good; None if they are too many to count."""
    failures: list[Failure]
    waiting: WaitingDeliveries
    times: DeliveryTimes | None

    @property
    def next_attempts(self) -> dict[str, datetime]:
        """The next attempt of these failures by target: `webhook`, `email.1`."""
        due = [(delivery.next_attempt_at, delivery.id) for delivery, _ in self.failures if delivery.next_attempt_at]
        return {part_of(id_): at for at, id_ in sorted(due, reverse=True)}


@router.get("/{webhook_id}", dependencies=[needs("webhooks:read")])
async def show_overview(
    request: Request,
    webhook: KnownWebhook,
    webhooks: WebhooksDep,
    shown: ShownRange = "24h",
    done: str = "",
) -> Response:
    """Show how a webhook is. An earlier address, with a filter of deliveries or a test event, leads to its tab."""
    given = request.query_params.keys()
    if moved := "test" if "test" in given else "deliveries" if FIELDS & given else None:
        return redirect(f"{path_of(webhook, moved)}?{request.url.query}")
    return await _show_overview(request, webhook, webhooks, shown, notice=DONE.get(done, ""))


@router.get("/{webhook_id}/deliveries", dependencies=[needs("events:read")])
@filters.filtered
async def show_deliveries(
    request: Request, webhook: KnownWebhook, store: StoreDep, cursor: Cursor, search: DeliverySearch
) -> Response:
    """Show a page of the webhook's deliveries, newest event first."""
    path = path_of(webhook, "deliveries")
    deliveries, end = await store.index.deliveries(search, DELIVERIES_ON_PAGE, cursor.start)
    return await show_tab(
        request,
        "deliveries",
        webhook,
        live=5 if cursor.start is None else None,
        deliveries=[event.latest for event in deliveries],
        reasons=REASONS,
        **await filters.context(request, path, OF_DELIVERIES, TIME_FIELDS, store, webhook.tenant, webhook.id),
        **paging(request, path, cursor, end, exported=True),
    )


@router.post("/{webhook_id}/recover", dependencies=[needs("events:write")])
async def recover_webhook(
    request: Request, webhook: KnownWebhook, webhooks: WebhooksDep, recoveries: RecoveriesDep
) -> Response:
    """Count the failed deliveries of a time; in a second step, with the time that was shown, make them again. Attempt
    what waits at once.
    """
    try:
        state = await recoveries.of_webhook(webhook, RecoveryRequest.model_validate(read_recovery(request.state.form)))
    except (Problem, ValidationError, Conflict, ServiceError) as error:
        return await _show_overview(request, webhook, webhooks, problem=problem_of(error))
    if state.id and state.scope.status == "retrying":
        return redirect(query(f"/recoveries/{state.id}", done="retry"))
    if state.id:
        return redirect(path_of(webhook, done="recover"))
    return await _show_overview(request, webhook, webhooks, recovery=views.recovery(state))


def path_of(webhook: Webhook, tab: str = "overview", **parameters: str | None) -> str:
    """Return the URL of a tab."""
    return query(f"/webhooks/{webhook.id}{TABS[tab][0]}", **parameters)


async def show_tab(request: Request, tab: str, webhook: Webhook, **context: Any) -> Response:
    """Render a tab, whose `context` has what only it shows. An answer to a form takes its news from the tab."""
    scopes = request.state.caller.scopes
    return await render(
        request,
        f"webhook_{tab}.html",
        **{
            "webhook": views.webhook(webhook),
            "suspended": webhook.suspended,
            "target": webhook.target,
            "tab": tab,
            "tabs": {name: path_of(webhook, name) for name, (_, scope) in TABS.items() if scope in scopes},
            "live": None,
            "back": None if request.method == "GET" else path_of(webhook, tab),
            **context,
        },
    )


async def _show_overview(
    request: Request, webhook: Webhook, webhooks: WebhookService, shown: RangeName = "24h", **context: Any
) -> Response:
    history = await _history(webhooks, webhook, shown) if "events:read" in webhooks.caller.scopes else None
    began = incident_began(webhook)
    context = {
        "history": history,
        "shown": shown,
        "recovery": None,
        "periods": PERIODS,
        "incident_began": began,
    } | context
    return await show_tab(request, "overview", webhook, live=5, **context)


async def _history(webhooks: WebhookService, webhook: Webhook, shown: RangeName) -> History:
    index, search = webhooks.store.index, Search(tenant=webhook.tenant, webhook=webhook.id)
    counted = await count_range(index, CHART_HEIGHT, shown, tenant=webhook.tenant, webhook=webhook.id)
    failed = await index.count_deliveries(replace(search, delivery_statuses=("failed",)))
    found, _ = await index.deliveries(replace(search, delivery_statuses=NOT_DELIVERED), FAILURES, None)
    failures = [delivery for event in found for delivery in event.deliveries]
    attempts = await asyncio.gather(*(_latest_attempt(webhooks.store.rows, delivery) for delivery in failures))
    waiting = (await index.waiting_of_webhooks([webhook.id])).get(webhook.id, WaitingDeliveries())
    times = await index.delivery_times(webhook.tenant, webhook.id)
    return History(counted, failed, list(map(Failure, failures, attempts)), waiting, times)


async def _latest_attempt(rows: EventRows, listed: DeliveryRow) -> Attempt | None:
    if (event := await rows.read(listed.tenant, listed.event_id)) is None:  # erased meanwhile
        return None
    deliveries = event.state.deliveries
    return next((known.attempts[-1] for known in deliveries if known.id == listed.id and known.attempts), None)
