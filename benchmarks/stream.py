"""What the load generator posts, and what it returns."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A series of events. Without a rate, each client posts its next event as soon as the last one is answered."""

    group: str
    """The events have the ids `<group>-0`, `<group>-1` …"""
    events: int
    tenants: tuple[str, ...]
    """The events go to these tenants in turn."""
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
