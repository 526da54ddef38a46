"""Converts the errors of services and clients to the problem documents of `api.problems`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from api.cursors import bad_cursor
from api.extensions import Extensions
from api.problems import (
    Conflicting,
    ContentTooLarge,
    Forbidden,
    Gone,
    Malformed,
    Missing,
    PreconditionFailed,
    Problem,
    ServiceUnavailable,
    TooManyRequests,
    Unprocessable,
    as_response,
    title,
)
from hookkeeper import metrics
from hookkeeper.commands import Refused, UnknownDelivery
from hookkeeper.registry.catalogue import EventTypeExists
from hookkeeper.registry.events.statistics import StatisticsTooLarge
from hookkeeper.registry.schedules import ScheduleExists, TooManySchedules, UnknownSchedule
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.storage.paging import BadRegistryCursor
from hookkeeper.registry.suppressions import TooManySuppressions
from hookkeeper.registry.tenants.portal import TooManyPortalSessions
from hookkeeper.registry.tenants.tenants import TenantDeleted, TenantExists
from hookkeeper.registry.webhooks.webhooks import ChangedMeanwhile, PreviousKeySigns, TooManyWebhooks, UidTaken
from hookkeeper.sandbox.children import SandboxUnavailable
from hookkeeper.services.errors import (
    Invalid,
    NotAllowed,
    NotFound,
    NotKnown,
    NotPossible,
    Postponed,
    ServiceError,
    TenantSuspended,
    TooLarge,
)
from hookkeeper.temporal.events.erasure import InFlight
from hookkeeper.temporal.schedules.client import BadTimes
from hookkeeper.temporal.server.error_translation import (
    Conflict,
    GatewayError,
    RequestTooLarge,
    Unavailable,
    UnknownEvent,
    UnknownRecovery,
)
from hookkeeper.temporal.server.visibility import BadCursor

EXPECTED: tuple[type[Exception], ...] = (
    ServiceError,
    GatewayError,
    Refused,
    UnknownDelivery,
    EventTypeExists,
    TenantDeleted,
    TenantExists,
    TooManyWebhooks,
    UidTaken,
    TooManyPortalSessions,
    TooManySuppressions,
    ChangedMeanwhile,
    PreviousKeySigns,
    ScheduleExists,
    TooManySchedules,
    UnknownSchedule,
    BadTimes,
    BadCursor,
    BadRegistryCursor,
    StatisticsTooLarge,
    RegistryUnavailable,
    SandboxUnavailable,
)
"""Errors that have an answer of their own. Any other is a bug, which the server logs too."""
RETRY_AFTER_SECONDS = 5
_OUT_OF_REACH = {
    RegistryUnavailable: "The registry is unavailable.",
    SandboxUnavailable: "The sandbox for templates and filters is unavailable.",
    InFlight: "A request with the event is in flight; what waited is cancelled.",
}
"""Texts without names of internal machines."""
log = structlog.get_logger("hookkeeper.api")


def as_event_problem(error: Exception, event_id: str) -> Problem:
    """Return the problem for an error, with the event's id, so that the client can safely post the event again."""
    problem = as_problem(error, event_id=event_id)
    if _is_unavailable(problem, error):
        problem.detail = f"{_out_of_reach(error)} The event may have been accepted: send it again with id {event_id}."
    return problem.about_event(event_id)


@contextmanager
def naming_event(event_id: str) -> Iterator[None]:
    """Name the event in the answer to each error of the block."""
    try:
        yield
    except Exception as error:
        raise as_event_problem(error, event_id) from error


@contextmanager
def naming_schedule(schedule_id: str) -> Iterator[None]:
    """Name the new schedule in the answer to each error of the block: a repeated request then makes no second one."""
    try:
        yield
    except Exception as error:
        problem = as_problem(error, schedule_id=schedule_id)
        if _is_unavailable(problem, error):
            problem.detail = (
                f"{_out_of_reach(error)} The schedule may have been created: repeat the request with id {schedule_id}."
                " A 409 then means that it was."
            )
        problem.schedule_id = schedule_id
        raise problem from error


def as_problem(error: Exception, **context: str) -> Problem:
    """Return the problem for an error. An unexpected error is a bug: it is logged with `context`."""
    match error:
        case Problem():
            return error
        case HTTPException():
            return _from_http(error)
        case RequestValidationError():
            return from_validation(error.errors())
        case NotFound():
            return Missing(str(error))
        case NotAllowed() | TenantSuspended():
            return Forbidden(str(error))
        case TenantDeleted():
            return Gone(str(error))
        case NotPossible():
            return Conflicting(str(error))
        case NotKnown():
            return PreconditionFailed(str(error))
        case Invalid():
            return Unprocessable(str(error), error.errors)
        case BadTimes():  # values of a cron expression, or a time zone that the server does not know
            field = "timezone" if "time zone" in str(error) else "cron"
            return as_problem(Invalid.field(field, str(error)))
        case StatisticsTooLarge():
            return as_problem(Invalid.field("step", str(error)))
        case TooLarge():
            return ContentTooLarge(str(error))
        case RequestTooLarge():
            return ContentTooLarge(_sentence(error))
        case Postponed():
            return TooManyRequests(str(error), headers={"retry-after": f"{error.retry_after:g}"})
        case UnknownEvent() | UnknownDelivery() | UnknownSchedule() | UnknownRecovery():
            return Missing(_sentence(error))
        case Conflict() | ScheduleExists() | TooManySchedules() | Refused():
            return Conflicting(_sentence(error))
        case EventTypeExists() | TenantExists() | TooManyWebhooks() | UidTaken() | ChangedMeanwhile():
            return Conflicting(_sentence(error))
        case PreviousKeySigns():
            return Conflicting(f"{_sentence(error)} Wait until then, or end it now with `end_previous`.")
        case TooManyPortalSessions():
            return Conflicting(f"{_sentence(error)} Revoke one, or wait until one expires.")
        case TooManySuppressions():
            return Conflicting(f"{_sentence(error)} Remove one.")
        case BadCursor() | BadRegistryCursor():
            return bad_cursor()
        case Unavailable() | RegistryUnavailable() | SandboxUnavailable():
            cause = str(error.__cause__) if error.__cause__ else None
            log.warning("unavailable", error=type(error).__name__, detail=str(error), cause=cause, **context)
            return unavailable(_out_of_reach(error))
        case _:
            log.error("unhandled error", exc_info=error, **context)
            return Problem("Internal error; it has been logged.")


def unavailable(detail: str) -> ServiceUnavailable:
    """Return the problem for what is out of reach for a while."""
    return ServiceUnavailable(
        f"{detail} Repeat the request, with the same id if it has one.",
        headers={"retry-after": str(RETRY_AFTER_SECONDS)},
    )


def from_validation(errors: Sequence[Any], model: type[BaseModel] | None = None) -> Problem:
    """Turn the errors of FastAPI and Pydantic into ours; with the body's model, unknown fields get a hint."""
    if any(error["type"] == "json_invalid" for error in errors):
        return Malformed("The body is not JSON.")
    once = {(error["loc"], error["type"]): error for error in errors}  # each dependency reports its parameters
    return as_problem(Invalid.of([*once.values()], model))


def install(app: FastAPI, extensions: Extensions) -> None:
    """Install the handlers that answer each error with a problem document.

    A reader who opens an unknown address gets a page, if an extension has one.
    """

    async def render(request: Request, error: Exception) -> Response:
        if isinstance(error, RequestValidationError):
            problem = from_validation(error.errors(), _body_of(request))
        else:
            problem = as_problem(error, method=request.method, path=request.url.path)
        if type(error) is HTTPException and problem.status_code == 404:  # of Starlette's router
            problem.detail = "There is no such path. /docs lists all: those of the API begin with /v1."
            if request.url.path == "/metrics":
                problem.detail = _where_metrics_are(request.app.state.api.settings.metrics_address)
                return as_response(problem)
        is_for_reader = problem.status_code == 404 and _is_for_reader(request, ("/v1/", *extensions.prefixes))
        if is_for_reader and extensions.unknown_page:
            return await extensions.unknown_page(request)
        if request.method == "POST" and extensions.takes_events(request.url.path):
            metrics.count_refusal(problem.kind)
        if problem.status_code == 405:
            allowed = _methods_at(app, request.scope["path"])
            problem.headers = {"allow": allowed}
            problem.detail = f"This path takes {allowed} only. /docs lists all paths: those of the API begin with /v1."
        return extensions.render(problem, request)

    for kind in (*EXPECTED, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, render)


def _where_metrics_are(address: str | None) -> str:
    """Describe it without the host, which may be known inside only."""
    if address is None:
        return "No metrics are served: set HOOKKEEPER_METRICS_ADDRESS of API and worker, such as 0.0.0.0:9464."
    port = address.rpartition(":")[2]
    return f"Metrics are not on this port, but on port {port}: HOOKKEEPER_METRICS_ADDRESS. Workers serve their own."


def _body_of(request: Request) -> type[BaseModel] | None:
    """Return the model of the body that the route takes."""
    field = getattr(request.scope.get("route"), "body_field", None)
    kinds = get_args(field.field_info.annotation) or (field.field_info.annotation,) if field else ()
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _is_for_reader(request: Request, prefixes: tuple[str, ...]) -> bool:
    """Return whether a browser opens an address, which is none of the API."""
    is_opened = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    return is_opened and not request.url.path.startswith(prefixes)


def _from_http(error: HTTPException) -> Problem:
    """Convert the errors of Starlette itself: unknown paths, wrong methods, incomplete bodies."""
    problem = Problem(str(error.detail), headers=dict(error.headers or {}))
    problem.status_code = error.status_code
    problem.kind = title(error.status_code).lower().replace(" ", "-")
    return problem


def _is_unavailable(problem: Problem, error: Exception) -> bool:
    """Return whether it is unknown if the request was executed. A problem that a route raised is known."""
    return problem.status_code == ServiceUnavailable.status and not isinstance(error, Problem)


def _out_of_reach(error: Exception) -> str:
    return _OUT_OF_REACH.get(type(error)) or _sentence(error)


def _methods_at(app: FastAPI, path: str) -> str:
    """Return the methods of a path for `Allow`. Starlette lists those of one route; a path can have several."""
    found: set[str] = set()
    for context in iter_route_contexts(app.routes):
        if context.methods and context.path_regex.match(path):
            found |= context.methods
    return ", ".join(sorted(found))


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] + "."
