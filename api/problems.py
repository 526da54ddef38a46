"""Errors as HTTP answers: problem documents (RFC 9457). `api.errors` makes them of the errors of services.

Problem
├── Malformed 400             the body is not JSON
├── Unauthorized 401          no key, or an invalid one
├── Forbidden 403             the key may not do this, or not for this tenant
├── Missing 404               unknown, or another tenant's
├── Conflicting 409           not possible in the present state
├── ContentTooLarge 413       over the limit
├── UnsupportedMediaType 415  the body is not declared as JSON
├── Unprocessable 422         well-formed, but not acceptable; names each bad field
├── TooManyRequests 429       over a rate or a concurrency limit
└── ServiceUnavailable 503    Temporal, the registry or the sandbox does not answer
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Self

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from hookkeeper.services.errors import BadField

MEDIA_TYPE = "application/problem+json"
EVENT_ID_HEADER = "hookkeeper-event-id"
"""Names the event in each answer to `POST /v1/events`."""
TITLES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}
"""As RFC 9110 has them; Python's differ from version to version."""


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


class Problem(HTTPException):
    """Base of the errors of HTTP. FastAPI lets none but these through while it reads a body."""

    status: ClassVar[int] = 500
    kind: str = "internal"

    def __init__(self, detail: str, errors: Sequence[BadField] = (), headers: dict[str, str] | None = None) -> None:
        super().__init__(self.status, detail, headers)
        self.errors = list(errors)
        self.event_id: str | None = None

    def about_event(self, event_id: str) -> Self:
        """Name the event that the problem is about, in the document and in a header."""
        self.event_id = event_id
        self.headers = {**(self.headers or {}), EVENT_ID_HEADER: event_id}
        return self


class Malformed(Problem):
    status = 400
    kind = "malformed"


class Unauthorized(Problem):
    status = 401
    kind = "unauthorized"


class Forbidden(Problem):
    status = 403
    kind = "forbidden"


class Missing(Problem):
    status = 404
    kind = "not-found"


class Conflicting(Problem):
    status = 409
    kind = "conflict"


class ContentTooLarge(Problem):
    status = 413
    kind = "too-large"


class UnsupportedMediaType(Problem):
    status = 415
    kind = "not-json"


class Unprocessable(Problem):
    status = 422
    kind = "invalid"


class TooManyRequests(Problem):
    status = 429
    kind = "too-many-requests"


class ServiceUnavailable(Problem):
    status = 503
    kind = "unavailable"


EXAMPLES = {
    400: ("malformed", "The body is not JSON."),
    401: ("unauthorized", "The key was revoked."),
    403: ("forbidden", "The key lacks the scope events:write."),
    404: ("not-found", "There is no such webhook."),
    408: ("request-timeout", "The body was sent too slowly."),
    409: ("conflict", "An event with id order-4711 and other content was accepted before for tenant acme."),
    413: ("too-large", "The body is larger than the 262144 bytes allowed."),
    414: ("uri-too-long", "The URL is longer than 8192 bytes."),
    415: ("not-json", "The body must be JSON, sent with `content-type: application/json`."),
    422: ("invalid", "The request is invalid: see errors."),
    429: ("too-many-requests", "Tenant acme has too many requests waiting: 100 are handled at once."),
    431: (
        "request-header-fields-too-large",
        "URL and headers are larger than 32768 bytes, or there are more than 100 headers.",
    ),
    503: ("unavailable", "The registry is unavailable. Repeat the request, with the same id."),
}
"""Kind and detail, for the OpenAPI document."""


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe error answers for the OpenAPI document. With `model`, FastAPI would call them `application/json` too."""
    return {
        status: {
            "description": title(status),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/ProblemDocument"},
                    "examples": {"problem": {"value": _example(status)}},
                }
            },
        }
        for status in statuses
    }


def _example(status: int) -> dict[str, Any]:
    kind, detail = EXAMPLES[status]
    errors = [{"path": "retry.schedule.0", "detail": "Input should be greater than or equal to 0"}]
    return {
        "type": f"urn:hookkeeper:problem:{kind}",
        "title": title(status),
        "status": status,
        "detail": detail,
        "errors": errors if status == 422 else [],
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
        event_id=problem.event_id,
    )
