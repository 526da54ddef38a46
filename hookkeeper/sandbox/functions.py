"""The functions that children of the sandbox may run, in a fixed table by module and name.

Requests and answers are JSON. The table has the types of arguments and results that are not plain JSON.
"""

from typing import NamedTuple

from hookkeeper.kinds import LISTS

PAYLOAD = "hookkeeper.content.payload:Payload"
LIMITS = "hookkeeper.content.sizes:RenderLimits"


class Function(NamedTuple):
    """Types are written `module:Name`, so that a child imports only the types of the functions it runs."""

    takes: tuple[str | None, ...] = ()
    """Types of the first arguments; None means plain JSON, as do further arguments. Any argument may be None."""
    gives: tuple[str, ...] = ()
    """Possible types of the result; empty means plain JSON."""


FUNCTIONS: dict[str, Function] = {
    "hookkeeper.content.filters.check": Function(),
    "hookkeeper.content.filters.check_key": Function(),
    "hookkeeper.content.filters.key_of": Function(),
    "hookkeeper.content.filters.matches": Function(),
    "hookkeeper.content.json_schemas.check": Function(),
    "hookkeeper.content.json_schemas.errors": Function(),
    "hookkeeper.content.payload.body_of": Function((PAYLOAD, None, LIMITS), ("hookkeeper.content.payload:Body",)),
    "hookkeeper.content.payload.check": Function((PAYLOAD,)),
    "hookkeeper.content.tls.check": Function(("hookkeeper.content.tls:Tls", "datetime:datetime")),
}
for _, items in LISTS:
    FUNCTIONS[items.check.replace(":", ".")] = Function((items.model,))
    FUNCTIONS[items.render.replace(":", ".")] = Function((items.model, None, LIMITS), items.rendered)
