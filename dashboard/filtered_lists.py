"""The lists with a filter: events with their views and their stream, and webhooks."""

from collections.abc import AsyncIterable
from dataclasses import replace
from typing import NamedTuple, get_args

from fastapi import APIRouter, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api import views
from api.access import needs
from api.deps import CallerDep, Cursor, LinksDep, SearchesDep, StoreDep
from api.filters import DataQuery, EventSearch, SubscriptionDep, WebhookSearch
from api.state import state_of
from dashboard import filters
from dashboard.charts import count_range
from dashboard.event import REASONS
from dashboard.rendering import filters_in, paging, query, render
from dashboard.routes import PageRoute
from hookkeeper.filters import OF_EVENTS
from hookkeeper.policy import HealthStatus
from hookkeeper.registry.events.conditions import Search
from hookkeeper.registry.events.index import EventIndex
from hookkeeper.services.webhooks.webhooks import names_of
from hookkeeper.wording import N_

router = APIRouter(include_in_schema=False, route_class=PageRoute)
EVENTS_ON_PAGE = 50
MAX_COUNTED = 100
"""Events that a view counts."""
FOLLOWED = ("tenant", "type", "webhook")
"""Filters of the stream of events. What no longer meets another filter is news too: it leaves the list."""
EVENT_FIELDS = frozenset({"tenant", "q", "webhook", "last", "since", "until"})
"""Filters that the form of events has beside those that are described."""
WEBHOOKS_ON_PAGE = 20
WEBHOOK_FIELDS = frozenset({"tenant", "q", "event", "status"})
"""Filters that the form of webhooks has."""
SPARKLINE_HEIGHT = 24.0


class View(NamedTuple):
    """A part of the list that is looked at often."""

    name: str
    url: str
    shown_count: str | None
    is_shown: bool


@router.get("/events", dependencies=[needs("events:read")])
@filters.filtered
async def list_events(
    request: Request,
    cursor: Cursor,
    store: StoreDep,
    searches: SearchesDep,
    links: LinksDep,
    caller: CallerDep,
    search: EventSearch,
    q: DataQuery = None,
) -> Response:
    """Show a page of events, newest first, each with the result of its worst delivery."""
    search, terms = await searches.resolve(search, q)
    found = await searches.page(search, terms, EVENTS_ON_PAGE, cursor.start)
    names = await names_of(store, caller, found.webhooks | {search.webhook or ""})
    filter_ = await filters.context(request, "/events", OF_EVENTS, EVENT_FIELDS, store, search.tenant, **names)
    given = filters_in(request.query_params)
    followed = {name: given[name] for name in FOLLOWED if name in given}
    return await render(
        request,
        "events.html",
        events=[views.event_summary(row, links, names) for row in found.rows],
        views=await _views(store.index, search, followed),
        searched_until=found.searched_until,
        **paging(request, "/events", cursor, found.next_cursor, exported=True),
        **filter_,
        stream=query("/live", **followed),
        reasons=REASONS,
    )


async def _views(index: EventIndex, search: Search, owner: dict[str, list[str]]) -> list[View]:
    """Return the views of the list for the same tenant, types and webhook."""
    base = Search(tenant=search.tenant, types=search.types, webhook=search.webhook)
    troubled, held = replace(base, needs_attention=True), replace(base, delivery_statuses=("held",))
    return [
        View(N_("All"), query("/events", **owner), None, search == base),
        View(
            N_("Needs attention"),
            query("/events", **owner, needs_attention="true"),
            await _count(index, troubled),
            search == troubled,
        ),
        View(N_("Held"), query("/events", **owner, delivery_status="held"), await _count(index, held), search == held),
    ]


async def _count(index: EventIndex, search: Search) -> str:
    count, are_all = await index.count_up_to(search, MAX_COUNTED)
    return f"{count}{'' if are_all else '+'}"


@router.get("/live", response_class=EventSourceResponse, dependencies=[needs("events:read")])
async def follow_events(request: Request, stream: SubscriptionDep) -> AsyncIterable[ServerSentEvent]:
    """Stream what changes, as `GET /v1/events/stream` does."""
    async for message in state_of(request).feed.messages(stream):
        yield message


@router.get("/webhooks", dependencies=[needs("webhooks:read")])
@filters.filtered
async def list_webhooks(
    request: Request,
    cursor: Cursor,
    store: StoreDep,
    caller: CallerDep,
    search: WebhookSearch,
    done: str = "",
) -> Response:
    """Show a page of webhooks, newest first."""
    found, end = await store.webhooks.page(**search._asdict(), limit=WEBHOOKS_ON_PAGE, cursor=cursor.start)
    days = {
        row.id: await count_range(store.index, SPARKLINE_HEIGHT, tenant=row.tenant, webhook=row.id)
        for row in found
        if "events:read" in caller.scopes
    }
    return await render(
        request,
        "webhooks.html",
        notice=N_("The webhook is deleted.") if done == "delete" else "",
        webhooks=[views.webhook(row) for row in found],
        targets={row.id: row.target for row in found},
        days=days,
        statuses=get_args(HealthStatus),
        **await filters.context(request, "/webhooks", (), WEBHOOK_FIELDS, store, search.tenant),
        **paging(request, "/webhooks", cursor, end, exported=True),
    )
