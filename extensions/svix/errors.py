"""What Svix's API refuses: fields that are invalid or cannot be translated. All problems have Svix's form."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import AfterValidator, BaseModel, ValidationError
from starlette.responses import JSONResponse

from api.problems import Problem, Unprocessable
from hookkeeper.services.errors import Invalid

PREFIX = "/api/v1"
ReadModel = TypeVar("ReadModel", bound=BaseModel)
CODES = {
    401: "authentication_failed",
    403: "insufficient_access",
    404: "not_found",
    409: "conflict",
    413: "payload_too_large",
    500: "server_error",
}
"""Svix's codes by status. Other statuses have the code of our problem."""
WORDS = {"tenant": "application", "webhook": "endpoint", "event": "message"}
WORD = re.compile(rf"(?<![\w.*'\"`/-])(?:([Aa])n? )?({'|'.join(WORDS)})(?=s?(?![\w/*-]|\.\w| types?\b))")
"""Our words in a text, with their articles, but not in a name, a path or `event type`."""
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
"""Svix's names of our fields."""
NAMES_AT = {"msg": {"id": "eventId"}, "rotate": {"secret": "key", "grace": "gracePeriodSeconds"}}
"""Other names, by the last part of the path."""


def untranslatable(reason: str) -> AfterValidator:
    """Return a validator that refuses a field without a counterpart, unless its value is null, false or empty."""

    def refuse(value: Any) -> None:
        if value:
            raise ValueError(reason)

    return AfterValidator(refuse)


def translated(model: type[ReadModel], **fields: Any) -> ReadModel:
    """Make a request of `/v1`. Raises Invalid, with the names that the fields have there."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise Invalid.of(error.errors()) from None


def as_svix(problem: Problem, request: Request) -> JSONResponse:
    """Return a problem as `{"code", "detail"}`, with a list of invalid fields as `detail`."""
    if isinstance(problem, Unprocessable) or problem.errors:
        problem.status_code = 422  # also for a bad iterator
        names = NAMES | NAMES_AT.get(request.url.path.rpartition("/")[2], {})
        content: dict[str, Any] = {
            "detail": list(_items(problem, "query" if request.method == "GET" else "body", names))
        }
    else:
        code = CODES.get(problem.status_code, problem.kind.replace("-", "_"))
        content = {"code": code, "detail": _worded(str(problem.detail))}
    return JSONResponse(content, problem.status_code, headers=problem.headers)


def _worded(text: str) -> str:
    """Return a text with the words of this API."""
    text = text.partition(" /docs lists all")[0].replace(
        "end it now with `end_previous`", "send `gracePeriodSeconds: 0`"
    )
    return WORD.sub(_word, text)


def _word(found: re.Match[str]) -> str:
    word = WORDS[found[2]]
    return f"{found[1]}{'n' if word[0] in 'ae' else ''} {word}" if found[1] else word


def _items(problem: Problem, place: str, names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield an item for each invalid field; if there is none, one for the whole body or query."""
    for error in problem.errors:
        first, *rest = re.split(r"[./]", error.path)  # within data, it goes on as a JSON pointer
        yield {"loc": [place, names.get(first, first), *rest], "msg": _worded(error.detail), "type": "value_error"}
    if not problem.errors:
        yield {"loc": [place], "msg": _worded(str(problem.detail)), "type": "value_error"}
