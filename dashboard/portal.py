"""Open a link to the portal: a page with a button, which begins the session.

GET changes nothing, since mail servers and messengers open links too. In a frame, a script presses the button.
"""

import secrets
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from api.authenticator import Authenticator
from api.deps import AuthenticatorDep, SettingsDep, StoreDep
from api.forms import read_form
from api.portal import caller_of
from api.problems import Unauthorized
from api.sessions import FRAMED, REMEMBERED, SESSION, SessionCookie
from dashboard.login import LoginRoute
from dashboard.rendering import PROOF, redirect, render
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.portal import PortalSession
from hookkeeper.services.errors import RateLimited
from hookkeeper.settings import Settings
from hookkeeper.times import utc_now

router = APIRouter(prefix="/portal", include_in_schema=False, route_class=LoginRoute)
FORM = SessionCookie("hookkeeper_portal", path="/portal", duration=timedelta(hours=1))
"""Binds the form to the browser, so that no other site can put a reader into a session of its own."""
FRAMED_FORM = replace(FORM, name="hookkeeper_portal_frame", is_framed=True)


class Refusal(NamedTuple):
    """Why a link does not open."""

    status: int
    text: str


UNKNOWN = Refusal(404, "This link is unknown. Check that the address is complete, or ask for a new link.")
USED = Refusal(410, "This link has been used: it opens the portal once. Ask for a new link.")
EXPIRED = Refusal(410, "This link has expired. Ask for a new link.")
REVOKED = Refusal(410, "This link was revoked. Ask for a new link.")
TOO_MANY = Refusal(429, "Too many requests from this address had no valid link. Try again in a minute.")
UNAVAILABLE = Refusal(503, "Links cannot be checked right now. Try again soon.")


@router.get("/{token}")
async def show_link(request: Request, token: str, authenticator: AuthenticatorDep, settings: SettingsDep) -> Response:
    """Show the button, or why the link does not open."""
    found = await _find(request, token, authenticator)
    if isinstance(found, Refusal):
        return await _refused(request, found)
    return await _form(request, settings, found)


@router.post("/{token}")
async def open_link(
    request: Request, token: str, store: StoreDep, authenticator: AuthenticatorDep, settings: SettingsDep
) -> Response:
    """Use the link, and go to its page."""
    form = await read_form(request)
    found = await _find(request, token, authenticator)
    if isinstance(found, Refusal):
        return await _refused(request, found)
    of_form, session = (FRAMED_FORM, FRAMED) if found.frame_origins else (FORM, SESSION)
    given = of_form.of(request)
    if of_form.subject(given, settings, utc_now()) is None or not of_form.is_proof(
        form.get(PROOF, ""), given, settings
    ):
        return await _form(request, settings, found, "This page had expired. Open the portal again.", 403)
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
        await authenticator.check_maker(link)
    except Unauthorized:
        return REVOKED
    return None


async def _form(
    request: Request, settings: Settings, link: PortalSession, error: str = "", status: int = 200
) -> Response:
    form = FRAMED_FORM if link.frame_origins else FORM
    token = form.token(secrets.token_hex(16), settings, utc_now())
    page = await render(request, "portal.html", status, proof=form.proof(token, settings), error=error, opens=True)
    form.put(page, token, settings)
    return page


async def _refused(request: Request, refusal: Refusal) -> Response:
    return await render(request, "portal.html", refusal.status, error=refusal.text, opens=False)
