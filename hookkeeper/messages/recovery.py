"""The messages of recoveries (`workflows.recovery`)."""

from datetime import datetime
from typing import Literal

from hookkeeper.messages import Message
from hookkeeper.messages.release import RunPosition

RecoverableStatus = Literal["failed", "cancelled"]
RedeliveryResult = Literal["redelivered", "skipped", "failed"]
"""`skipped`: there is nothing to redeliver any more."""
RecoveryStatus = Literal["running", "paused", "finished", "cancelled", "unknown"]
"""`unknown`: its run does not answer. No run has this status itself."""
RecoveryCommand = Literal["pause", "resume", "cancel"]


class RecoveryScope(Message):
    """The deliveries that a recovery is about."""

    tenant: str
    webhook_id: str | None = None
    """None: all webhooks of the tenant."""
    status: RecoverableStatus = "failed"
    types: tuple[str, ...] = ()
    """Event types; empty means all."""
    since: datetime
    until: datetime
    began: datetime
    """Start of the recovery: deliveries that were redelivered since are skipped."""


class RecoveryState(Message):
    """The state of a recovery; also its input, and what it continues with as a new run."""

    id: str
    scope: RecoveryScope
    rate: float
    """Events a second."""
    status: RecoveryStatus = "running"
    found: int | None = None
    """Events; None until they are counted."""
    redelivered: int = 0
    skipped: int = 0
    failed: int = 0
    after: RunPosition | None = None
    """The latest run that is processed."""
    finished_at: datetime | None = None


class RecoverySearch(Message):
    """A request for the oldest candidates after a position."""

    scope: RecoveryScope
    after: RunPosition | None = None


class RecoveryCandidate(Message):
    """A run with a delivery that may have to be redelivered."""

    workflow_id: str
    is_counted: bool = True
    """It had failed when the recovery began."""


class RecoveryPlan(Message):
    runs: tuple[RecoveryCandidate, ...]
    end: RunPosition | None
    """The position to continue after; None: there are no more."""


class RedeliveryBatch(Message):
    """Candidates to redeliver, in order."""

    scope: RecoveryScope
    runs: tuple[RecoveryCandidate, ...]
    rate: float
    """Events a second."""


class RedeliverySummary(Message):
    """The result of a batch."""

    redelivered: int = 0
    skipped: int = 0
    failed: int = 0
    discovered: int = 0
    """Events that were not counted before."""
    seconds: float = 0.0
    """Duration of the batch."""
    off: bool = False
    """The webhook is paused or disabled: nothing was done."""
