"""Writes problems as Svix does: `{"code", "detail"}`, and invalid fields as a list."""

from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse

from api.problems import Problem, Unprocessable

CODES = {
    401: "authentication_failed",
    403: "insufficient_access",
    404: "not_found",
    409: "conflict",
    413: "payload_too_large",
    500: "server_error",
}
"""Codes that Svix has; others are those of our problems."""
NAMES = {
    "events": "eventTypes",
    "enabled": "disabled",
    "rate_limit": "throttleRate",
    "type": "eventType",
    "data": "payload",
    "id": "eventId",
    "schema": "schemas",
    "deliver_at": "deliverAt",
    "session_lifetime": "expiry",
    "tenant": "app_id",
    "cursor": "iterator",
}
"""What Svix calls our fields."""


def as_svix(problem: Problem, request: Request) -> JSONResponse:
    """Make the answer to a request."""
    if isinstance(problem, Unprocessable):
        content: dict[str, Any] = {"detail": list(_items(problem, "query" if request.method == "GET" else "body"))}
    else:
        code = CODES.get(problem.status_code, problem.kind.replace("-", "_"))
        content = {"code": code, "detail": str(problem.detail)}
    return JSONResponse(content, problem.status_code, headers=problem.headers)


def _items(problem: Problem, place: str) -> list[dict[str, Any]]:
    errors = [(error.path.split("."), error.detail) for error in problem.errors] or [([], str(problem.detail))]
    return [
        {"loc": [place, *(NAMES.get(name, name) for name in path[:1]), *path[1:]], "msg": detail, "type": "value_error"}
        for path, detail in errors
    ]
