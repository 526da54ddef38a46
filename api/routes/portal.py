"""Links to the customers' portal, and the sessions that they begin: make, list, revoke."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Path, Request
from fastapi.routing import iter_route_contexts
from pydantic import Field

from api.access import GuardedRoute, needs
from api.deps import AnyTenant, AuthenticatorDep, CallerDep, Cursor, Limit, SettingsDep, StoreDep
from api.pages.routes import PageRoute
from api.portal import Capability, may_grant, new_token, scopes_of
from api.problems import KEYED, Forbidden, responses
from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.registry.api_keys import digest_of
from hookkeeper.registry.portal import PortalSession, new_portal_session_id
from hookkeeper.services.errors import Invalid, NotFound
from hookkeeper.services.fields import (
    EVENT_ID,
    Line,
    Page,
    RequestModel,
    ResponseModel,
    TenantName,
    Time,
    with_examples,
)
from hookkeeper.times import utc_now

router = APIRouter(
    prefix="/v1",
    tags=["portal"],
    route_class=GuardedRoute,
    responses=KEYED,
    dependencies=[needs("admin", "webhooks:write")],
)
MAX_LINK_LIFETIME = timedelta(days=1)
MAX_SESSION_LIFETIME = timedelta(hours=24)
MIN_LIFETIME = timedelta(seconds=1)
SessionId = Annotated[
    str, Path(pattern=EVENT_ID, description="The id of the link or session", examples=["prt_0123456789abcdef"])
]


class NewPortalLink(RequestModel):
    model_config = with_examples(
        {"tenant": "acme", "name": "ann@acme.example", "capabilities": ["view", "redeliver"], "path": "/webhooks"}
    )

    tenant: TenantName = DEFAULT_TENANT
    name: Line = Field("Customer portal", min_length=1, max_length=256)
    """Who gets the link: shown on the pages, in lists and in the audit log."""
    capabilities: list[Capability] = Field(["view"], min_length=1, max_length=10)
    """`view` is always included. `manage_webhooks` also shows signing keys, and `redeliver` allows all commands to
    events, recoveries and schedules."""
    link_lifetime: int = Field(
        600,
        ge=MIN_LIFETIME.total_seconds(),
        le=MAX_LINK_LIFETIME.total_seconds(),
        strict=True,
        description="Seconds until which the link must be opened",
    )
    session_lifetime: int = Field(
        3600,
        ge=MIN_LIFETIME.total_seconds(),
        le=MAX_SESSION_LIFETIME.total_seconds(),
        strict=True,
        description="Seconds for which the session lasts once the link was opened",
    )
    path: str = Field("/", max_length=256, pattern=r"^/[A-Za-z0-9/_-]*$", examples=["/webhooks/wh_5d0c6f1e2a3b4c5d"])
    """The page that the link opens, without a query."""


class PortalSessionView(ResponseModel):
    id: str
    tenant: str
    name: str
    capabilities: list[Capability]
    status: Literal["open", "active", "expired", "revoked"]
    """`open` until the link is opened, then `active`."""
    path: str
    key_id: str
    """The key that made the link. Revoking it ends the link and the session."""
    created_at: Time
    expires_at: Time
    """Of the link; once it was opened, of the session."""
    opened_at: Time | None
    revoked_at: Time | None

    @classmethod
    def of_row(cls, row: PortalSession, **others: str) -> Self:
        return cls.of(row, status=_status(row), **others)


class PortalLink(PortalSessionView):
    url: str
    """Opens the portal once. Shown only in this response."""


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
    if not _is_page(request, new.path):
        raise Invalid.field("path", "is not the path of a page")
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
    )
    entry = caller.did("portal-link.create", link.id, link.tenant, fields)
    await store.portal.add(link, settings.max_portal_sessions_per_tenant, entry)
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
    authenticator.forget(session_id)


def _is_page(request: Request, path: str) -> bool:
    return any(
        isinstance(context.original_route, PageRoute)
        and "GET" in (context.methods or ())
        and context.path_regex.fullmatch(path)
        for context in iter_route_contexts(request.app.routes)
    )


def _status(row: PortalSession) -> Literal["open", "active", "expired", "revoked"]:
    if row.revoked_at is not None:
        return "revoked"
    if row.is_over(utc_now()):
        return "expired"
    return "open" if row.opened_at is None else "active"
