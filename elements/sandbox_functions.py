"""What children of the sandbox may run: a fixed table of functions, by module and name.

Requests and answers are JSON. What is more than plain JSON, an argument or a result, has its type named here.
"""

from typing import NamedTuple

EMAIL, NOTIFICATION, PAYLOAD = (
    "elements.emails:Email",
    "elements.notifications:Notification",
    "elements.payload:Payload",
)


class Function(NamedTuple):
    """Types are written `module:Name`, so that a child imports those of the functions it runs and no others."""

    takes: tuple[str | None, ...] = ()
    """Types of the first arguments; None, and what follows, is plain JSON. An argument may always be None."""
    gives: tuple[str, ...] = ()
    """Types of which the result has one; without any, it is plain JSON."""


FUNCTIONS: dict[str, Function] = {
    "elements.emails.check": Function((EMAIL,)),
    "elements.emails.letter_of": Function((EMAIL,), ("elements.emails:Letter",)),
    "elements.filters.check": Function(),
    "elements.filters.matches": Function(),
    "elements.json_schemas.check": Function(),
    "elements.json_schemas.errors": Function(),
    "elements.notifications.check": Function((NOTIFICATION,)),
    "elements.notifications.note_of": Function(
        (NOTIFICATION,), ("elements.notifications:Note", "elements.http_calls:Call")
    ),
    "elements.payload.body_of": Function((PAYLOAD,), ("elements.payload:Body",)),
    "elements.payload.check": Function((PAYLOAD,)),
    "elements.tls.check": Function(("elements.tls:Tls", "datetime:datetime")),
}
