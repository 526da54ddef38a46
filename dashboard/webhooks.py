"""The list of webhooks: status, success rate and attempts of the last 24 hours."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api import views
from api.access import needs
from api.deps import AnyTenant, CallerDep, Cursor, StoreDep
from dashboard.day import last_day
from dashboard.paging import paging
from dashboard.rendering import render
from dashboard.routes import PageRoute
from hookkeeper.services.fields import EventType

router = APIRouter(prefix="/webhooks", include_in_schema=False, route_class=PageRoute)
WEBHOOKS_ON_PAGE = 20
SPARKLINE_HEIGHT = 24.0


@router.get("", dependencies=[needs("webhooks:read")])
async def list_webhooks(
    request: Request,
    cursor: Cursor,
    store: StoreDep,
    caller: CallerDep,
    tenant: AnyTenant,
    event: Annotated[EventType | None, Query()] = None,
    enabled: bool | None = None,
    done: str = "",
) -> Response:
    """Show a page of webhooks, newest first."""
    found, end = await store.webhooks.page(
        tenant=tenant, event=event, enabled=enabled, limit=WEBHOOKS_ON_PAGE, cursor=cursor.start
    )
    page = cursor.page([views.webhook(row) for row in found], end)
    can_count = "events:read" in caller.scopes
    days = {
        row.id: await last_day(store.index, SPARKLINE_HEIGHT, tenant=row.tenant, webhook=row.id)
        for row in found
        if can_count
    }
    return await render(
        request,
        "webhooks.html",
        notice="The webhook is deleted." if done == "delete" else "",
        webhooks=page.items,
        targets={row.id: row.target for row in found},
        days=days,
        **paging(request, "/webhooks", cursor, page.next_cursor),
        all_tenants=caller.tenant is None,
    )
