"""Links to the customers' portal, and the sessions that they begin: make, list, revoke."""

from typing import Annotated

from fastapi import APIRouter, Path, Request

from api.access import GuardedRoute, needs, page_scopes
from api.deps import AnyTenant, AuthenticatorDep, CallerDep, Cursor, Limit, SettingsDep, StoreDep
from api.problems import KEYED, responses
from hookkeeper.services.fields import EVENT_ID, Page
from hookkeeper.services.tenants.portal_links import (
    NewPortalLink,
    PortalLink,
    PortalSessionView,
    end_session,
    make_link,
)

router = APIRouter(
    prefix="/v1",
    tags=["portal"],
    route_class=GuardedRoute,
    responses=KEYED,
    dependencies=[needs("admin", "webhooks:write")],
)
SessionId = Annotated[
    str, Path(pattern=EVENT_ID, description="The id of the link or session", examples=["prt_0123456789abcdef"])
]


@router.post("/portal-links", status_code=201, responses=responses(409))
async def create_portal_link(
    request: Request, new: NewPortalLink, store: StoreDep, caller: CallerDep, settings: SettingsDep
) -> PortalLink:
    """Make a single-use link to the dashboard for a customer without a key. A key without `admin` can only grant its
    own scopes."""
    link, url = await make_link(new, page_scopes(request.app, new.path), store, caller, settings)
    return PortalLink.of_row(link, url=url)


@router.get("/portal-sessions")
async def list_portal_sessions(
    cursor: Cursor, store: StoreDep, tenant: AnyTenant, limit: Limit = 50
) -> Page[PortalSessionView]:
    """List links and the sessions that they began, newest first, including some that are over."""
    found, next_cursor = await store.portal.page(tenant=tenant, limit=limit, cursor=cursor.start)
    return cursor.page([PortalSessionView.of_row(row) for row in found], next_cursor)


@router.delete("/portal-sessions/{session_id}", status_code=204, responses=responses(404))
async def revoke_portal_session(
    session_id: SessionId, store: StoreDep, caller: CallerDep, authenticator: AuthenticatorDep
) -> None:
    """Revoke a link, or end its session: at once in this API process, and within a second in others."""
    await end_session(session_id, store, caller, authenticator.forget_link)
