"""The logo of a portal session, which its link brought: kept and served by us, so pages load nothing from elsewhere."""

from fastapi import APIRouter, Request, Response

from api.access import needs
from api.deps import StoreDep
from dashboard.routes import PageRoute
from hookkeeper.registry.portal import PortalSession
from hookkeeper.services.errors import NotFound

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/logo", dependencies=[needs("events:read", "webhooks:read")])
async def show_logo(request: Request, store: StoreDep) -> Response:
    """Serve the logo of this session. Its address names the session, so a browser keeps it."""
    session: PortalSession | None = getattr(request.state, "portal", None)
    content = await store.portal.logo(session.id) if session and session.theme and session.theme.get("logo") else None
    if session is None or session.theme is None or content is None:
        raise NotFound("This session has no logo.")
    headers = {
        "cache-control": "private, max-age=86400, immutable",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
        "cross-origin-resource-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }
    return Response(content, media_type=session.theme["logo"], headers=headers)
