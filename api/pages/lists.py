"""Further lists: schedules with their next times, and the audit log."""

from typing import Any, Literal

from fastapi import APIRouter, Request, Response

from api import views
from api.access import needs
from api.deps import AnyTenant, AuditDep, CallerDep, Cursor, LinksDep, SchedulesDep, Tenant
from api.pages.rendering import given_filters, query, redirect, render
from api.pages.routes import PageRoute
from api.routes import schedules as api
from api.routes.audit import AuditRecord
from api.routes.schedules import PathId
from hookkeeper.services.fields import Page

router = APIRouter(include_in_schema=False, route_class=PageRoute)
ITEMS_ON_PAGE = 50


@router.get("/schedules", dependencies=[needs("events:read")])
async def list_schedules(
    request: Request, cursor: Cursor, schedules: SchedulesDep, links: LinksDep, tenant: AnyTenant, caller: CallerDep
) -> Response:
    """Show schedules with their next times, newest first."""
    found, end = await schedules.page(tenant, ITEMS_ON_PAGE, cursor.start)
    page = cursor.page([views.schedule_summary(known, links) for known in found], end)
    return await _list(request, "schedules.html", page, is_first=cursor.start is None, caller=caller)


def _add_command(command: Literal["pause", "resume"]) -> None:
    async def act(
        schedule_id: PathId, schedules: SchedulesDep, audit: AuditDep, caller: CallerDep, tenant: Tenant
    ) -> Response:
        await api.set_paused(command == "pause", schedule_id, "", schedules, audit, caller, tenant)
        return redirect(query("/schedules", tenant=None if caller.tenant else tenant))

    router.add_api_route(
        f"/schedules/{{schedule_id}}/{command}",
        act,
        methods=["POST"],
        name=f"{command}_schedule_page",
        dependencies=[needs("events:write")],
    )


_add_command("pause")
_add_command("resume")


@router.get("/audit", dependencies=[needs("admin")])
async def list_audit_log(
    request: Request, cursor: Cursor, audit: AuditDep, tenant: AnyTenant, caller: CallerDep
) -> Response:
    """Show changes and commands, newest first."""
    found, end = await audit.page(tenant=tenant, since=None, until=None, limit=ITEMS_ON_PAGE, cursor=cursor.start)
    page = cursor.page([AuditRecord.of(entry) for entry in found], end)
    return await _list(request, "audit.html", page, is_first=cursor.start is None, caller=caller)


async def _list(request: Request, template: str, page: Page[Any], *, is_first: bool, **context: Any) -> Response:
    path, given = request.url.path, given_filters(request)
    return await render(
        request,
        template,
        items=page.items,
        older=page.next_cursor and query(path, **given, cursor=page.next_cursor),
        newest=query(path, **given),
        is_first=is_first,
        given=request.query_params,
        **context,
    )
