"""Limits of rendered bodies, and the memory of an event's data."""

import json
from typing import Any, NamedTuple

from hookkeeper.content.errors import BadTemplate

MAX_BODY_BYTES = 512 * 1024
"""Default maximum bytes of a rendered body: twice the largest event."""
MAX_HEADER_BYTES = 16 * 1024
"""Maximum bytes of all headers of a request: many servers refuse more."""


class RenderLimits(NamedTuple):
    """Maximum bytes of what is rendered for an event."""

    body_bytes: int = MAX_BODY_BYTES
    header_bytes: int = MAX_HEADER_BYTES


DEFAULT_LIMITS = RenderLimits()


def check_body(field: str, size: int, max_bytes: int) -> None:
    """Raise BadTemplate, with the field's name, for a body of too many bytes."""
    if size > max_bytes:
        raise BadTemplate(f"{field}: makes {size:,} bytes of this event, and may make at most {max_bytes:,}")


def memory_of(data: Any) -> int:
    """Return the approximate bytes of JSON data as Python objects, never less than the actual ones.

    It counts characters of the JSON, as a walk over the objects would take ten times as long.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    width = 1 if text.isascii() else 4
    return (
        width * len(text)
        + 40 * text.count('"')
        + 48 * text.count(",")
        + 96 * text.count("[")
        + 272 * text.count("{")
        + 112 * text.count(":")
    )
