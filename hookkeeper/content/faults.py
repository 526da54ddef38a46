"""What can be wrong with what a tenant wrote. The sentences are for that tenant and repeat no secret.

Fault
├── BadTemplate   a template that cannot be read, or not for this event
├── BadFilter     the same of a filter
└── TooCostly     it wanted more time or memory than it may have
    └── TooCostlyLately   it was so several times in a row, and is not tried for a while
"""


class Fault(ValueError):
    """Base of all; `str()` is the sentence."""


class BadTemplate(Fault):
    """A template cannot be read, or fails for this event."""

    def __init__(
        self, message: str, line: int | None = None, column: int | None = None, *, kind: str | None = None
    ) -> None:
        """`kind` is minijinja's name for what is wrong."""
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
    """A filter cannot be read, or fails for this event."""


class TooCostly(Fault):
    """It wanted more time or memory than it may have."""


class TooCostlyLately(TooCostly):
    """It was too costly several times in a row, and is not tried for a while."""
