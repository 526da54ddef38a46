"""The phases of an attempt, which a template draws as a bar. Pure."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

MIN_WIDTH = 1.0
"""Of a phase, in percent of the bar: a short one is seen too."""
Kind = Literal["queue", "connect", "first-byte", "rest"]


class Measured(Protocol):
    """An attempt, as a message or as the API shows it."""

    @property
    def duration_ms(self) -> float: ...
    @property
    def queue_ms(self) -> float | None: ...
    @property
    def connect_ms(self) -> float | None: ...
    @property
    def first_byte_ms(self) -> float | None: ...


class Phase(NamedTuple):
    name: str
    kind: Kind
    milliseconds: float
    start: float
    """In percent of the bar; so is `width`."""
    width: float


def latency(attempt: Measured) -> Sequence[Phase]:
    """Return the phases that are known, in their order. The last is the rest of the request."""
    known: list[tuple[str, Kind, float | None]] = [
        ("queue", "queue", attempt.queue_ms),
        ("connect", "connect", attempt.connect_ms),
        ("first byte", "first-byte", attempt.first_byte_ms),
        (_name_of_rest(attempt), "rest", _rest(attempt)),
    ]
    phases = [(name, kind, length) for name, kind, length in known if length is not None]
    total = sum(length for _, _, length in phases) or 1.0
    widths = [max(MIN_WIDTH, 100 * length / total) for _, _, length in phases]
    scale = 100 / (sum(widths) or 1.0)
    start, drawn = 0.0, []
    for (name, kind, length), width in zip(phases, widths, strict=True):
        drawn.append(Phase(name, kind, length, round(start, 2), round(width * scale, 2)))
        start += width * scale
    return drawn


def _rest(attempt: Measured) -> float | None:
    """Return what the request took besides; None if nothing is left."""
    rest = attempt.duration_ms - (attempt.connect_ms or 0.0) - (attempt.first_byte_ms or 0.0)
    is_whole = attempt.connect_ms is None and attempt.first_byte_ms is None
    return max(rest, 0.0) if is_whole or rest >= 0.1 else None


def _name_of_rest(attempt: Measured) -> str:
    if attempt.first_byte_ms is not None:
        return "body"
    return "request" if attempt.connect_ms is None else "no response"
