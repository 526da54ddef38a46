"""The route of a page: like a route of the API, but with a session instead of a key, and with errors as pages.

    @router.get("/events", dependencies=[needs("events:read")])

A page declares its scopes as a route of the API does, and reads and changes through the same dependencies. A form is
accepted only with the proof that we made it for this session. One that comes after the session has ended is shown
again, with what was typed, to be sent in the next session. Without the cookie of a session, nothing of it is read, and
each address has a rate.
"""

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.access import GuardedRoute
from api.authenticator import with_scope
from api.errors import EXPECTED, as_problem
from api.problems import Forbidden, Problem, Unauthorized
from api.requests import MAX_FIELDS, StrictRequest, read_form
from api.sessions import SessionCookie, portal_of, session_cookie
from api.state import state_of
from dashboard import filters
from dashboard.rendering import FORM_OF_OTHERS, PROOF, back_to, error_page, is_open, query, redirect, render, with_query
from hookkeeper.registry.tenants.portal import ID_PREFIX
from hookkeeper.services.caller import Caller
from hookkeeper.services.errors import NotFound
from hookkeeper.tenant_limits import KEPT_FORMS
from hookkeeper.times import utc_now

MAX_FORM_BYTES = 64 * 1024
SHOWN: tuple[type[Exception], ...] = (*EXPECTED, HTTPException, RequestValidationError)
"""Errors that are shown as a page. Any other is a bug, which the app answers."""

PASSING = (401, 429, 503)
"""Statuses of problems after which the same form can be sent again."""


class EarlierSession(Exception):
    """The form was made for an earlier session of the same browser."""


class PageRoute(GuardedRoute):
    """A page that needs a session, and the forms on it."""

    is_page = True
    takes_any_query = True
    max_form_bytes: ClassVar[int] = MAX_FORM_BYTES
    max_form_fields: ClassVar[int] = MAX_FIELDS

    async def authenticate(self, request: Request, scopes: frozenset[str]) -> Caller:
        """Return who has begun the session; of a form, read the fields into `request.state.form` too."""
        cookie = session_cookie(request)
        request.state.caller = caller = await self._resume(request, cookie)
        if request.method != "GET":
            await self._read_form(request)
            if not _is_ours(request, cookie):
                raise EarlierSession if _is_of_our_page(request) else Forbidden(FORM_OF_OTHERS)
        with_scope(caller, scopes)
        if not is_open(portal_of(request), request.url.path):
            raise NotFound("There is no page at this address.")
        return caller

    async def _read_form(self, request: Request) -> None:
        form = StrictRequest(request.scope, request.receive)
        form.limit = self.max_form_bytes
        request.state.form = await read_form(form, self.max_form_fields)

    async def _resume(self, request: Request, cookie: SessionCookie) -> Caller:
        """Return who has begun the session; keep a session of the portal, which has a theme, for rendering."""
        state = state_of(request)
        subject = cookie.subject(cookie.of(request), state.settings, utc_now())
        if subject is None:
            raise Unauthorized("Log in first.")
        if not subject.startswith(ID_PREFIX):
            return await state.authenticator.resume(subject)
        request.state.portal = await state.authenticator.portal_session(subject)
        return await state.authenticator.resume_portal(request.state.portal)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            request = Request(filters.clean(request.scope), request.receive)
            try:
                return await self._keeping_forms(request, handle)
            except SHOWN as error:
                problem = as_problem(error, method=request.method, path=request.url.path)
            names = filters.refused(request, problem) if getattr(self.endpoint, "is_filtered", False) else ()
            if not names:
                return await error_page(request, problem)
            usable = Request(filters.without(request.scope, names), request.receive)
            usable.state.refused, usable.state.given = problem, request.query_params
            try:
                return await handle(usable)
            except SHOWN as error:
                return await error_page(request, as_problem(error, method=request.method, path=request.url.path))

        return handle_page

    async def _keeping_forms(
        self, request: Request, handle: Callable[[Request], Coroutine[Any, Any, Response]]
    ) -> Response:
        """Answer a request; without the session that it needs, ask for one. A form that can be sent later is kept."""
        problem: Problem | None = None
        try:
            return await handle(request)
        except EarlierSession:
            pass
        except SHOWN as error:
            problem = as_problem(error, method=request.method, path=request.url.path)
        is_passing = problem is None or problem.status_code in PASSING
        if request.method == "GET" or not is_passing or not await _may_be_kept(request):
            if problem is None or isinstance(problem, Unauthorized):
                too_many = await state_of(request).form_refusals.count(request) if request.method != "GET" else None
                return too_many or await _log_in(request)
            raise problem
        if not hasattr(request.state, "form"):
            await self._read_form(request)
        return await _send_again(request, problem)


async def without_portal(request: Request) -> None:
    """Refuse what needs a key: a session of the portal ends soon, and so does what it could leave behind."""
    if portal_of(request):
        raise Forbidden("The portal does not have this page.")


def _is_ours(request: Request, cookie: SessionCookie) -> bool:
    """Return whether a form is one of our pages and was made for this session.

    Other sites send a cookie that is not `SameSite=Strict` along, so for such a one the browser's word counts too.
    """
    if cookie.is_framed and request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    proof = request.state.form.get(PROOF, "")
    return cookie.is_proof(proof, cookie.of(request), state_of(request).settings)


def _is_of_our_page(request: Request) -> bool:
    """Return whether the browser says that one of our pages has sent a form. Old browsers say nothing."""
    return request.headers.get("sec-fetch-site") == "same-origin"


async def _may_be_kept(request: Request) -> bool:
    """Return whether a form is one of our pages, of a session that may have ended. Raises RateLimited."""
    state, cookie = state_of(request), session_cookie(request)
    issued = cookie.issued(cookie.of(request), state.settings)
    if issued is None or not _is_of_our_page(request):
        return False
    portal = portal_of(request)
    who = f"portal of {portal.tenant}" if portal else issued[0]
    await state.kept_forms.count(who, KEPT_FORMS.rate, f"Only {KEPT_FORMS.rate.replace('/', ' forms a ')} are kept.")
    return True


async def _send_again(request: Request, problem: Problem | None) -> Response:
    """Show the button that sends a form again, with what was typed. Nothing is sent without a click."""
    status = problem.status_code if problem else 403
    fields = {name: text for name, text in request.state.form.items() if name != PROOF}
    is_framed = session_cookie(request).is_framed
    page = await render(
        request,
        "send_again.html",
        status,
        problem=problem,
        fields=fields,
        is_framed=is_framed,
        action=with_query(request, request.url.path),
    )
    page.headers.update((problem and problem.headers) or {})
    return page


async def _log_in(request: Request) -> Response:
    """Ask for a key, and then show the page, or that with the form; in a frame, which has no login, for a new link.

    A browser that follows a link from another site sends no cookie yet: a page of our own lets it try again.
    """
    is_framed = session_cookie(request).is_framed and request.headers.get("sec-fetch-dest") != "document"
    if is_framed and portal_of(request):
        return await render(request, "ended.html", 401)
    if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
        return await render(request, "same_site.html")
    target = back_to(request) or with_query(request, request.url.path)
    return redirect(query("/login", next=target if target != "/" else None))
