"""The messages of releases (`workflows.release`)."""

from datetime import datetime
from typing import Literal, NamedTuple

from hookkeeper.messages import Message


class RunPosition(NamedTuple):
    """The position of a run in the order in which the events of a tenant were accepted: releases and recoveries go on
    after it.
    """

    accepted_at: datetime
    event_id: str
    part: int
    """0 for an event's own run."""


ReleaseStage = Literal["deciding", "sending", "sent"]
"""What a run does after its release was requested."""


class ReleaseState(Message):
    """The state of a release; also its input, and what it continues with as a new run."""

    webhook_id: str
    tenant: str
    passes: int = 0
    """Completed passes."""
    after: RunPosition | None = None
    """The latest run that the present pass has released."""
    released: int = 0
    """Events."""
    requested: bool = False
    """The release was requested again while it ran."""


class HeldSearch(Message):
    """A request for the oldest runs with a held delivery after a position."""

    webhook_id: str
    tenant: str
    after: RunPosition | None = None


class HeldRuns(Message):
    """The oldest runs with a held delivery."""

    runs: tuple[str, ...] = ()
    end: RunPosition | None = None
    """The position to continue after; None: there are no more."""
    off: bool = False
    """The webhook is paused or disabled: nothing is to be released."""


class ReleaseBatch(Message):
    """Runs to release, oldest first."""

    webhook_id: str
    tenant: str
    runs: tuple[str, ...]


class ReleaseProgress(Message):
    completed: int = 0
    """Completed runs, counted from the beginning of the batch."""
    released: int = 0
    """Those that have reacted to it."""
    off: bool = False
