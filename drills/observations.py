"""What a drill writes down, each part for itself: the poster, the receiver, the log of the API, who does the faults.

Times are seconds of this machine's wall clock; those in the log are of the clocks of the workers, which may be set.
"""

from dataclasses import dataclass

from drills.schedule import Kind


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that was answered 2xx."""

    event_id: str
    at: float
    digest: str
    """Of the data that was sent."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a receiver saw it."""

    event_id: str
    webhook: str
    arrived: float
    ended: float
    status: int | None
    """None: no answer was given."""
    digest: str
    """Of the data that came; empty where the signature was wrong."""

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
    """A fault as it was done."""

    kind: Kind
    target: str
    began: float
    ended: float
    """When the process was itself again."""
    step: float = 0.0
    """Seconds that its clock was ahead, or back where that is negative."""


@dataclass(frozen=True, slots=True)
class Observations:
    """Everything that was written down."""

    webhooks: tuple[str, ...]
    accepted: tuple[Accepted, ...]
    requests: tuple[Request, ...]
    logged: tuple[Logged, ...]
    statuses: dict[str, str]
    """Of each event that could be read, how it stands."""
    windows: tuple[Window, ...]
    unaccepted: tuple[str, ...] = ()
    """Events that were never answered 2xx, although their sender went on asking when all faults were over."""
    refused: tuple[str, ...] = ()
    """Answers that nobody should ever see, in words."""
    changes: int = 0
    """Changes of a webhook that were answered 200."""
    changes_lost: tuple[str, ...] = ()
