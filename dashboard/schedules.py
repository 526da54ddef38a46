"""The list of schedules with their next times; pause one, and resume it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request, Response

from api import views
from api.access import needs
from api.deps import AnyTenant, AuditDep, CallerDep, Cursor, LinksDep, SchedulesDep, Tenant
from dashboard.paging import paging
from dashboard.rendering import query, redirect, render
from dashboard.routes import PageRoute
from hookkeeper.services.fields import SCHEDULE_ID
from hookkeeper.services.schedules import set_paused

router = APIRouter(include_in_schema=False, route_class=PageRoute)
SCHEDULES_ON_PAGE = 50


@router.get("/schedules", dependencies=[needs("events:read")])
async def list_schedules(
    request: Request, cursor: Cursor, schedules: SchedulesDep, links: LinksDep, tenant: AnyTenant, caller: CallerDep
) -> Response:
    """Show schedules with their next times, newest first."""
    found, end = await schedules.page(tenant, SCHEDULES_ON_PAGE, cursor.start)
    page = cursor.page([views.schedule_summary(known, links) for known in found], end)
    links_of_page = paging(request, "/schedules", cursor, page.next_cursor)
    return await render(request, "schedules.html", items=page.items, caller=caller, **links_of_page)


def _add_command(command: Literal["pause", "resume"]) -> None:
    async def act(
        schedule_id: Annotated[str, Path(pattern=SCHEDULE_ID)],
        schedules: SchedulesDep,
        audit: AuditDep,
        caller: CallerDep,
        tenant: Tenant,
    ) -> Response:
        await set_paused(command == "pause", schedule_id, "", schedules, audit, caller, tenant)
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
