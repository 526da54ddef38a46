"""Links to the customers' portal, and the sessions that they begin: make a link, list them, end one."""

from typing import Any

from fastapi import APIRouter, Request, Response

from api.access import needs, page_scopes
from api.cursors import PageCursor
from api.deps import AnyTenant, AuthenticatorDep, CallerDep, Cursor, SettingsDep, StoreDep
from dashboard.forms import REFUSED
from dashboard.rendering import paging, problem_of, query, redirect, render
from dashboard.routes import PageRoute
from hookkeeper.registry.store import Store
from hookkeeper.services.caller import FURTHER_PAGES
from hookkeeper.services.errors import NotFound
from hookkeeper.services.tenants.portal_links import NewPortalLink, PortalSessionView, end_session, make_link

router = APIRouter(
    prefix="/keys/portal-links", include_in_schema=False, route_class=PageRoute, dependencies=[needs("admin")]
)
LINKS_ON_PAGE = 50
CAPABILITIES = {
    "view": "see events, webhooks and event types (always)",
    "view_secrets": "see signing keys",
    "manage_webhooks": "register, change, pause, test and delete webhooks; see signing keys",
    "redeliver": "retry, cancel and deliver again",
}
LINK_LIFETIMES = {"600": "10 minutes", "3600": "an hour", "86400": "a day"}
SESSION_LIFETIMES = {"3600": "an hour", "28800": "8 hours", "86400": "a day"}
"""In seconds."""
LANGUAGE_NAMES = {"": "as the browser asks", "en": "English", "de": "German", "fr": "French"}
EMPTY = {"capability view": "true", "link_lifetime": "600", "session_lifetime": "3600", "path": "/"}


@router.get("")
async def list_links(request: Request, cursor: Cursor, store: StoreDep, tenant: AnyTenant, done: str = "") -> Response:
    """Show links and sessions, newest first, including some that are over."""
    notice = "It is over: at once here, and within a second in other API processes." if done == "end" else ""
    return await _show(request, store, cursor, tenant, notice=notice)


@router.post("/create")
async def create_link(
    request: Request, cursor: Cursor, store: StoreDep, caller: CallerDep, settings: SettingsDep, tenant: AnyTenant
) -> Response:
    """Make a link. Only this answer has its URL."""
    form: dict[str, str] = request.state.form
    try:
        new = NewPortalLink(**_fields(form))
        link, url = await make_link(new, page_scopes(request.app, new.path), store, caller, settings)
    except REFUSED as error:
        return await _show(request, store, cursor, tenant, error=error, form=form)
    return await _show(request, store, cursor, tenant, created={"name": link.name, "url": url})


@router.post("/end")
async def end_link(
    request: Request, store: StoreDep, caller: CallerDep, authenticator: AuthenticatorDep, tenant: AnyTenant
) -> Response:
    """Revoke a link, or end its session."""
    session_id: str = request.state.form.get("session", "")
    if not session_id.isascii() or "\0" in session_id:
        raise NotFound("There is no such link or session.")
    await end_session(session_id, store, caller, authenticator.forget_link)
    return redirect(query("/keys/portal-links", tenant=tenant, done="end"))


def _fields(form: dict[str, str]) -> dict[str, Any]:
    """Read the form as the fields of the API; what is empty has its default."""
    texts = {name: form.get(name, "").strip() for name in ("tenant", "name", "path", "language")}
    lifetimes = {name: form.get(name, "") for name in ("link_lifetime", "session_lifetime")}
    return {
        **{name: text for name, text in texts.items() if text},
        **{name: int(text) for name, text in lifetimes.items() if text.isdecimal() and len(text) < 10},
        "capabilities": [name for name in CAPABILITIES if form.get(f"capability {name}") == "true"] or ["view"],
        "pages": [name for name in FURTHER_PAGES if form.get(f"page {name}") == "true"],
    }


async def _show(
    request: Request,
    store: Store,
    cursor: PageCursor,
    tenant: str | None,
    *,
    notice: str = "",
    error: Exception | None = None,
    form: dict[str, str] | None = None,
    created: dict[str, str] | None = None,
) -> Response:
    found, end = await store.portal.page(tenant=tenant, limit=LINKS_ON_PAGE, cursor=cursor.start)
    return await render(
        request,
        "portal_links.html",
        items=[PortalSessionView.of_row(row) for row in found],
        **paging(request, "/keys/portal-links", cursor, end),
        notice=notice,
        problem=problem_of(error) if error else None,
        created=created,
        form=form or EMPTY | {"tenant": tenant or ""},
        capabilities=CAPABILITIES,
        further=FURTHER_PAGES,
        link_lifetimes=LINK_LIFETIMES,
        session_lifetimes=SESSION_LIFETIMES,
        languages=LANGUAGE_NAMES,
    )
