"""Errors in tenants' templates, filters and schemas. Their messages are for the tenant and contain no secrets.

ContentError
├── BadTemplate   a template is invalid, or fails for this event
├── BadFilter     a filter is invalid, or fails for this event
└── TooCostly     the limit of time or memory is exceeded
    └── CodeSuspended   it was exceeded several times in a row: suspended for a while
"""


class ContentError(ValueError):
    """The base class; `str()` is the message."""


class BadTemplate(ContentError):
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
        column = f", column {self.column}" if self.column else ""
        return f"{self.message} (line {self.line}{column})"


class BadFilter(ContentError):
    """A filter is invalid, or fails for this event."""


class TooCostly(ContentError):
    """A call exceeds its limit of time or memory."""


class CodeSuspended(TooCostly):
    """Several calls in a row were too costly, so further ones are suspended for a while."""
