"""Errors of use cases. `api.errors` turns them into HTTP answers.

ServiceError
├── NotFound       there is no such object, or it belongs to another tenant
├── NotAllowed     the key is bound to another tenant, or lacks a scope
├── TenantSuspended  the tenant is suspended
├── NotPossible    not in the present state
├── NotKnown       the event was not accepted before, as the request demands
├── Invalid        not acceptable; names each bad field
├── TooLarge       larger than an event may be
├── Postponed      acceptable after some seconds
│   ├── RateLimited    too many requests
│   └── Suspended      events of this type were too costly to check
└── EventRefused   the event of a schedule is refused for good
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, Field

from hookkeeper.services.counts import names_at
from hookkeeper.services.fields import PATTERN_RULES

UNKNOWN_FIELD = "extra_forbidden"
_TYPE_RULES = {
    UNKNOWN_FIELD: "is not a field of this object",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "must be an object"),
    **dict.fromkeys(("list_type", "tuple_type"), "must be a list"),
}
"""What Pydantic says of these types of errors is about Python."""
MAX_ERRORS = 100
"""Bad fields that one error names."""
MAX_HINTS, MAX_NAME = 5, 64
"""Unknown fields that get a hint, and characters of each that are compared: it takes time, on the event loop."""
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
    """The key is bound to another tenant, or lacks a scope that this use of a route needs."""


class TenantSuspended(ServiceError):
    """The tenant is suspended: it accepts no new events, and sends none again."""

    def __init__(self, tenant: str, does_not: str, reason: str) -> None:
        super().__init__(f"The tenant {tenant} is suspended, and {does_not}{f': {reason}' if reason else '.'}")


class NotPossible(ServiceError):
    """The state of the object does not allow it."""


class NotKnown(ServiceError):
    """The request is for an event that was accepted before, and there is none with its id."""


class Invalid(ServiceError):
    """The request is not acceptable as it was sent."""

    def __init__(self, detail: str, errors: Sequence[BadField] = ()) -> None:
        super().__init__(detail)
        self.errors = list(errors)

    @classmethod
    def field(cls, path: str, detail: str) -> "Invalid":
        return cls(UNACCEPTABLE, [BadField(path=path, detail=detail)])

    @classmethod
    def of(cls, errors: Sequence[Any], model: type[BaseModel] | None = None) -> "Invalid":
        """Make one of the errors that Pydantic or FastAPI found; with the body's model, unknown fields get a hint."""
        found = [BadField(path=_path(error["loc"]), detail=_detail(error)) for error in errors[:MAX_ERRORS]]
        unknown = [n for n, error in enumerate(errors[:MAX_ERRORS]) if error["type"] == UNKNOWN_FIELD]
        for n in unknown[:MAX_HINTS] if model else ():
            *outer, name = _steps(errors[n]["loc"])
            if close := get_close_matches(str(name)[:MAX_NAME], names_at(model, outer), 1):
                found[n].detail += f": did you mean `{close[0]}`?"
        return cls(UNACCEPTABLE, found)


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
    return ".".join(map(str, _steps(location)))


def _steps(location: Sequence[str | int]) -> Sequence[str | int]:
    return location[1:] if len(location) > 1 and location[0] in ("body", "query", "path", "header") else location
