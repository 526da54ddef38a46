"""Writes problems as Svix does: `{"code", "detail"}`, and invalid fields as a list."""

import re
from collections.abc import Iterator, Mapping
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
    "id": "uid",
    "schema": "schemas",
    "deliver_at": "deliverAt",
    "session_lifetime": "expiry",
    "cursor": "iterator",
}
"""What Svix calls our fields."""
NAMES_AT = {"msg": {"id": "eventId"}, "rotate": {"secret": "key", "grace": "gracePeriodSeconds"}}
"""What it calls some of them at paths with this end."""


def as_svix(problem: Problem, request: Request) -> JSONResponse:
    """Make the answer to a request."""
    if isinstance(problem, Unprocessable) or problem.errors:
        problem.status_code = 422  # also of a bad iterator
        names = NAMES | NAMES_AT.get(request.url.path.rpartition("/")[2], {})
        content: dict[str, Any] = {
            "detail": list(_items(problem, "query" if request.method == "GET" else "body", names))
        }
    else:
        code = CODES.get(problem.status_code, problem.kind.replace("-", "_"))
        content = {"code": code, "detail": str(problem.detail)}
    return JSONResponse(content, problem.status_code, headers=problem.headers)


def _items(problem: Problem, place: str, names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Write each invalid field as an item; without one, the whole body."""
    for error in problem.errors:
        first, *rest = re.split(r"[./]", error.path)  # within data, it goes on as a JSON pointer
        yield {"loc": [place, names.get(first, first), *rest], "msg": error.detail, "type": "value_error"}
    if not problem.errors:
        yield {"loc": [place], "msg": str(problem.detail), "type": "value_error"}
