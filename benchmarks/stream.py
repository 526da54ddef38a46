"""What the load generator posts and returns, what the receiver got, and the times of events in milliseconds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A series of events. Without a rate, each client posts its next event as soon as the last one is answered."""

    group: str
    """The events have the ids `<group>-0`, `<group>-1` …"""
    events: int
    tenants: tuple[str, ...] = ()
    """The events go to these tenants in turn; none: to one with the name of the group."""
    type: str = "bench.ran"
    clients: int = 50
    """Requests at once."""
    rate: float | None = None
    """Bursts a second. A late answer does not delay the next burst."""
    burst: int = 1
    """Events that are posted at once."""
    shift: float = 0.0
    """Seconds before the first burst."""
    pause: float = 0.0
    """Without a rate: seconds after each answer."""
    batch: int = 1
    """Events in a request; more than one are sent to `/v1/events/batch`."""
    size: int = 1024
    """Bytes of an event."""
    seconds: float = 300.0
    """The stream ends after this time, even if events are left. Until then, refused requests are repeated."""


@dataclass(slots=True)
class Posted:
    """The posted events of a stream. Times are those of the monotonic clock, which all processes share."""

    sent: list[float] = field(default_factory=list)
    answered: list[float | None] = field(default_factory=list)
    """None: the event was not accepted."""
    refusals: dict[str, int] = field(default_factory=dict)
    """Requests that failed or were refused, by reason; all but those with a permanent error were repeated."""


@dataclass(slots=True)
class Arrivals:
    """What the receiver got of a group."""

    first: dict[str, float] = field(default_factory=dict)
    """When the first request of each event arrived."""
    deliveries: int = 0
    """Pairs of an event and a path."""
    requests: int = 0
    last: float = 0.0
    """When the last request arrived that was not a duplicate."""

    @property
    def duplicates(self) -> int:
        return self.requests - self.deliveries


def to_answer(posted: Posted) -> list[float]:
    """Return the time from sending each event to its answer; refused events are left out."""
    pairs = zip(posted.sent, posted.answered, strict=True)
    return [1e3 * (answered - sent) for sent, answered in pairs if answered is not None]


def to_socket(stream: Stream, posted: Posted, arrivals: Arrivals) -> list[float]:
    """Return the time from sending each event to its arrival; events that did not arrive are left out."""
    arrived = ((sent, arrivals.first.get(f"{stream.group}-{number}")) for number, sent in enumerate(posted.sent))
    return [1e3 * (at - sent) for sent, at in arrived if at is not None]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that this part of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def percentiles(name: str, values: Sequence[float], *percents: int) -> dict[str, float]:
    return {f"{name}_p{percent}_ms": percentile(values, percent) for percent in percents}
