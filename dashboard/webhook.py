"""The page of a webhook: its health, its settings without secrets, its deliveries."""

import hmac
from typing import Annotated, Any, NamedTuple, get_args

from fastapi import APIRouter, Query, Request, Response

from api import views
from api.access import needs
from api.deps import (
    CallerDep,
    Cursor,
    GatewayDep,
    KnownWebhook,
    LinksDep,
    StoreDep,
)
from api.filters import DeliverySearch
from api.problems import Problem
from dashboard.answers import read_answer
from dashboard.day import Day, last_day
from dashboard.events import PERIODS
from dashboard.paging import given_filters, paging
from dashboard.rendering import errors_of, query, render
from dashboard.routes import PageRoute
from dashboard.snippets import snippets_for
from hookkeeper.messages.event import DeliveryStatus
from hookkeeper.registry.index.listing import ListedDelivery
from hookkeeper.registry.index.search import Search
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.services.caller import Caller
from hookkeeper.services.fields import EVENT_ID
from hookkeeper.services.new_event import new_event_id
from hookkeeper.services.webhooks import WebhookService
from hookkeeper.times import utc_now

router = APIRouter(prefix="/webhooks", include_in_schema=False, route_class=PageRoute)
DELIVERIES_ON_PAGE = 25
CHART_HEIGHT = 90.0
DONE = {
    "pause": "The webhook is paused: its deliveries are held.",
    "resume": "The webhook was resumed: held deliveries are released, oldest first.",
    "disable": "The webhook is disabled: its deliveries are held until it is enabled.",
    "enable": "The webhook is enabled: held deliveries are released, oldest first.",
    "create": "The webhook is registered. Send a test event to try it.",
    "again": "This form has registered the webhook already, as it was when it was first sent. Edit the webhook to"
    " change it.",
    "change": "The webhook was changed. Deliveries that wait use the new settings at their next attempt.",
    "untested": "The webhook is saved, but the test event was not accepted. Send it below: if it is refused again, the"
    " page says why.",
    "recover": "The failed deliveries are made again in the background, oldest first.",
}
"""What the page says after a change."""


class History(NamedTuple):
    """What the index has of a webhook."""

    deliveries: list[ListedDelivery]
    end: str | None
    day: Day | None
    """None if there are too many counters to add up."""


@router.get("/{webhook_id}", dependencies=[needs("webhooks:read")])
async def show_webhook(
    request: Request,
    webhook: KnownWebhook,
    store: StoreDep,
    caller: CallerDep,
    cursor: Cursor,
    search: DeliverySearch,
    gateway: GatewayDep,
    links: LinksDep,
    done: str = "",
    test: Annotated[str | None, Query(pattern=EVENT_ID)] = None,
) -> Response:
    """Show a webhook, with the answer to a test event; its deliveries need `events:read` too."""
    path = f"/webhooks/{webhook.id}"
    answer = await read_answer(test, webhook, gateway, links, caller) if test else None
    form = {"id": new_event_id(), "type": answer.type, "data": answer.data} if answer and answer.type else None
    history = await _history(store, caller, search, cursor.start)
    older = cursor.page((), history and history.end).next_cursor
    return await show(
        request,
        webhook,
        caller,
        history,
        form=form,
        notice=DONE.get(done, ""),
        answer=answer,
        back=query(path, **given_filters(request)) if test else None,
        **paging(request, path, cursor, older),
    )


async def _history(store: Store, caller: Caller, search: Search, start: str | None) -> History | None:
    """Read the deliveries and the last day of a webhook; None without the scope for it."""
    if "events:read" not in caller.scopes:
        return None
    deliveries, end = await store.index.deliveries(search, DELIVERIES_ON_PAGE, start)
    day = await last_day(store.index, CHART_HEIGHT, tenant=search.tenant, webhook=search.webhook)
    return History(deliveries, end, day)


async def show(
    request: Request,
    webhook: Webhook,
    caller: Caller,
    history: History | None,
    *,
    problem: Problem | None = None,
    form: dict[str, str] | None = None,
    **context: Any,
) -> Response:
    """Render the page; `context` has what only some requests add to it."""
    until = webhook.previous_secret_expires_at
    return await render(
        request,
        "webhook.html",
        problem.status_code if problem else 200,
        **{
            "webhook": views.webhook(webhook),
            "target": webhook.target,
            "key_mark": mark_of(webhook.secret) if "webhooks:write" in caller.scopes else "",
            "previous_key_until": until if until and until > utc_now() else None,
            "history": history,
            "scopes": caller.scopes,
            "notice": "",
            "problem": problem,
            "errors": errors_of(problem),
            "is_test": False,
            "form": form or {"id": new_event_id()},
            "older": None,
            "newest": "",
            "is_first": True,
            "is_filtered": False,
            "given": request.query_params,
            "statuses": get_args(DeliveryStatus),
            "periods": PERIODS,
            "preview": None,
            "secret": None,
            "recovery": None,
            "answer": None,
            "snippets": snippets_for(webhook.secret),
            **context,
        },
    )


def mark_of(secret: str) -> str:
    """Return what tells a signing key from others, and is no help to guess it."""
    return hmac.digest(secret.encode(), b"the key on a page", "sha256")[:8].hex()


async def show_again(request: Request, webhook: Webhook, webhooks: WebhookService, **context: Any) -> Response:
    """Show the page in answer to a form, with what came of it."""
    caller = webhooks.caller
    history = await _history(webhooks.store, caller, Search(tenant=webhook.tenant, webhook=webhook.id), None)
    return await show(request, webhook, caller, history, **context)
