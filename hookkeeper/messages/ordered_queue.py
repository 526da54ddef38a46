"""The messages of ordered queues (`workflows.ordered_queue`)."""

from datetime import datetime, timedelta
from typing import Literal

from hookkeeper.messages import Message
from hookkeeper.policy import OrderPolicy

QUEUE_LIMIT = 10_000
"""Events in a queue from which on no event of its webhook is accepted."""

QueuedRunStatus = Literal["not_found", "not_started", "open", "no_answer", "failing", "closed"]
"""`not_started`: a sibling that the first run will start. `no_answer`: it is open, and no worker has answered
in time. `failing`: it is open, and cannot answer because its code fails. `closed`: it is closed, has no open delivery
to this webhook, or was deleted after its grant."""


class KnownHead(Message):
    """What a queue knows of the run at its head when it continues as a new run."""

    position: str
    missing: timedelta = timedelta()
    """As in `workflows.queue_head.Head`; so are the next two."""
    silent: timedelta | None = None
    failing: timedelta | None = None
    stuck_since: datetime | None = None
    """As in `OrderedQueueState`."""


class QueueInput(Message):
    """What starts a queue."""

    webhook_id: str
    tenant: str
    positions: tuple[str, ...] = ()
    """The positions in the queue, where it continues as a new run."""
    head: KnownHead | None = None
    """What is known of the run at the head, where it continues as a new run."""
    rebuild: bool = False
    """The queue before this one did not complete: find the events that wait."""


class QueuePosition(Message):
    """The position of a run in the queue of a webhook."""

    webhook_id: str
    tenant: str
    position: str
    """As `hookkeeper.ids.position_of` spells it."""
    granted: bool = False
    """Its run has received the grant: if there is none, it was deleted."""


class QueuedRun(Message):
    """The state of a run that has a position."""

    status: QueuedRunStatus
    queued: bool = False
    """It has not received its grant."""
    failed: bool = False
    """An attempt has failed."""
    ordered: OrderPolicy | None = None
    """The webhook's present policy; None where it is not ordered any more, or deleted."""


class WaitingEventsQuery(Message):
    """A queue that was started after one that was terminated or deleted."""

    webhook_id: str
    tenant: str
    started_at: datetime


class WaitingEvents(Message):
    """Positions of a webhook's open events, each in the order in which their runs were started."""

    before: tuple[str, ...] = ()
    """Started before the queue."""
    after: tuple[str, ...] = ()
    """Started since."""


class OrderedQueueState(Message):
    """The public state of a queue."""

    waiting: int = 0
    """Events in the queue, including the one at its head."""
    head: str | None = None
    """The event at the head; `<event id>.<n>` for a sibling."""
    stuck_since: datetime | None = None
    """Since then the run at the head has not answered, and the others wait for it."""
