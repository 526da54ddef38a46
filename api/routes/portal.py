"""Links to the customers' portal, and the sessions that they begin: make, list, revoke."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.routing import iter_route_contexts

from api import access
from api.access import GuardedRoute, needs
from api.deps import AnyTenant, AuthenticatorDep, CallerDep, Cursor, Limit, SettingsDep, StoreDep
from api.problems import KEYED, Forbidden, responses
from api.schemas.portal import NewPortalLink, PortalLink, PortalSessionView, read_logo
from hookkeeper.crypto.tokens import new_token
from hookkeeper.registry.api_keys import digest_of
from hookkeeper.registry.portal import PortalSession, new_portal_session_id
from hookkeeper.services.caller import FURTHER_PAGES, may_grant, scopes_of
from hookkeeper.services.errors import Invalid, NotFound
from hookkeeper.services.fields import EVENT_ID, Page
from hookkeeper.settings import Settings
from hookkeeper.times import utc_now

router = APIRouter(
    prefix="/v1",
    tags=["portal"],
    route_class=GuardedRoute,
    responses=KEYED,
    dependencies=[needs("admin", "webhooks:write")],
)
LOOPBACK = ("http://127.0.0.1", "http://localhost")
"""Where browsers need no https for the cookie of a frame."""
SessionId = Annotated[
    str, Path(pattern=EVENT_ID, description="The id of the link or session", examples=["prt_0123456789abcdef"])
]


@router.post("/portal-links", status_code=201, responses=responses(409))
async def create_portal_link(
    request: Request, new: NewPortalLink, store: StoreDep, caller: CallerDep, settings: SettingsDep
) -> PortalLink:
    """Make a single-use link to the dashboard for a customer without a key. A key without `admin` can only grant its
    own scopes."""
    fields, new = new.model_fields_set, caller.with_tenant(new)
    capabilities: list[str] = list(dict.fromkeys(("view", *new.capabilities)))
    scopes = scopes_of(capabilities)
    if not may_grant(caller, scopes):
        lacking = ", ".join(sorted(scopes - caller.scopes))
        raise Forbidden(f"The key lacks scopes that the capabilities need: {lacking}.")
    page = _page(request, new.path)
    if page is None:
        raise Invalid.field("path", "is not the path of a page")
    if not access.scopes_of(page) & scopes:
        raise Invalid.field("path", "is a page that these capabilities do not open")
    if (further := new.path.split("/")[1]) in FURTHER_PAGES and further not in new.pages:
        raise Invalid.field("path", f"is a page that the link does not have: add {further} to pages")
    if new.frame_origins and not _can_be_framed(settings):
        raise Invalid.field("frame_origins", "need HOOKKEEPER_PUBLIC_URL to begin with https: browsers demand it")
    token = new_token()
    link = PortalSession(
        id=new_portal_session_id(),
        tenant=new.tenant,
        name=new.name,
        capabilities=capabilities,
        path=new.path,
        digest=digest_of(token),
        key_id=caller.key_id,
        session_lifetime=new.session_lifetime,
        expires_at=utc_now() + timedelta(seconds=new.link_lifetime),
        frame_origins=list(dict.fromkeys(new.frame_origins)),
        pages=[page for page in FURTHER_PAGES if page in new.pages],
        language=new.language,
        theme=new.theme.stored() if new.theme else None,
        logo=read_logo(new.theme.logo)[1] if new.theme and new.theme.logo else None,
    )
    entry = caller.did("portal-link.create", link.id, link.tenant, fields)
    await store.portal.add(link, entry)
    return PortalLink.of_row(link, url=f"{settings.public_url}/portal/{token}")


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
    session = await store.portal.get(session_id, caller.tenant)
    if session is None:
        raise NotFound("There is no such link or session.")
    await store.portal.revoke(session_id, caller.did("portal-session.revoke", session_id, session.tenant))
    authenticator.forget_link(session)


def _can_be_framed(settings: Settings) -> bool:
    return settings.public_url.startswith(("https:", *LOOPBACK))


def _page(request: Request, path: str) -> GuardedRoute | None:
    """Return the route of the page with this path."""
    for context in iter_route_contexts(request.app.routes):
        route = context.original_route
        if (
            isinstance(route, GuardedRoute)
            and route.is_page
            and "GET" in (context.methods or ())
            and context.path_regex.fullmatch(path)
        ):
            return route
    return None
