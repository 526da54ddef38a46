"""The messages of releases and recoveries (`workflows.release`, `workflows.recovery`), which process runs in order."""

from datetime import datetime
from typing import Any, Literal, NamedTuple

from hookkeeper.messages import Message
from hookkeeper.messages.event import Acknowledgement


class RunPosition(NamedTuple):
    """Releases and recoveries continue after it."""

    accepted_at: datetime
    event_id: str
    part: int
    """The number of the run among its siblings."""


# Releases

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
    """Runs that have reacted to it."""
    off: bool = False


# Recoveries

BulkAction = Literal["retry", "cancel", "redeliver", "acknowledge"]
ERASE: Literal["erase"] = "erase"
"""The action of a tenant's deletion."""
RecoverableStatus = Literal["failed", "cancelled", "retrying"]
RedeliveryResult = Literal["redelivered", "skipped", "failed"]
"""`skipped`: there is nothing to redeliver any more."""
RecoveryStatus = Literal["running", "paused", "finished", "cancelled", "unknown"]
"""`unknown`: its run does not answer. No run has this status itself."""
RecoveryCommand = Literal["pause", "resume", "cancel"]


class RecoveryScope(Message):
    """The deliveries that a recovery is about. Those of a bulk action are what a search of events finds."""

    tenant: str
    action: BulkAction | Literal["erase"] | None = None
    """None: a recovery, which makes deliveries of the status again, or now, oldest first."""
    search: dict[str, Any] | None = None
    """What a bulk action searches: a `Search` (`registry.events.search`) as JSON. It replaces the fields from
    `webhook_id` to `since`.
    """
    acknowledged: Acknowledgement | None = None
    webhook_id: str | None = None
    """None: all webhooks of the tenant."""
    status: RecoverableStatus = "failed"
    retrying: bool = False
    """Also those that wait for their next attempt."""
    types: tuple[str, ...] = ()
    """Event types; empty means all."""
    since: datetime | None
    """None for a bulk action, and for what waits."""
    until: datetime
    began: datetime
    """Start of the recovery: deliveries that were redelivered since are skipped."""
    in_portal: bool = False
    """A session of the customers' portal began it."""


class RecoveryState(Message):
    """The state of a recovery; also its input, and what it continues with as a new run."""

    id: str
    scope: RecoveryScope
    rate: float
    """Events a second."""
    status: RecoveryStatus = "running"
    found: int | None = None
    """Events; None until they are counted."""
    done: int = 0
    skipped: int = 0
    failed: int = 0
    after: RunPosition | str | None = None
    """The latest run that is processed. A text: the cursor of a list of events."""
    finished_at: datetime | None = None


class RecoverySearch(Message):
    """A request for the oldest candidates after a position."""

    scope: RecoveryScope
    after: RunPosition | str | None = None


class RecoveryCandidate(Message):
    """A run with a delivery that may have to be redelivered."""

    workflow_id: str
    is_counted: bool = True
    """It had failed when the recovery began."""


class RecoveryPlan(Message):
    runs: tuple[RecoveryCandidate, ...]
    end: RunPosition | str | None
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
