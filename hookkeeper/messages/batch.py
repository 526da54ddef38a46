"""The messages of delivery batches (`activities.delivery_batch`)."""

from datetime import datetime
from typing import Any

from hookkeeper.messages import Message
from hookkeeper.messages.event import Trigger
from hookkeeper.outcomes import Outcome, ReservedTime


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


class DeliveryBatch(Message):
    """One event, and the attempts that one activity makes of it together, through one channel."""

    id: str
    type: str
    tenant: str
    timestamp: datetime
    data: Any = None
    data_inline: bool = True
    """False: the data is read from the first event of the run's own history."""
    attempts: tuple[AttemptRequest, ...]
    traceparent: str | None = None
    """The context in which the attempts are traced."""


class BatchResult(Message):
    """One outcome for each attempt, in the same order."""

    outcomes: tuple[Outcome, ...] = ()
    moved: bool = False
    """The event's row names another run, which makes the attempts: none was made."""
