"""Begin a session with an API key or a link to the portal, and end it.

A link has a page with a button: GET changes nothing, since mail servers and messengers open links too. In a frame, a
script presses the button.
"""

import re
import secrets
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query, Request, Response

from api.access import needs
from api.authenticator import Authenticator
from api.deps import AuthenticatorDep, SettingsDep, StoreDep
from api.forms import KeylessFormRoute
from api.problems import Unauthorized
from api.requests import read_form
from api.sessions import FRAMED, REMEMBERED, SESSION, SessionCookie, portal_of, session_cookie
from api.state import state_of
from dashboard.look import ASSET_HEADERS
from dashboard.rendering import PROOF, redirect, render
from dashboard.routes import PageRoute
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.store import Store
from hookkeeper.registry.tenants.portal import ID_PREFIX, PortalSession
from hookkeeper.services.caller import caller_of
from hookkeeper.services.errors import NotFound, RateLimited
from hookkeeper.settings import Settings
from hookkeeper.times import utc_now
from hookkeeper.wording import N_

FORM = SessionCookie("hookkeeper_login", path="/login", duration=timedelta(hours=1))
"""Binds the form to the browser, so that no other site can log a reader in with its own key."""
OUR_PAGE = re.compile(r"/(?![/\\])[!-~]*")
"""A path of ours. Browsers read `//` and `/\\` as another host."""
NO_REGISTRY = "The registry is unavailable, so only the admin key can be checked. Try again soon."
LINK_FORM = SessionCookie("hookkeeper_portal", path="/portal", duration=timedelta(hours=1))
"""Binds the form to the browser, so that no other site can put a reader into a session of its own."""
FRAMED_LINK_FORM = replace(LINK_FORM, name="hookkeeper_portal_frame", is_framed=True)


router = APIRouter(include_in_schema=False, route_class=KeylessFormRoute)
logo_router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/login")
async def show_login(request: Request, settings: SettingsDep, next: Annotated[str, Query()] = "/") -> Response:
    """Show the form for a key."""
    return await _form(request, settings, next)


@router.post("/login")
async def log_in(request: Request, settings: SettingsDep, authenticator: AuthenticatorDep) -> Response:
    """Begin a session if the form has a valid key, and go to the page that was requested."""
    form = await read_form(request)
    target = form.get("next", "/")
    token = FORM.of(request)
    if FORM.subject(token, settings, utc_now()) is None or not FORM.is_proof(form.get(PROOF, ""), token, settings):
        too_many = await state_of(request).form_refusals.count(request)
        return too_many or await _form(request, settings, target, N_("The form had expired. Enter the key again."), 403)
    try:
        caller = await authenticator.identify(form.get("key", "").strip(), request)
    except Unauthorized as error:
        refusal = str(error.detail).partition(":")[0].rstrip(".")
        return await _form(request, settings, target, f"{refusal}.", 401)
    except RegistryUnavailable:
        return await _form(request, settings, target, NO_REGISTRY, 503)
    response = redirect(target if OUR_PAGE.fullmatch(target) else "/")
    SESSION.put(response, SESSION.token(caller.key_id, settings, utc_now()), settings, REMEMBERED)
    FORM.put(response, "", settings)
    if FRAMED.of(request):
        FRAMED.put(response, "", settings)
    return response


@router.post("/logout")
async def log_out(
    request: Request, settings: SettingsDep, store: StoreDep, authenticator: AuthenticatorDep
) -> Response:
    """End the session in this browser; one of the portal, for good.

    It needs no key: it works for a revoked key, and without the registry.
    """
    form, cookie = await read_form(request), session_cookie(request)
    if not cookie.is_proof(form.get(PROOF, ""), cookie.of(request), settings):
        return await state_of(request).form_refusals.count(request) or redirect("/")
    subject = cookie.subject(cookie.of(request), settings, utc_now())
    if subject is not None and subject.startswith(ID_PREFIX):
        with suppress(RegistryUnavailable):
            request.state.portal = await _revoke(subject, store, authenticator)
    response = await render(request, "ended.html") if cookie.is_framed else redirect("/login")
    cookie.put(response, "", settings)
    return response


async def _revoke(session_id: str, store: Store, authenticator: Authenticator) -> PortalSession | None:
    session = await store.portal.get(session_id)
    if session is not None:
        await store.portal.revoke(
            session_id, caller_of(session).did("portal-session.revoke", session_id, session.tenant)
        )
        authenticator.forget(session_id)
    return session


async def _form(request: Request, settings: Settings, target: str, error: str = "", status: int = 200) -> Response:
    token = FORM.token(secrets.token_hex(16), settings, utc_now())
    page = await render(request, "login.html", status, proof=FORM.proof(token, settings), target=target, error=error)
    FORM.put(page, token, settings)
    return page


class Refusal(NamedTuple):
    """Why a link does not open."""

    status: int
    text: str


UNKNOWN = Refusal(404, N_("This link is unknown. Check that the address is complete, or ask for a new link."))
USED = Refusal(410, N_("This link has been used: it opens the portal once. Ask for a new link."))
EXPIRED = Refusal(410, N_("This link has expired. Ask for a new link."))
REVOKED = Refusal(410, N_("This link was revoked. Ask for a new link."))
TOO_MANY = Refusal(429, N_("Too many requests from this address had no valid link. Try again in a minute."))
UNAVAILABLE = Refusal(503, N_("Links cannot be checked right now. Try again soon."))


@router.get("/portal/{token}")
async def show_link(request: Request, token: str, authenticator: AuthenticatorDep, settings: SettingsDep) -> Response:
    """Show the button, or why the link does not open."""
    found = await _find(request, token, authenticator)
    if isinstance(found, Refusal):
        return await _refused(request, found)
    return await _link_form(request, settings, found)


@router.post("/portal/{token}")
async def open_link(
    request: Request, token: str, store: StoreDep, authenticator: AuthenticatorDep, settings: SettingsDep
) -> Response:
    """Use the link, and go to its page."""
    form = await read_form(request)
    found = await _find(request, token, authenticator)
    if found is TOO_MANY:
        raise RateLimited(found.text, retry_after=60)
    if isinstance(found, Refusal):
        return await _refused(request, found)
    of_form, session = (FRAMED_LINK_FORM, FRAMED) if found.frame_origins else (LINK_FORM, SESSION)
    given = of_form.of(request)
    if of_form.subject(given, settings, utc_now()) is None or not of_form.is_proof(
        form.get(PROOF, ""), given, settings
    ):
        too_many = await state_of(request).form_refusals.count(request)
        return too_many or await _link_form(
            request, settings, found, N_("This page had expired. Open the portal again."), 403
        )
    try:
        end = await store.portal.open(found, caller_of(found).did("portal-link.open", found.id, found.tenant))
    except RegistryUnavailable:
        return await _refused(request, UNAVAILABLE)
    authenticator.forget_link(found)
    if end is None:  # opened or revoked meanwhile
        return await _refused(request, USED)
    response = redirect(found.path)
    now = utc_now()
    for other in (FRAMED, SESSION):
        if other is not session and other.of(request):
            other.put(response, "", settings)
    cookie = replace(session, duration=end - now + REMEMBERED)  # the registry knows when the session ends
    cookie.put(response, cookie.token(found.id, settings, now), settings)
    of_form.put(response, "", settings)
    return response


async def _find(request: Request, token: str, authenticator: Authenticator) -> PortalSession | Refusal:
    """Return the link, if it opens. Those that do not are counted as bad keys are."""
    try:
        found = await authenticator.find_link(token, request)
        request.state.portal = found
        refusal = await _refusal(found, authenticator)
        if refusal:
            await authenticator.count_failure(request, found)
    except RateLimited:
        return TOO_MANY
    except RegistryUnavailable:
        return UNAVAILABLE
    return found if found and not refusal else refusal or UNKNOWN


async def _refusal(link: PortalSession | None, authenticator: Authenticator) -> Refusal | None:
    if link is None:
        return UNKNOWN
    if link.revoked_at is not None:
        return REVOKED
    if link.opened_at is not None:
        return USED
    if link.is_over(utc_now()):
        return EXPIRED
    try:
        await authenticator.check_maker(link.key_id)
    except Unauthorized:
        return REVOKED
    return None


async def _link_form(
    request: Request, settings: Settings, link: PortalSession, error: str = "", status: int = 200
) -> Response:
    form = FRAMED_LINK_FORM if link.frame_origins else LINK_FORM
    token = form.token(secrets.token_hex(16), settings, utc_now())
    page = await render(request, "portal.html", status, proof=form.proof(token, settings), error=error, opens=True)
    form.put(page, token, settings)
    return page


async def _refused(request: Request, refusal: Refusal) -> Response:
    return await render(request, "portal.html", refusal.status, error=refusal.text, opens=False)


@logo_router.get("/logo", dependencies=[needs("events:read", "webhooks:read")])
async def show_logo(request: Request, store: StoreDep) -> Response:
    """Serve the logo of this session. Its address names the session, so a browser keeps it."""
    session = portal_of(request)
    content = await store.portal.logo(session.id) if session and session.theme and session.theme.get("logo") else None
    if session is None or session.theme is None or content is None:
        raise NotFound("This session has no logo.")
    headers = ASSET_HEADERS | {"cache-control": "private, max-age=86400, immutable"}
    headers["content-security-policy"] += "; sandbox"
    return Response(content, media_type=session.theme["logo"], headers=headers)
