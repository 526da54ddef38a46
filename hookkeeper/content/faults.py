"""Errors in tenants' templates, filters and schemas. Their messages are for the tenant and contain no secrets.

Fault
├── BadTemplate   a template that cannot be read, or not for this event
├── BadFilter     the same of a filter
└── TooCostly     it wanted more time or memory than it may have
    └── TooCostlyLately   it was so several times in a row, and is not tried for a while
"""


class Fault(ValueError):
    """The base class; `str()` is the message."""


class BadTemplate(Fault):
    """A template is invalid, or fails for this event."""

    def __init__(
        self, message: str, line: int | None = None, column: int | None = None, *, kind: str | None = None
    ) -> None:
        """`kind` is minijinja's name of the error."""
        super().__init__(message, line, column)
        self.kind = kind
        self.message = message
        self.line = line
        self.column = column

    def __str__(self) -> str:
        if not self.line:
            return self.message
        place = f"line {self.line}, column {self.column}" if self.column else f"line {self.line}"
        return f"{self.message} ({place})"


class BadFilter(Fault):
    """A filter is invalid, or fails for this event."""


class TooCostly(Fault):
    """It exceeds its limit of time or memory."""


class TooCostlyLately(TooCostly):
    """It was too costly several times in a row, and is not tried for a while."""
