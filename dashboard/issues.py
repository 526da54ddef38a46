"""The page of issues: what fails, by webhook and cause, with what helps beside it."""

from fastapi import APIRouter, Request, Response

from api.access import needs
from api.deps import AnyTenant, CallerDep, StoreDep
from dashboard.rendering import query, render
from dashboard.routes import PageRoute
from hookkeeper.services.webhooks.issues import IssueState, read_issues
from hookkeeper.wording import N_

router = APIRouter(include_in_schema=False, route_class=PageRoute)
STATES: dict[IssueState, str] = {"open": N_("Open"), "acknowledged": N_("Acknowledged"), "closed": N_("Closed")}


@router.get("/issues", dependencies=[needs("events:read")])
async def show_issues(
    request: Request, store: StoreDep, caller: CallerDep, tenant: AnyTenant, state: IssueState = "open"
) -> Response:
    """Show the issues in a state."""
    named = tenant if caller.tenant is None else None
    tabs = [(name, title, query("/issues", state=name, tenant=named)) for name, title in STATES.items()]
    issues = await read_issues(store, caller, tenant, state)
    return await render(request, "issues.html", issues=issues, state=state, tabs=tabs, tenant=tenant)
