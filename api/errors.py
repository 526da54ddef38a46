"""Every error of the API is a problem document (RFC 9457). One tree, one handler for each of its sources.

Problem
├── Malformed 400      the body is not JSON
├── NoKey 401          no key, or not one of ours
├── Forbidden 403      the key may not do this, or not for this tenant
├── NotFound 404       unknown, or another tenant's
├── Conflicting 409    makes no sense as things are
├── TooLarge 413       over the limit
├── NotJson 415        the body says that it is something else
├── Invalid 422        well-formed, but not acceptable; names each bad field
├── TooMany 429        more requests than the key may make, or too many with a key that is none
└── OutOfReach 503     Temporal, the registry or the sandbox does not answer; nothing pretends
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, ClassVar

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from api.allowed import methods_at
from elements.sandbox import SandboxUnavailable
from registry.catalogue import AlreadyThere
from registry.store import BadCursor as BadRegistryCursor
from registry.store import RegistryUnavailable, TooManyWebhooks
from workflows.commands import Refused, UnknownDelivery
from workflows.listing import BadCursor
from workflows.reaching import Conflict, LaneFull, Unavailable, UnknownEvent, UnknownRecovery, UnknownSchedule

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5
MAX_ERRORS = 100
"""Bad fields that one answer names."""
TITLES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}
"""As RFC 9110 has them; Python's differ from version to version."""
_OUT_OF_REACH = {
    RegistryUnavailable: "The registry is out of reach.",
    SandboxUnavailable: "What runs templates and filters is out of reach.",
}
"""What is said in place of words that name our machines."""
log = structlog.get_logger("hookkeeper.api")


class BadField(BaseModel):
    """One thing that is wrong with a request."""

    path: str = Field(
        description="Where it is: field names and list positions, joined by dots",
        examples=["retry.schedule.0"],
    )
    detail: str = Field(description="What is wrong with it", examples=["Input should be greater than or equal to 0"])


class ProblemDocument(BaseModel):
    """RFC 9457, with `errors` where single fields are to blame."""

    type: str = Field(description="A stable name of this kind of problem", examples=["urn:hookkeeper:problem:invalid"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["The request is not acceptable: see errors."])
    errors: list[BadField] = Field(default_factory=list)


class Problem(HTTPException):
    """Base of what a route raises to answer with an error."""

    status: ClassVar[int] = 500
    kind: str = "internal"

    def __init__(self, detail: str, errors: Sequence[BadField] = (), headers: dict[str, str] | None = None) -> None:
        super().__init__(self.status, detail, headers)
        self.errors = list(errors)


class Malformed(Problem):
    status = 400
    kind = "malformed"


class NoKey(Problem):
    status = 401
    kind = "unauthorized"


class Forbidden(Problem):
    status = 403
    kind = "forbidden"


class NotFound(Problem):
    status = 404
    kind = "not-found"


class Conflicting(Problem):
    status = 409
    kind = "conflict"


class TooLarge(Problem):
    status = 413
    kind = "too-large"


class NotJson(Problem):
    status = 415
    kind = "not-json"


class Invalid(Problem):
    status = 422
    kind = "invalid"

    @classmethod
    def field(cls, path: str, detail: str) -> "Invalid":
        return cls("The request is not acceptable: see errors.", [BadField(path=path, detail=detail)])


class TooMany(Problem):
    status = 429
    kind = "too-many-requests"


class OutOfReach(Problem):
    status = 503
    kind = "unavailable"


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe error answers for the OpenAPI document. With `model`, FastAPI would call them `application/json` too."""
    return {
        status: {
            "description": title(status),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
        }
        for status in statuses
    }


def title(status: int) -> str:
    """Name a status."""
    return TITLES.get(status) or HTTPStatus(status).phrase


KEYED = responses(400, 401, 403, 413, 415, 422, 429, 503)
"""What every route with a key can answer."""


def document(problem: Problem) -> ProblemDocument:
    """Write a problem down."""
    return ProblemDocument(
        type=f"urn:hookkeeper:problem:{problem.kind}",
        title=title(problem.status_code),
        status=problem.status_code,
        detail=str(problem.detail),
        errors=problem.errors,
    )


def as_problem(error: Exception, **context: str) -> Problem:
    """Say an error in the API's words. What nobody foresaw is a bug: it goes to the log, with `context`."""
    match error:
        case Problem():
            return error
        case UnknownEvent() | UnknownDelivery() | UnknownSchedule() | UnknownRecovery():
            return NotFound(_sentence(error))
        case Conflict() | Refused() | AlreadyThere() | TooManyWebhooks():
            return Conflicting(_sentence(error))
        case BadCursor() | BadRegistryCursor():
            return Invalid.field("cursor", "not a cursor that this list gave")
        case LaneFull():
            return TooMany(_sentence(error), headers={"retry-after": str(RETRY_AFTER_SECONDS)})
        case Unavailable() | RegistryUnavailable() | SandboxUnavailable():
            log.warning("out of reach", error=type(error).__name__, detail=str(error))
            what = _OUT_OF_REACH.get(type(error)) or _sentence(error)
            return OutOfReach(
                f"{what} Nothing was promised: try again with the same id.",
                headers={"retry-after": str(RETRY_AFTER_SECONDS)},
            )
        case _:
            log.error("unhandled error", exc_info=error, **context)
            return Problem("Something is wrong on our side; it has been logged.")


def from_validation(errors: Sequence[Any]) -> Problem:
    """Turn the errors of FastAPI and Pydantic into ours."""
    if any(error["type"] == "json_invalid" for error in errors):
        return Malformed("The body is not JSON.")
    return Invalid(
        "The request is not acceptable: see errors.",
        [
            BadField(path=_path(error["loc"]), detail=error["msg"].removeprefix("Value error, "))
            for error in errors[:MAX_ERRORS]
        ],
    )


def install(app: FastAPI) -> None:
    """Let every error of the app be answered as a problem document."""

    async def render(request: Request, error: Exception) -> Response:
        return _response(as_problem(error, method=request.method, path=request.url.path))

    async def render_validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _response(from_validation(error.errors()))

    async def render_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            error.headers = {"allow": methods_at(app, request.scope["path"])}
        return _response(error if isinstance(error, Problem) else _from_http(error))

    for ours in (
        UnknownEvent,
        UnknownDelivery,
        UnknownSchedule,
        UnknownRecovery,
        Conflict,
        LaneFull,
        Refused,
        AlreadyThere,
        TooManyWebhooks,
        BadCursor,
        BadRegistryCursor,
        Unavailable,
        RegistryUnavailable,
        SandboxUnavailable,
    ):
        app.add_exception_handler(ours, render)
    app.add_exception_handler(RequestValidationError, render_validation)
    app.add_exception_handler(HTTPException, render_http)
    app.add_exception_handler(Exception, render)


def _response(problem: Problem) -> JSONResponse:
    return JSONResponse(
        document(problem).model_dump(), problem.status_code, headers=problem.headers, media_type=MEDIA_TYPE
    )


def _from_http(error: HTTPException) -> Problem:
    """Cover what Starlette raises itself: unknown paths, wrong methods, bodies that are cut off."""
    problem = Problem(str(error.detail), headers=dict(error.headers or {}))
    problem.status_code = error.status_code
    problem.kind = title(error.status_code).lower().replace(" ", "-")
    return problem


def _path(location: Sequence[str | int]) -> str:
    parts = [str(part) for part in location]
    if len(parts) > 1 and parts[0] in ("body", "query", "path", "header"):
        parts = parts[1:]
    return ".".join(parts)


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] + "."
