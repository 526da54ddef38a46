"""What a drill records: load generator, receivers, event log and fault injector each record their part.

Times are seconds of this machine's clock; those in the log are of the workers' clocks, which may be set.
"""

from dataclasses import dataclass

from drills.schedule import Kind


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event whose POST got a 2xx response."""

    event_id: str
    at: float
    digest: str
    """Digest of the data that was sent."""


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request, as its receiver recorded it."""

    event_id: str
    webhook: str
    arrived: float
    ended: float
    status: int | None
    """None: no answer was given."""
    digest: str
    """Digest of the data received; empty if the signature was wrong."""

    @property
    def is_delivery(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Logged:
    """An attempt as `GET /v1/events/{id}` shows it."""

    event_id: str
    webhook: str
    started: float
    ended: float
    status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Window:
    """The time of a fault."""

    kind: Kind
    target: str
    began: float
    ended: float
    """When the process was ready again."""
    step: float = 0.0
    """Seconds by which its clock was ahead; negative: behind."""


@dataclass(frozen=True, slots=True)
class Observations:
    """Everything that was recorded."""

    webhooks: tuple[str, ...]
    accepted: tuple[Accepted, ...]
    requests: tuple[ReceivedRequest, ...]
    logged: tuple[Logged, ...]
    statuses: dict[str, str]
    """Status of each event that could be read."""
    windows: tuple[Window, ...]
    unaccepted: tuple[str, ...] = ()
    """Events that never got a 2xx response, although requests were repeated after all faults were over."""
    refused: tuple[str, ...] = ()
    """Descriptions of responses that should not occur."""
    changes: int = 0
    """Changes of a webhook that got status 200."""
    changes_lost: tuple[str, ...] = ()
