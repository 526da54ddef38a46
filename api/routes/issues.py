"""What fails, grouped by webhook and cause."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.access import GuardedRoute, needs
from api.deps import AnyTenant, CallerDep, StoreDep
from api.problems import KEYED
from hookkeeper.services.fields import ResponseModel
from hookkeeper.services.webhooks.issues import IssueState, IssueView, read_issues

router = APIRouter(prefix="/v1/issues", tags=["statistics"], route_class=GuardedRoute, responses=KEYED)


class IssueList(ResponseModel):
    items: list[IssueView]
    """At most a hundred, those with the most deliveries first."""


@router.get("", dependencies=[needs("events:read")])
async def list_issues(
    store: StoreDep,
    caller: CallerDep,
    tenant: AnyTenant,
    state: Annotated[
        IssueState,
        Query(
            description="`open`: of events that need attention. `acknowledged`: of acknowledged ones. `closed`: the"
            " latest incident of webhooks that work again"
        ),
    ] = "open",
) -> IssueList:
    """List what fails or waits, grouped by webhook and error, each with its cause and what usually helps."""
    return IssueList(items=await read_issues(store, caller, tenant, state))
