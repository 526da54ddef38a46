"""The list of webhooks, and the page of one: health, settings, deliveries, what came of a test event."""

import hmac
from importlib.resources import files
from typing import Annotated, Any, NamedTuple, get_args

from fastapi import APIRouter, Query, Request, Response

from api import views
from api.access import needs
from api.deps import AnyTenant, CallerDep, Cursor, KnownWebhook, LinksDep, StoreDep, WebhooksDep
from api.filters import DeliverySearch
from api.problems import Problem
from api.schemas.events import DeliveryView
from api.state import state_of
from dashboard import filters
from dashboard.charts import Counted, RangeName, ShownRange, count_range
from dashboard.event import REASONS
from dashboard.rendering import given_filters, paging, query, render
from dashboard.routes import PageRoute
from hookkeeper.content.headers import MASK
from hookkeeper.content.json_text import readable
from hookkeeper.crypto.signing_keys import PUBLIC, Scheme, is_asymmetric, public_key
from hookkeeper.links import LinkBuilder
from hookkeeper.messages.event import DeliveryStatus
from hookkeeper.policy import Status
from hookkeeper.registry.index.listing import ListedDelivery
from hookkeeper.registry.index.search import Search
from hookkeeper.registry.models import Webhook
from hookkeeper.services.caller import Caller
from hookkeeper.services.fields import EVENT_ID, EventType
from hookkeeper.services.new_event import new_event_id
from hookkeeper.services.webhooks import WebhookService
from hookkeeper.temporal.server.error_translation import Unavailable, UnknownEvent
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
FIELDS = frozenset({"status", "type", "status_code", "error", "last", "since", "until"})
"""Filters that the form of the deliveries has."""
WEBHOOK_FIELDS = frozenset({"tenant", "event", "status"})
"""Filters that the form of the list of webhooks has."""
WEBHOOKS_ON_PAGE = 20
SPARKLINE_HEIGHT = 24.0
MAX_DATA_IN_FORM = 16 * 1024
"""Characters of an event's data that the form for the next test has."""
LANGUAGES = {"Python": "py", "JavaScript": "mjs", "Go": "go", "Ruby": "rb", "PHP": "php", "Java": "java"}
"""Each language, and what its files end with."""
KEY = "_KEY"
"""Stands in a program for what follows the key's prefix."""
SCHEMES: tuple[Scheme, ...] = ("v1", "v1a")
PROGRAMS = {
    scheme: {
        name: files("dashboard").joinpath("snippets", f"verify_{scheme}.{suffix}").read_text()
        for name, suffix in LANGUAGES.items()
    }
    for scheme in SCHEMES
}
"""Programs that verify the requests of a webhook. Tests run those whose language is installed."""


class History(NamedTuple):
    """What the index has of a webhook."""

    deliveries: list[ListedDelivery]
    end: str | None
    counted: Counted | None
    """None if there are too many counters to add up."""


class Answer(NamedTuple):
    """A test event and its deliveries. Without deliveries, `text` says why."""

    event_id: str
    text: str = ""
    status: str = ""
    type: str = ""
    data: str = ""
    deliveries: tuple[DeliveryView, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether a receiver has not answered yet."""
        return any(not delivery.attempts and delivery.status == "pending" for delivery in self.deliveries)


@router.get("", dependencies=[needs("webhooks:read")])
@filters.filtered
async def list_webhooks(
    request: Request,
    cursor: Cursor,
    store: StoreDep,
    caller: CallerDep,
    tenant: AnyTenant,
    event: Annotated[EventType | None, Query()] = None,
    enabled: bool | None = None,
    status: Status | None = None,
    done: str = "",
) -> Response:
    """Show a page of webhooks, newest first."""
    found, end = await store.webhooks.page(
        tenant=tenant, event=event, enabled=enabled, limit=WEBHOOKS_ON_PAGE, cursor=cursor.start, status=status
    )
    can_count = "events:read" in caller.scopes
    days = {
        row.id: await count_range(store.index, SPARKLINE_HEIGHT, tenant=row.tenant, webhook=row.id)
        for row in found
        if can_count
    }
    return await render(
        request,
        "webhooks.html",
        notice="The webhook is deleted." if done == "delete" else "",
        webhooks=[views.webhook(row) for row in found],
        targets={row.id: row.target for row in found},
        days=days,
        statuses=get_args(Status),
        **await filters.context(request, "/webhooks", WEBHOOK_FIELDS, store, tenant),
        **paging(request, "/webhooks", cursor, end),
    )


@router.get("/{webhook_id}", dependencies=[needs("webhooks:read")])
@filters.filtered
async def show_webhook(
    request: Request,
    webhook: KnownWebhook,
    webhooks: WebhooksDep,
    links: LinksDep,
    cursor: Cursor,
    search: DeliverySearch,
    shown: ShownRange = "24h",
    done: str = "",
    test: Annotated[str | None, Query(pattern=EVENT_ID)] = None,
) -> Response:
    """Show a webhook, with the answer to a test event; its deliveries need `events:read` too."""
    path = f"/webhooks/{webhook.id}"
    answer = await _answer(test, webhook, webhooks, links) if test else None
    form = {"id": new_event_id(), "type": answer.type, "data": answer.data} if answer and answer.type else None
    history = await _history(webhooks, search, cursor.start, shown)
    return await _show(
        request,
        webhook,
        history,
        form=form,
        notice=DONE.get(done, ""),
        answer=answer,
        shown=shown,
        back=query(path, **given_filters(request)) if test else None,
        **paging(request, path, cursor, history and history.end),
    )


async def _history(
    webhooks: WebhookService, search: Search, start: str | None, shown: RangeName = "24h"
) -> History | None:
    """Read the deliveries and the numbers of a webhook; None without the scope for it."""
    if "events:read" not in webhooks.caller.scopes:
        return None
    index = webhooks.store.index
    deliveries, end = await index.deliveries(search, DELIVERIES_ON_PAGE, start)
    counted = await count_range(index, CHART_HEIGHT, shown, tenant=search.tenant, webhook=search.webhook)
    return History(deliveries, end, counted)


async def _show(
    request: Request,
    webhook: Webhook,
    history: History | None,
    *,
    problem: Problem | None = None,
    form: dict[str, str] | None = None,
    **context: Any,
) -> Response:
    """Render the page; `context` has what only some requests add to it."""
    caller: Caller = request.state.caller
    until = webhook.previous_secret_expires_at
    return await render(
        request,
        "webhook.html",
        **{
            "webhook": views.webhook(webhook),
            "target": webhook.target,
            "key_mark": mark_of(webhook.secret) if "webhooks:write" in caller.scopes else "",
            "previous_key_until": until if until and until > utc_now() else None,
            "history": history,
            "shown": "24h",
            "problem": problem,
            "is_test": False,
            "form": form or {"id": new_event_id()},
            "older": None,
            "newest": "",
            "is_first": True,
            "is_filtered": False,
            "statuses": get_args(DeliveryStatus),
            "reasons": REASONS,
            **await filters.context(
                request, f"/webhooks/{webhook.id}", FIELDS, state_of(request).store, webhook.tenant, webhook.id
            ),
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
    history = await _history(webhooks, Search(tenant=webhook.tenant, webhook=webhook.id), None)
    return await _show(request, webhook, history, **context)


async def _answer(event_id: str, webhook: Webhook, webhooks: WebhookService, links: LinkBuilder) -> Answer | None:
    """Return what came of a test event; None if there is none of this id."""
    if "events:read" not in webhooks.caller.scopes:
        return Answer(event_id, "The test event was accepted.")
    try:
        snapshot = await webhooks.gateway.read(webhook.tenant, event_id)
    except UnknownEvent:
        return None
    except Unavailable:
        return Answer(event_id, "The test event was accepted. Its deliveries cannot be read now.")
    event = views.event(snapshot, links)
    data = readable(snapshot.event.data, MAX_DATA_IN_FORM + 1)  # no more than is shown
    return Answer(
        event_id,
        status=event.status,
        type=event.type,
        data=data if len(data) <= MAX_DATA_IN_FORM else "",
        deliveries=tuple(delivery for delivery in event.deliveries if delivery.webhook_id == webhook.id),
    )


class Snippet(NamedTuple):
    """A program for the receivers of a webhook."""

    language: str
    suffix: str
    code: str


def snippets_for(secret: str) -> list[Snippet]:
    """Return the programs for the scheme of a signing key, which is masked; a public key is no secret."""
    scheme: Scheme = "v1a" if is_asymmetric(secret) else "v1"
    shown = public_key(secret).removeprefix(PUBLIC) if scheme == "v1a" else MASK
    return [
        Snippet(name, LANGUAGES[name], code.replace(KEY, f"_{shown}", 1)) for name, code in PROGRAMS[scheme].items()
    ]
