"""Renders pages: Jinja2 templates with escaping, in a thread, and with headers that allow nothing of another origin."""

import asyncio
import json
import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache, lru_cache
from gettext import NullTranslations
from math import ceil
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import iter_route_contexts
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import ValidationError
from starlette.datastructures import QueryParams

from api.cursors import PageCursor
from api.errors import as_problem, from_validation
from api.problems import Missing, Problem, title
from api.sessions import portal_of, session_cookie
from api.state import state_of
from dashboard.charts import latency
from dashboard.look import look_of, versioned
from dashboard.translation import ENGLISH, language_of, texts_of_scripts, translations_to
from hookkeeper.kinds import KINDS, LISTS
from hookkeeper.registry.tenants.portal import PortalSession
from hookkeeper.services.caller import FURTHER_PAGES, Caller
from hookkeeper.times import rfc3339
from hookkeeper.wording import N_, write_durations

PROOF = "proof"
"""The hidden field of each form."""
SECURE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
VISITOR = "without a session"
"""Who shares the threads for rendering as a tenant does; no tenant has this name."""
MAX_SHOWN_JSON = 64 * 1024
"""Characters of an event's data on a page."""
NAVIGATION = (
    ("/", N_("Overview"), {"events:read"}),
    ("/issues", N_("Issues"), {"events:read"}),
    ("/events", N_("Events"), {"events:read"}),
    ("/webhooks", N_("Webhooks"), {"webhooks:read"}),
    ("/event-types", N_("Event types"), {"events:read", "webhooks:read"}),
    ("/schedules", N_("Schedules"), {"events:read"}),
    ("/recoveries", N_("Recoveries"), {"events:read"}),
    ("/suppressions", N_("Suppressions"), {"webhooks:read"}),
    ("/limits", N_("Limits"), {"events:read", "webhooks:read"}),
    ("/keys", "Keys", {"admin"}),
    ("/audit", "Audit log", {"admin"}),
)
"""Path and name of what the menu has, and the scopes of which a key needs one."""
FORM_OF_OTHERS = N_("This form was not made for your session. Go back, reload the page, and send it again.")
FOR_CUSTOMERS = {
    403: N_("Your link does not allow this."),
    404: N_("There is nothing at this address."),
    429: N_("Wait a moment, and try again."),
    503: N_("Try again soon. What was accepted is not lost."),
}
"""What the portal says of a problem, by status. Other problems are about what the customer has typed."""
SETTING = re.compile(r" \(HOOKKEEPER_\w+\)")
"""What the details of some errors end with."""
COMPOSED = (
    N_("The request is invalid: see errors."),
    N_("has a host of a private network: only the operator can allow it"),
    N_("has an address that is not public: only the operator can allow it"),
)
"""Details of errors that are written in parts, so `make messages` does not find them."""
FILES = ("csv", "json")
"""Formats of a list as a file."""
NOT_FILTERS = frozenset({"cursor", "done", "range", "test", "zone"})
"""Parameters of a list that say where it begins, what was done before it was opened, the range of its chart, and how
its form shows times."""


async def render(request: Request, template: str, status: int | None = None, **context: Any) -> Response:
    """Render a template to a page, whose status is that of the `problem` by default.

    A thread does it, because a page with long texts takes a tenth of a second.
    """
    state, cookie = state_of(request), session_cookie(request)
    portal = portal_of(request)
    caller: Caller | None = getattr(request.state, "caller", None)
    language = _language_of(request)
    refused: Problem | None = getattr(request.state, "refused", None)
    if portal and context.get("problem"):
        context["problem"] = for_customers(context["problem"])
    problem: Problem | None = context.get("problem") or refused
    navigation = [entry for entry in NAVIGATION if caller and entry[2] & caller.scopes and is_open(portal, entry[0])]
    always = {
        "caller": caller,
        "all_tenants": caller is not None and caller.tenant is None,
        "given": typed(request),
        "refused": refused,
        "notice": "",
        "problem": None,
        "errors": errors_of(problem),
        "filter_errors": {path.partition(".")[0]: texts for path, texts in errors_of(refused).items()},
        "path": request.url.path,
        "look": look_of(portal),
        "in_portal": portal is not None,
        "pages": [target for target, _, _ in navigation],
        "language": language,
        "proof": cookie.proof(cookie.of(request), state.settings),
        "navigation": navigation,
        "back": back_to(request),
    }
    shown: dict[str, Any] = always | context
    if portal:
        shown["errors"] = {at: [SETTING.sub("", text) for text in texts] for at, texts in shown["errors"].items()}
    async with state.rendering.slot(caller.tenant or "" if caller else VISITOR):
        html = await asyncio.to_thread(_to_html, language, template, shown)
    status = status or (problem.status_code if problem else 200)
    headers = _framable_by(portal.frame_origins) if portal else SECURE_HEADERS
    return HTMLResponse(html, status, headers=headers | {"content-language": language, "vary": "accept-language"})


def for_customers(problem: Problem) -> Problem:
    """Return a problem without what only an operator understands, such as which part does not answer."""
    if problem.detail == FORM_OF_OTHERS:
        return problem
    shown = Problem(FOR_CUSTOMERS.get(problem.status_code, problem.detail), problem.errors)
    shown.status_code = problem.status_code
    return shown


def is_open(portal: PortalSession | None, path: str) -> bool:
    """Return whether a session has a page: of the further ones, the portal has those that the link names.

    What customers have begun on other pages has a page of its own, which checks that.
    """
    page, *below = path.strip("/").split("/")
    is_recovery = page == "recoveries" and below not in ([], ["start"])
    return portal is None or is_recovery or page not in FURTHER_PAGES or page in (portal.pages or ())


def translations_of(request: Request) -> NullTranslations:
    """Return the translations for the answer to a request."""
    return translations_to(_language_of(request))


def _language_of(request: Request) -> str:
    """Return the language of a page. A reader with a key reads English, as the API is."""
    portal = portal_of(request)
    caller: Caller | None = getattr(request.state, "caller", None)
    if portal and portal.language:
        return portal.language
    return ENGLISH if caller and not portal else language_of(request.headers.get("accept-language", ""))


def _to_html(language: str, template: str, context: dict[str, Any]) -> str:
    return templates_in(language).get_template(template).render(context)


def _framable_by(origins: Sequence[str]) -> dict[str, str]:
    """Return the headers of a page that may be shown in a frame of these origins, and of no other."""
    if not origins:
        return SECURE_HEADERS
    policy = SECURE_HEADERS["content-security-policy"]
    allowed = f"frame-ancestors {' '.join(origins)}"
    return SECURE_HEADERS | {"content-security-policy": policy.replace("frame-ancestors 'none'", allowed)}


async def error_page(request: Request, problem: Problem) -> Response:
    """Render the page of a problem."""
    status, again = problem.status_code, back_to(request) or with_query(request, request.url.path)
    is_filter = request.method == "GET" and bool(request.url.query) and status in (400, 422)
    page = await render(
        request,
        "error.html",
        status,
        problem=problem,
        title=title(status),
        again=again,
        unfiltered=request.url.path if is_filter else None,
    )
    page.headers.update(problem.headers or {})
    return page


def problem_of(error: Exception) -> Problem:
    """Return the problem for an error of a form: its fields are checked by Pydantic, or by a use case."""
    return from_validation(error.errors()) if isinstance(error, ValidationError) else as_problem(error)


def errors_of(problem: Problem | None) -> dict[str, list[str]]:
    """Return the errors of a form by field."""
    errors: dict[str, list[str]] = {}
    for error in problem.errors if problem else ():
        errors.setdefault(error.path, []).append(error.detail)
    return errors


async def unknown_page(request: Request) -> Response:
    """Render the page for an address that has none."""
    return await error_page(request, Missing(N_("There is no page at this address.")))


def back_to(request: Request) -> str | None:
    """Return the page that a form is on: the nearest one at the form's path or above. None for a page itself."""
    if request.method == "GET":
        return None
    path = request.url.path
    while path:
        if _is_open_to_get(request, path):
            return with_query(request, path)
        path = path.rpartition("/")[0]
    return "/"


def _is_open_to_get(request: Request, path: str) -> bool:
    """Return whether there is something to open at a path of ours."""
    return any(pattern.fullmatch(path) for pattern in _open_to_get(request.app))


@lru_cache(maxsize=1)
def _open_to_get(app: FastAPI) -> list[re.Pattern[str]]:
    """Return the paths of all routes that take GET: hundreds, which stay as they are. A process has one app."""
    return [context.path_regex for context in iter_route_contexts(app.routes) if "GET" in (context.methods or ())]


def with_query(request: Request, path: str) -> str:
    """Return the URL of a path with the query of the request."""
    return path + (f"?{request.url.query}" if request.url.query else "")


def redirect(url: str) -> Response:
    """Go to another page of ours, with GET."""
    return Response(status_code=303, headers={"location": url, **SECURE_HEADERS})


def duration(milliseconds: float) -> str:
    """Write a duration: `84 ms`, `1.2 s`, `3 min`."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.0f} min"


def percent(share: float | None) -> str:
    """Write a share, rounded down: only all is 100 %."""
    if share is None:
        return "–"
    return "100 %" if share == 1 else f"{int(share * 1000) / 10:g} %"


def percent_up(share: float | None) -> str:
    """Write a share, rounded up: only none is 0 %."""
    return "–" if share is None else f"{ceil(share * 1000) / 10:g} %"


def json_text(value: Any) -> str:
    """Write JSON for reading, cut off where it is long."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN_JSON else f"{text[:MAX_SHOWN_JSON]}\n… {len(text) - MAX_SHOWN_JSON} more"


def query(path: str, **parameters: str | int | Sequence[str] | None) -> str:
    """Write a URL with those parameters that have a value."""
    given = urlencode({name: value for name, value in parameters.items() if value}, doseq=True)
    return f"{path}?{given}" if given else path


def minute(when: datetime) -> str:
    """Write a time in UTC, which the page names; a script shows it in the reader's zone."""
    return f"{when:%Y-%m-%d %H:%M:%S}"


def typed(request: Request) -> QueryParams:
    """Return the parameters of a page as they were typed, with those of a filter that cannot be used."""
    given: QueryParams = getattr(request.state, "given", request.query_params)
    return given


def filters_in(given: QueryParams) -> dict[str, list[str]]:
    """Return the filters of a list, with their values."""
    return {name: given.getlist(name) for name in given if name not in NOT_FILTERS}


def paging(
    request: Request, path: str, cursor: PageCursor, end: str | None, *, exported: bool = False
) -> dict[str, Any]:
    """Return what templates need for the links of a list at this path, which may be shown in answer to a form."""
    given = filters_in(request.query_params)
    older = PageCursor(state_of(request).cursor_key, path, None).page((), end).next_cursor
    return {
        "older": older and query(path, **given, cursor=older),
        "newest": query(path, **given),
        "is_first": cursor.start is None,
        "is_filtered": bool(given),
        "exports": [(kind.upper(), query(f"{path}/export.{kind}", **given)) for kind in FILES if exported],
    }


@cache
def templates_in(language: str) -> Environment:
    """Return the templates of a language: a template that another one imports is of the same language."""
    environment = Environment(
        loader=PackageLoader("dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
    )
    translations = translations_to(language)
    environment.install_gettext_translations(translations, newstyle=True)  # type: ignore[attr-defined]
    environment.policies["ext.i18n.trimmed"] = True
    environment.filters.update(
        duration=duration,
        durations=write_durations,
        percent=percent,
        percent_up=percent_up,
        json_text=json_text,
        latency=latency,
        minute=minute,
        rfc3339=rfc3339,
        first_upper=lambda text: text[:1].upper() + text[1:],
        translated=lambda text: text and translations.gettext(text),
        sentence=lambda result: result.sentence(translations.gettext),
    )
    environment.globals.update(url=query, static=versioned, PROOF=PROOF, texts_of_scripts=texts_of_scripts(language))
    environment.globals.update(KINDS=KINDS, LISTS=LISTS)
    return environment
