"""The messages of schedules (`workflows.scheduled_event`)."""

from datetime import datetime
from typing import Any, Literal, NamedTuple

from hookkeeper.messages import Message

OverlapPolicy = Literal["skip", "buffer_one", "buffer_all", "cancel_other", "allow_all"]
YEAR = 365 * 86400
"""Seconds."""


class SchedulePlan(Message):
    """A schedule as it was written by its owner. It is the input of each firing."""

    id: str
    tenant: str
    name: str = ""
    type: str
    channels: tuple[str, ...] = ()
    data: Any = None
    cron: tuple[str, ...] = ()
    every: int | None = None
    """Seconds."""
    offset: int = 0
    """Seconds after each full interval; intervals are counted from 1970 on."""
    timezone: str = "UTC"
    overlap: OverlapPolicy = "skip"
    catchup_window: int = YEAR
    """Seconds."""
    jitter: int = 0
    """Seconds."""
    start_at: datetime | None = None
    end_at: datetime | None = None
    key_id: str = ""
    """The key that made the schedule: its events count against the key's rate."""

    @property
    def waits(self) -> bool:
        """Whether a firing lasts until its event is delivered, because the next one may depend on it."""
        return self.overlap != "allow_all"


class ScheduleSettings(NamedTuple):
    """What a caller can set of a schedule."""

    plan: SchedulePlan
    paused: bool
    note: str


class ScheduledEvent(Message):
    event_id: str
    type: str
    tenant: str
    timestamp: datetime
    channels: tuple[str, ...] = ()
    data: Any = None
    key_id: str = ""
    """The key that made the schedule."""


class EventReference(Message):
    event_id: str
    tenant: str
