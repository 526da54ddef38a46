"""The list of events, with the filters of `GET /v1/events`."""

from typing import get_args

from fastapi import APIRouter, Request, Response

from api import views
from api.access import needs
from api.deps import CallerDep, Cursor, IndexDep, LinksDep
from api.filters import EventSearch
from dashboard.paging import given_filters, paging
from dashboard.rendering import query, render
from dashboard.routes import PageRoute
from hookkeeper.messages.event import DeliveryStatus, EventStatus
from hookkeeper.services.fields import ERROR

router = APIRouter(prefix="/events", include_in_schema=False, route_class=PageRoute)
EVENTS_ON_PAGE = 50
FOLLOWED = ("tenant", "type", "webhook")
"""Filters of the list's stream. An event that meets one of the others no more has to leave the list."""
PERIODS = {"15m": "15 minutes", "1h": "hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}


@router.get("", dependencies=[needs("events:read")])
async def list_events(
    request: Request, cursor: Cursor, index: IndexDep, links: LinksDep, caller: CallerDep, search: EventSearch
) -> Response:
    """Show a page of events, newest first."""
    rows, end = await index.events(search, EVENTS_ON_PAGE, cursor.start)
    page = cursor.page([views.event_summary(row, links) for row in rows], end)
    given = given_filters(request)
    return await render(
        request,
        "events.html",
        events=page.items,
        **paging(request, "/events", cursor, page.next_cursor),
        stream=query("/live", **{name: given[name] for name in FOLLOWED if name in given}),
        statuses=get_args(EventStatus),
        delivery_statuses=get_args(DeliveryStatus),
        periods=PERIODS,
        error_pattern=ERROR.strip("^$"),
        all_tenants=caller.tenant is None,
    )
