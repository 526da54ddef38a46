"""Errors of use cases. `api.errors` turns them into HTTP answers.

ServiceError
├── NotFound       there is no such object, or it belongs to another tenant
├── NotAllowed     the key is bound to another tenant
├── NotPossible    not in the present state
├── Invalid        not acceptable; names each bad field
├── TooLarge       larger than an event may be
├── Postponed      acceptable after some seconds
│   ├── RateLimited    too many requests
│   └── Suspended      events of this type were too costly to check
└── EventRefused   the event of a schedule is refused for good
"""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from hookkeeper.services.fields import PATTERN_RULES

_TYPE_RULES = {
    "extra_forbidden": "is not a field of this object",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "must be an object"),
    **dict.fromkeys(("list_type", "tuple_type"), "must be a list"),
}
"""What Pydantic says of these types of errors is about Python."""
MAX_ERRORS = 100
"""Bad fields that one error names."""
UNACCEPTABLE = "The request is invalid: see errors."


class BadField(BaseModel):
    """An error in one field of a request."""

    path: str = Field(
        description="Path of the field: field names and list positions, joined by dots",
        examples=["retry.schedule.0"],
    )
    detail: str = Field(description="What is wrong", examples=["Input should be greater than or equal to 0"])


class ServiceError(Exception):
    """Base of all; `str()` is a sentence for the caller."""


class NotFound(ServiceError):
    """There is no such object, or it belongs to another tenant."""


class NotAllowed(ServiceError):
    """The key is bound to another tenant."""


class NotPossible(ServiceError):
    """The state of the object does not allow it."""


class Invalid(ServiceError):
    """The request is not acceptable as it was sent."""

    def __init__(self, detail: str, errors: Sequence[BadField] = ()) -> None:
        super().__init__(detail)
        self.errors = list(errors)

    @classmethod
    def field(cls, path: str, detail: str) -> "Invalid":
        return cls(UNACCEPTABLE, [BadField(path=path, detail=detail)])

    @classmethod
    def of(cls, errors: Sequence[Any]) -> "Invalid":
        """Make one of the errors that Pydantic or FastAPI found."""
        return cls(
            UNACCEPTABLE,
            [BadField(path=_path(error["loc"]), detail=_detail(error)) for error in errors[:MAX_ERRORS]],
        )


class TooLarge(ServiceError):
    """An event is larger than events may be."""


class Postponed(ServiceError):
    """The same request is acceptable after `retry_after` seconds."""

    def __init__(self, detail: str, retry_after: float) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class RateLimited(Postponed):
    """Too many requests."""


class Suspended(Postponed):
    """Events of this type were too costly to check several times in a row. They are checked again after a rest."""


class EventRefused(ServiceError):
    """The event of a schedule is refused for good; `str()` is the reason."""


def _detail(error: Any) -> str:
    """Return what is wrong; for a known pattern in words, since a regular expression does not say what to do."""
    if error["type"] == "string_pattern_mismatch" and (rule := PATTERN_RULES.get(error["ctx"]["pattern"])):
        return rule
    if error["type"] == "too_short" and error["ctx"]["min_length"] == 1:
        return "must not be empty"
    if rule := _TYPE_RULES.get(error["type"]):
        return rule
    text: str = error["msg"]
    return text.removeprefix("Value error, ")


def _path(location: Sequence[str | int]) -> str:
    parts = [str(part) for part in location]
    if len(parts) > 1 and parts[0] in ("body", "query", "path", "header"):
        parts = parts[1:]
    return ".".join(parts)
