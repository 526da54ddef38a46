"""The messages of delivery batches (`activities.delivery_batch`)."""

from datetime import datetime
from typing import Any

from hookkeeper.messages import Message
from hookkeeper.messages.event import Trigger
from hookkeeper.messages.outcomes import Outcome, ReservedTime


class AttemptRequest(Message):
    """An attempt that the activity makes."""

    delivery: str
    webhook_id: str
    number: int
    trigger: Trigger = "scheduled"
    immediate: bool = False
    """Requested by a command: made at once, whatever the webhook's rate."""
    postponed: bool = False
    """It was put off before: if its webhook is paused or disabled now, it is held, also if it was requested."""
    slot: ReservedTime | None = None
    """The time that an earlier try has reserved for it."""
    reached: tuple[str, ...] = ()
    """Digests of the addresses that have received the email."""
    redelivered_from: int = 0
    """Number of the attempt with which the latest redelivery began; 0 if there was none."""


class EventAttempts(Message):
    """One event, and the attempts that one activity makes of it, through one channel."""

    id: str
    type: str
    tenant: str
    timestamp: datetime
    channels: tuple[str, ...] = ()
    data: Any = None
    data_inline: bool = True
    """False: the data is read from the first event of the run's own history."""
    attempts: tuple[AttemptRequest, ...]
    is_test: bool = False
    traceparent: str | None = None
    """The context in which the attempts are traced."""


class Ongoing(Message):
    """Attempts that last longer than a local activity may, or meet an error: a process goes on with them."""

    task_queue: str
    """The task queue of the process."""
    activity_id: str
    """The id of the local activity that has begun them."""


class DeliveryBatch(Message):
    """The attempts that one activity makes together."""

    events: tuple[EventAttempts, ...]
    """One, or those of a shared run, whose data is inline."""
    is_shared: bool = False
    """The run is shared: an event whose row names another run is left to that."""
    is_rest: bool = False
    """Other events of the run are settled already: its end is not to be delayed."""
    begun_by: str = ""
    """The local activity that has begun the attempts in this process."""
    is_repeated: bool = False
    """A worker may have made the attempts, and recorded them, in a workflow task that it could not complete."""

    @property
    def targets(self) -> int:
        return sum(len(event.attempts) for event in self.events)


class BatchResult(Message):
    """What has come of the attempts of a batch."""

    outcomes: tuple[tuple[Outcome, ...] | None, ...] = ()
    """For each event, one outcome for each attempt, in the same order. None: no attempt was made, because the tenant
    was at its limit."""
    moved: tuple[int, ...] = ()
    """The events, by their place in the batch, that another run has: no attempt was made."""
    retry_after: float | None = None
    """Seconds after which the tenants at their limits should have a free slot."""
    ongoing: Ongoing | None = None
    """There are no outcomes yet."""
