"""What a schedule is about: which event, at which times. Pure."""

from datetime import datetime
from typing import Any, Literal

from hookkeeper.outcomes import Message

Overlap = Literal["skip", "buffer_one", "buffer_all", "cancel_other", "allow_all"]
YEAR = 365 * 86400
"""Seconds."""


class Plan(Message):
    """A schedule as people wrote it. It is the input of each firing, and kept nowhere else."""

    id: str
    tenant: str
    name: str = ""
    type: str
    data: Any = None
    cron: tuple[str, ...] = ()
    every: int | None = None
    """Seconds."""
    offset: int = 0
    """Seconds after each full interval, which are counted from 1970 on."""
    timezone: str = "UTC"
    overlap: Overlap = "skip"
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
        """Tell whether a firing lasts until its event is delivered: the next may depend on it."""
        return self.overlap != "allow_all"
