"""What children of the sandbox may run: a fixed table of functions, by module and name.

Requests and answers are JSON. What is more than plain JSON, an argument or a result, has its type named here.
"""

from typing import NamedTuple

EMAIL, NOTIFICATION, PAYLOAD = (
    "hookkeeper.content.emails:Email",
    "hookkeeper.content.notifications:Notification",
    "hookkeeper.content.payload:Payload",
)


class Function(NamedTuple):
    """Types are written `module:Name`, so that a child imports those of the functions it runs and no others."""

    takes: tuple[str | None, ...] = ()
    """Types of the first arguments; None, and what follows, is plain JSON. An argument may always be None."""
    gives: tuple[str, ...] = ()
    """Types of which the result has one; without any, it is plain JSON."""


FUNCTIONS: dict[str, Function] = {
    "hookkeeper.content.emails.check": Function((EMAIL,)),
    "hookkeeper.content.emails.render_email": Function((EMAIL,), ("hookkeeper.content.emails:RenderedEmail",)),
    "hookkeeper.content.filters.check": Function(),
    "hookkeeper.content.filters.matches": Function(),
    "hookkeeper.content.json_schemas.check": Function(),
    "hookkeeper.content.json_schemas.errors": Function(),
    "hookkeeper.content.notifications.check": Function((NOTIFICATION,)),
    "hookkeeper.content.notifications.render_notification": Function(
        (NOTIFICATION,),
        ("hookkeeper.content.notifications:RenderedNotification", "hookkeeper.content.http_calls:RenderedHttpCall"),
    ),
    "hookkeeper.content.payload.body_of": Function((PAYLOAD,), ("hookkeeper.content.payload:Body",)),
    "hookkeeper.content.payload.check": Function((PAYLOAD,)),
    "hookkeeper.content.tls.check": Function(("hookkeeper.content.tls:Tls", "datetime:datetime")),
}
