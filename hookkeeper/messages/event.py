"""The messages of an event's run: its input, its deliveries, its public state. Words as in docs/architecture.md."""

from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeVar

from hookkeeper.messages.alert import Alert
from hookkeeper.outcomes import Message, Slot
from hookkeeper.policy import OrderPolicy

Channel = Literal["webhook", "email", "notification"]
Trigger = Literal["scheduled", "manual"]
DeliveryStatus = Literal["pending", "retrying", "held", "sent", "succeeded", "failed", "cancelled"]
EventStatus = Literal["scheduled", "delivering", "succeeded", "failed", "cancelled"]
ReceiptKind = Literal["delivered", "deferred", "bounced", "dropped", "spam_report"]
Reason = Literal[
    "exhausted",
    "gone",
    "rejected",
    "bad_template",
    "bounced",
    "forbidden_address",
    "webhook_deleted",
    "webhook_disabled",
    "webhook_paused",
    "queued",
    "held_too_long",
]
Command = Literal["cancel", "retry", "hold", "release", "redeliver"]

Item = TypeVar("Item")

FINAL: frozenset[DeliveryStatus] = frozenset({"succeeded", "failed", "cancelled"})


class Attempt(Message):
    """One request, sent or tried."""

    number: int
    trigger: Trigger = "scheduled"
    started_at: datetime
    duration_ms: float
    status_code: int | None = None
    error: str | None = None
    response_excerpt: str = ""


class Receipt(Message):
    """A mail provider's report on an email to one address."""

    id: str
    """The provider's own id: a report can come twice."""
    attempt: int
    address: str
    kind: ReceiptKind
    at: datetime
    detail: str = ""


class Heard(Message):
    """A receipt, and its delivery."""

    delivery: str
    receipt: Receipt


class Delivery(Message):
    """The state of one delivery: one event to one target of one webhook."""

    id: str
    webhook_id: str
    channel: Channel = "webhook"
    target: str = ""
    status: DeliveryStatus = "pending"
    reason: Reason | None = None
    next_attempt_at: datetime | None = None
    """Time of the next scheduled attempt; for a held delivery, the time at which it would have been."""
    attempts: tuple[Attempt, ...] = ()
    attempts_omitted: int = 0
    """Older attempts that are left out here; history has them."""
    steps_taken: int = 0
    """Attempts of the retry schedule that are used; a manual retry uses none."""
    forced: bool = False
    """A manual attempt was requested, and has not begun."""
    by_hand: bool = False
    """The first attempt of this run was requested: a redelivery or a test."""
    receipts: tuple[Receipt, ...] = ()
    awaiting: tuple[str, ...] = ()
    """Addresses for which the provider has not reported yet whether the email arrived."""
    awaiting_attempt: int = 0
    """The attempt that sent it."""
    awaiting_until: datetime | None = None
    """Without a report until then, the email counts as delivered."""
    reached: tuple[str, ...] = ()
    """Digests of the addresses to which the email was sent, if others failed."""
    redelivered_from: int = 0
    """The first attempt of the latest redelivery."""
    rate: float | None = None
    """Requests a second to its webhook; None: no limit."""
    slot: Slot | None = None
    """The time reserved for its next attempt, if timers keep its webhook's rate."""
    look_again_at: datetime | None = None
    """If held because of its webhook: time of the next check of the webhook."""
    held_until: datetime | None = None
    """While held: time at which the delivery fails."""
    looks: int = 0
    """Checks of the webhook so far that changed nothing."""
    alerts: bool = False
    """The webhook has alerts for its failure."""
    ordered: OrderPolicy | None = None
    """The policy of its ordered webhook, until the run has signalled `done` to the queue."""
    has_place: bool = False
    """If ordered: it is enqueued."""
    has_turn: bool = False
    """If ordered: the run has received the grant."""

    @property
    def attempts_made(self) -> int:
        """All attempts so far, with those left out."""
        return self.attempts_omitted + len(self.attempts)

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


class CancelledRun(Message):
    """The final state of a cancelled run, which the input of its last activity keeps in history."""

    state: dict[str, Any]
    request_cancel: bool
    """The cancellation was requested by our own signal or update, and not in Temporal yet."""


class PartRestart(Message):
    """A part of a large event that is to be started again, with the state of its latest run."""

    part: int
    number: int
    """Of its latest run under this parent; 0 if there was none."""
    deliveries: tuple[Delivery, ...]


class EventInput(Message):
    """The input of an event's run. `deliveries` includes the attempts of earlier runs of the event."""

    id: str
    type: str
    tenant: str
    timestamp: datetime
    data: Any = None
    accepted_at: datetime
    deliver_at: datetime | None = None
    deliveries: tuple[Delivery, ...] = ()
    max_hold: float | None = None
    """Seconds after which a held delivery fails; None: no limit."""
    untold: tuple[Alert, ...] = ()
    """Alerts that were pending when the run continued as a new one."""


class EventState(Message):
    """The public state of an event's run, without the event's data, which is in the input."""

    id: str
    type: str
    tenant: str
    timestamp: datetime
    status: EventStatus
    accepted_at: datetime
    deliver_at: datetime | None = None
    finished_at: datetime | None = None
    deliveries: tuple[Delivery, ...] = ()


def event_status(deliveries: tuple[Delivery, ...], scheduled: bool = False) -> EventStatus:
    """Return the status of an event with these deliveries."""
    if not all(delivery.is_final for delivery in deliveries):
        return "scheduled" if scheduled else "delivering"
    statuses = {delivery.status for delivery in deliveries}
    if "failed" in statuses:
        return "failed"
    return "cancelled" if "cancelled" in statuses else "succeeded"


EXCERPTS_BUDGET = 45 * 1024
"""Bytes of all excerpts together; quotes and the like take two bytes each as JSON."""
ATTEMPTS_BUDGET = 500
AWAITING_BUDGET = 64 * 1024
"""Bytes of all awaited addresses together."""
RECEIPTS_BUDGET = 100
"""Receipts, of at most 0.7 KB each."""
TARGETS_BUDGET = 72 * 1024
"""Bytes of all targets together: a URL can be long."""


def fit(deliveries: tuple[Delivery, ...]) -> tuple[Delivery, ...]:
    """Shorten excerpts and targets and leave out older attempts, so that a state stays under 512 KiB.

    A result or failure over 2 MB would block the run. History still has what is left out here.
    """
    count = max(1, len(deliveries))
    shown = ATTEMPTS_BUDGET // count
    kept = sum(min(shown, len(delivery.attempts)) for delivery in deliveries)
    budget = _Budget(shown, RECEIPTS_BUDGET // count, EXCERPTS_BUDGET // max(1, kept), TARGETS_BUDGET // count)
    return tuple(_truncate_one(delivery, budget) for delivery in deliveries)


class _Budget(NamedTuple):
    """Maximum sizes in each delivery."""

    attempts: int
    receipts: int
    excerpt: int
    target: int


def _truncate_one(delivery: Delivery, budget: _Budget) -> Delivery:
    attempts = _latest(delivery.attempts, budget.attempts)
    dropped = len(delivery.attempts) - len(attempts)
    changes: dict[str, Any] = {
        "target": delivery.target[: budget.target],
        "attempts": tuple(_cut(attempt, budget.excerpt) for attempt in attempts),
        "attempts_omitted": delivery.attempts_omitted + dropped,
        "receipts": _latest(delivery.receipts, budget.receipts),
    }
    return delivery.model_copy(update=changes)


def _latest(items: tuple[Item, ...], count: int) -> tuple[Item, ...]:
    return items[max(0, len(items) - count) :]


def _cut(attempt: Attempt, size: int) -> Attempt:
    if len(attempt.response_excerpt.encode()) <= size:
        return attempt
    excerpt = attempt.response_excerpt.encode()[:size].decode(errors="ignore")
    return attempt.model_copy(update={"response_excerpt": excerpt})
