"""The page of a webhook: its health, its settings without secrets, its deliveries, and a test event."""

from typing import NamedTuple, get_args

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from api import views
from api.access import needs
from api.caller import Caller
from api.deps import (
    CallerDep,
    CatalogueDep,
    Cursor,
    GatewayDep,
    IngestDep,
    KnownWebhook,
    LinksDep,
    StoreDep,
    ValidatorDep,
)
from api.errors import from_validation
from api.filters import DeliverySearch
from api.pages.charts import Chart
from api.pages.day import last_day
from api.pages.events import PERIODS
from api.pages.rendering import given_filters, query, redirect, render
from api.pages.routes import PageRoute
from api.problems import Problem, ServiceUnavailable
from api.routes import webhooks as api
from api.schemas.webhooks import TestEventRequest, WebhookChanges
from api.strict_json import parse
from hookkeeper.messages.event import DeliveryStatus
from hookkeeper.registry.index.listing import ListedDelivery
from hookkeeper.registry.index.search import Search
from hookkeeper.registry.index.statistics import Group
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.services.new_event import new_event_id

router = APIRouter(prefix="/webhooks", include_in_schema=False, route_class=PageRoute)
DELIVERIES_ON_PAGE = 25
CHART_HEIGHT = 90.0
DONE = {
    "pause": "The webhook is paused: its deliveries are held.",
    "resume": "The webhook was resumed: held deliveries are released, oldest first.",
    "enable": "The webhook is enabled: held deliveries are released, oldest first.",
}
"""What the page says after a change."""


class History(NamedTuple):
    """What the index has of a webhook."""

    deliveries: list[ListedDelivery]
    end: str | None
    day: Group
    chart: Chart


@router.get("/{webhook_id}", dependencies=[needs("webhooks:read")])
async def show_webhook(
    request: Request,
    webhook: KnownWebhook,
    store: StoreDep,
    caller: CallerDep,
    cursor: Cursor,
    search: DeliverySearch,
    done: str = "",
) -> Response:
    """Show a webhook; its deliveries need `events:read` too."""
    given = given_filters(request)
    given.pop("done", None)
    path = f"/webhooks/{webhook.id}"
    history = await _history(store, caller, search, cursor.start)
    older = cursor.page((), history and history.end).next_cursor
    return await _show(
        request,
        webhook,
        caller,
        history,
        notice=DONE.get(done, ""),
        older=older and query(path, **given, cursor=older),
        newest=query(path, **given),
        is_first=cursor.start is None,
        is_filtered=bool(given),
    )


@router.post("/{webhook_id}/pause", dependencies=[needs("webhooks:write")])
async def pause_webhook(webhook: KnownWebhook, store: StoreDep, caller: CallerDep) -> Response:
    """Pause a webhook."""
    await api.pause_webhook(webhook, store, caller)
    return redirect(query(f"/webhooks/{webhook.id}", done="pause"))


@router.post("/{webhook_id}/resume", dependencies=[needs("webhooks:write")])
async def resume_webhook(webhook: KnownWebhook, store: StoreDep, gateway: GatewayDep, caller: CallerDep) -> Response:
    """Resume a webhook."""
    await api.resume_webhook(webhook, store, gateway, caller)
    return redirect(query(f"/webhooks/{webhook.id}", done="resume"))


@router.post("/{webhook_id}/enable", dependencies=[needs("webhooks:write")])
async def enable_webhook(
    webhook: KnownWebhook, store: StoreDep, gateway: GatewayDep, caller: CallerDep, validator: ValidatorDep
) -> Response:
    """Enable a webhook that was disabled, for failures or by a person."""
    await api.change_webhook(webhook.id, WebhookChanges(enabled=True), store, caller, gateway, validator)
    return redirect(query(f"/webhooks/{webhook.id}", done="enable"))


@router.post("/{webhook_id}/test", dependencies=[needs("webhooks:write")])
async def send_test(
    request: Request,
    webhook: KnownWebhook,
    store: StoreDep,
    caller: CallerDep,
    catalogue: CatalogueDep,
    ingest: IngestDep,
    links: LinksDep,
) -> Response:
    """Send a test event, and go to its page, where the response appears."""
    form: dict[str, str] = request.state.form
    try:
        test = _test_of(form)
        accepted = await api.send_test(webhook, Response(), catalogue, ingest, links, test)
    except ServiceUnavailable:
        raise
    except Problem as problem:
        search = Search(tenant=webhook.tenant, webhook=webhook.id)
        history = await _history(store, caller, search, None)
        return await _show(request, webhook, caller, history, problem=problem, form=form)
    return redirect(query(f"/events/{accepted.id}", tenant=accepted.tenant))


def _test_of(form: dict[str, str]) -> TestEventRequest:
    """Read the form of a test event. Raises Problem. Without data, the type's example is sent."""
    given = {name: form[name].strip() for name in ("id", "type") if form.get(name, "").strip()}
    text = form.get("data", "").strip()
    try:
        return TestEventRequest(**given, **({"data": parse(text.encode(), is_batch=False)} if text else {}))
    except ValidationError as error:
        raise from_validation(error.errors()) from None


async def _history(store: Store, caller: Caller, search: Search, start: str | None) -> History | None:
    """Read the deliveries and the last day of a webhook; None without the scope for it."""
    if "events:read" not in caller.scopes:
        return None
    deliveries, end = await store.index.deliveries(search, DELIVERIES_ON_PAGE, start)
    day, chart = await last_day(store.index, CHART_HEIGHT, tenant=search.tenant, webhook=search.webhook)
    return History(deliveries, end, day, chart)


async def _show(
    request: Request,
    webhook: Webhook,
    caller: Caller,
    history: History | None,
    *,
    notice: str = "",
    problem: Problem | None = None,
    form: dict[str, str] | None = None,
    older: str | None = None,
    newest: str = "",
    is_first: bool = True,
    is_filtered: bool = False,
) -> Response:
    return await render(
        request,
        "webhook.html",
        problem.status_code if problem else 200,
        webhook=views.webhook(webhook),
        target=webhook.target,
        history=history,
        can_write="webhooks:write" in caller.scopes,
        can_see_events="events:read" in caller.scopes,
        notice=notice,
        problem=problem,
        form=form or {"id": new_event_id()},
        older=older,
        newest=newest,
        is_first=is_first,
        is_filtered=is_filtered,
        given=request.query_params,
        statuses=get_args(DeliveryStatus),
        periods=PERIODS,
    )
