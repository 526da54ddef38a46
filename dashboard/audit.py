"""The audit log."""

from fastapi import APIRouter, Request, Response

from api.access import needs
from api.deps import AnyTenant, AuditDep, CallerDep, Cursor
from dashboard.paging import paging
from dashboard.rendering import render
from dashboard.routes import PageRoute

router = APIRouter(include_in_schema=False, route_class=PageRoute)
ENTRIES_ON_PAGE = 50


@router.get("/audit", dependencies=[needs("admin")])
async def list_audit_log(
    request: Request, cursor: Cursor, audit: AuditDep, tenant: AnyTenant, caller: CallerDep
) -> Response:
    """Show changes and commands, newest first."""
    found, end = await audit.page(tenant=tenant, since=None, until=None, limit=ENTRIES_ON_PAGE, cursor=cursor.start)
    page = cursor.page(found, end)
    links_of_page = paging(request, "/audit", cursor, page.next_cursor)
    return await render(request, "audit.html", items=found, caller=caller, **links_of_page)
