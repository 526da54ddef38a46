"""Log in with an API key, and log out."""

import re
import secrets
from contextlib import suppress
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.authenticator import Authenticator
from api.deps import AuthenticatorDep, SettingsDep, StoreDep
from api.forms import read_form
from api.portal import caller_of
from api.problems import Unauthorized
from api.requests import StrictRoute
from api.sessions import FRAMED, REMEMBERED, SESSION, SessionCookie, session_cookie
from dashboard.rendering import PROOF, redirect, render
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.portal import ID_PREFIX, PortalSession
from hookkeeper.registry.store import Store
from hookkeeper.services.errors import RateLimited
from hookkeeper.settings import Settings
from hookkeeper.times import utc_now

FORM = SessionCookie("hookkeeper_login", path="/login", duration=timedelta(hours=1))
"""Binds the form to the browser, so that no other site can log a reader in with its own key."""
OUR_PAGE = re.compile(r"/(?![/\\])[!-~]*")
"""A path of ours. Browsers read `//` and `/\\` as another host."""


MAX_FORM_BYTES = 4096
NO_REGISTRY = "The registry is unavailable, so only the admin key can be checked. Try again soon."


class LoginRoute(StrictRoute):
    max_body_bytes = MAX_FORM_BYTES


router = APIRouter(include_in_schema=False, route_class=LoginRoute)


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
        return await _form(request, settings, target, "The form had expired. Enter the key again.", 403)
    try:
        caller = await authenticator.identify(form.get("key", "").strip(), request)
    except Unauthorized as error:
        refusal = str(error.detail).partition(":")[0].rstrip(".")
        return await _form(request, settings, target, f"{refusal}.", 401)
    except RateLimited as error:
        return await _form(request, settings, target, f"{error} Try again in a minute.", 429)
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
        return redirect("/")
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
