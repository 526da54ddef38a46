"""Errors as HTTP answers: problem documents (RFC 9457). `api.errors` makes them of the errors of services.

Problem
├── Malformed 400             the body is not JSON
├── Unauthorized 401          no key, or an invalid one
├── Forbidden 403             the key may not do this, or not for this tenant
├── Missing 404               unknown, or another tenant's
├── RequestTimeout 408        the body came too slowly
├── Conflicting 409           not possible in the present state
├── Gone 410                  the tenant was deleted
├── PreconditionFailed 412    the event was not accepted before
├── ContentTooLarge 413       over the limit
├── UriTooLong 414            over the limit
├── UnsupportedMediaType 415  the body is not declared as JSON, or is compressed
├── Unprocessable 422         well-formed, but not acceptable; names each bad field
├── TooManyRequests 429       over a rate or a concurrency limit
├── HeadersTooLarge 431       over the limit
└── ServiceUnavailable 503    Temporal, the registry or the sandbox does not answer
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Self

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from hookkeeper.services.errors import BadField

MEDIA_TYPE = "application/problem+json"
EVENT_ID_HEADER = "hookkeeper-event-id"
"""Names the event in each answer to a request that makes one."""
TITLES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}
"""Titles of RFC 9110; Python's differ from version to version."""


class ProblemDocument(BaseModel):
    """A problem document (RFC 9457). `errors` lists invalid fields."""

    type: str = Field(description="Stable name of the kind of problem", examples=["urn:hookkeeper:problem:invalid"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["The request is invalid: see errors."])
    errors: list[BadField] = Field(default_factory=list)
    event_id: str | None = Field(
        None,
        exclude_if=lambda event_id: event_id is None,
        description="The id of the event that was posted, even if it was generated. After a 503, post the event again"
        " with this `id`: it is accepted only once",
    )
    schedule_id: str | None = Field(
        None,
        exclude_if=lambda schedule_id: schedule_id is None,
        description="The id of the new schedule, even if it was generated. After a 503, repeat the request with this"
        " `id`; 409 then means that the schedule was created",
    )


class Problem(HTTPException):
    """Base of the errors of HTTP. FastAPI lets none but these through while it reads a body."""

    status: ClassVar[int] = 500
    kind: str = "internal"
    example: ClassVar[str]
    """The detail of an example for the OpenAPI document."""

    def __init__(self, detail: str, errors: Sequence[BadField] = (), headers: dict[str, str] | None = None) -> None:
        super().__init__(self.status, detail, headers)
        self.errors = list(errors)
        self.event_id: str | None = None
        self.schedule_id: str | None = None

    def about_event(self, event_id: str) -> Self:
        """Name the event that the problem is about, in the document and in a header."""
        self.event_id = event_id
        self.headers = {**(self.headers or {}), EVENT_ID_HEADER: event_id}
        return self


class Malformed(Problem):
    status = 400
    kind = "malformed"
    example = "The body is not JSON."


class Unauthorized(Problem):
    status = 401
    kind = "unauthorized"
    example = "The key was revoked."


class Forbidden(Problem):
    status = 403
    kind = "forbidden"
    example = "The key lacks the scope events:write."


class Missing(Problem):
    status = 404
    kind = "not-found"
    example = "There is no such webhook."


class RequestTimeout(Problem):
    status = 408
    kind = "request-timeout"
    example = "The body was sent too slowly."


class Conflicting(Problem):
    status = 409
    kind = "conflict"
    example = "An event with id order-4711 and other content was accepted before for tenant acme."


class Gone(Problem):
    status = 410
    kind = "gone"
    example = "The tenant acme was deleted. PUT /v1/tenants/acme adds it again."


class PreconditionFailed(Problem):
    status = 412
    kind = "not-known"
    example = "No event with this id was accepted before."


class ContentTooLarge(Problem):
    status = 413
    kind = "too-large"
    example = "The body is larger than the 262144 bytes allowed."


class UriTooLong(Problem):
    status = 414
    kind = "uri-too-long"
    example = "The URL is longer than 8192 bytes."


class UnsupportedMediaType(Problem):
    status = 415
    kind = "not-json"
    example = "The body must be JSON, sent with `content-type: application/json`."


class Unprocessable(Problem):
    status = 422
    kind = "invalid"
    example = "The request is invalid: see errors."


class TooManyRequests(Problem):
    status = 429
    kind = "too-many-requests"
    example = "Tenant acme has too many waiting requests: 8 are handled at once."


class HeadersTooLarge(Problem):
    status = 431
    kind = "request-header-fields-too-large"
    example = "URL and headers are larger than 32768 bytes, or there are more than 100 headers."


class ServiceUnavailable(Problem):
    status = 503
    kind = "unavailable"
    example = "The registry is unavailable. Repeat the request, with the same id if it has one."


BY_STATUS = {problem.status: problem for problem in Problem.__subclasses__()}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe error answers for the OpenAPI document. With `model`, FastAPI would call them `application/json` too."""
    return {
        status: {
            "description": title(status),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/ProblemDocument"},
                    "examples": {"problem": {"value": _example(BY_STATUS[status])}},
                }
            },
        }
        for status in statuses
    }


def _example(kind: type[Problem]) -> dict[str, Any]:
    path, detail = "retry.schedule.0", "Input should be greater than or equal to 0"
    errors = [BadField(path=path, detail=detail)] if kind is Unprocessable else []
    return document(kind(kind.example, errors)).model_dump()


def title(status: int) -> str:
    """Name a status."""
    return TITLES.get(status) or HTTPStatus(status).phrase


def document(problem: Problem) -> ProblemDocument:
    """Write a problem down."""
    return ProblemDocument(
        type=f"urn:hookkeeper:problem:{problem.kind}",
        title=title(problem.status_code),
        status=problem.status_code,
        detail=str(problem.detail),
        errors=problem.errors,
        event_id=problem.event_id,
        schedule_id=problem.schedule_id,
    )


def as_response(problem: Problem) -> JSONResponse:
    """Make the answer to a request."""
    content = document(problem).model_dump()
    return JSONResponse(content, problem.status_code, headers=problem.headers, media_type=MEDIA_TYPE)


NAMES_EVENT = {EVENT_ID_HEADER: {"description": "The event's id", "schema": {"type": "string"}}}
"""The header of answers that name an event, for the OpenAPI document."""
KEYED = responses(400, 401, 403, 413, 415, 422, 429, 503)
"""What every route with a key can answer."""
