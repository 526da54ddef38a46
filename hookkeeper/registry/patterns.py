"""Which patterns of a webhook match which event types. Pure.

A pattern is an event type (`order.created`), a type prefix (`order.*`: every type below `order`, but not
`order` itself) or `*`.
"""

MAX_LENGTH = 128
"""Characters of the longest event type or pattern, which the expressions below do not count."""

_GROUPS = r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*"

EVENT_TYPE = rf"^{_GROUPS}$"
EVENT_PATTERN = rf"^({_GROUPS}(\.\*)?|\*)$"


def patterns_for(event_type: str) -> tuple[str, ...]:
    """List every pattern that matches `event_type`, the narrowest first."""
    groups = event_type.split(".")
    prefixes = (".".join(groups[:length]) for length in range(len(groups) - 1, 0, -1))
    return (event_type, *(f"{prefix}.*" for prefix in prefixes), "*")
