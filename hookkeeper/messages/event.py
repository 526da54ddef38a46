"""The messages of a run: what starts it, what it keeps, what it shows. Words as in docs/glossary.md."""

from collections.abc import Set
from datetime import datetime
from typing import Any, Literal, Self, get_args

from pydantic import Field

from hookkeeper import ids
from hookkeeper.messages import Message
from hookkeeper.messages.outcomes import ReservedTime
from hookkeeper.policy import OrderPolicy
from hookkeeper.statuses import DeliveryStatus, EventStatus, FinalStatus

Trigger = Literal["scheduled", "manual"]
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
FINAL: frozenset[DeliveryStatus] = frozenset(get_args(FinalStatus))
LOST: dict[ReceiptKind, Reason] = {"bounced": "bounced", "dropped": "rejected"}
"""Reports after which an email will not arrive."""
NEED_ATTENTION: frozenset[DeliveryStatus] = frozenset({"retrying", "held", "failed"})
"""Statuses that a person looks for."""
OPEN: tuple[EventStatus, ...] = ("scheduled", "delivering")


class Attempt(Message):
    """One request that was made, or tried to be made."""

    number: int
    trigger: Trigger = "scheduled"
    started_at: datetime
    duration_ms: float
    queue_ms: float | None = None
    """From the time at which it was due to its start; None if the run cannot tell."""
    connect_ms: float | None = None
    """As in `Outcome`; so are the others."""
    first_byte_ms: float | None = None
    status_code: int | None = None
    error: str | None = None
    request_digest: str | None = None
    response_headers: dict[str, str] = Field(default_factory=dict)
    response_excerpt: str = ""


class Receipt(Message):
    """A mail provider's report about an email to one address."""

    id: str
    """The provider's own id: it may report the same twice."""
    attempt: int
    address: str
    kind: ReceiptKind
    at: datetime
    detail: str = ""


class DeliveryReceipt(Message):
    delivery: str
    receipt: Receipt


class Delivery(Message):
    """One event to one target of one webhook."""

    id: str
    webhook_id: str
    channel: str = "webhook"
    target: str = ""
    status: DeliveryStatus = "pending"
    reason: Reason | None = None
    next_attempt_at: datetime | None = None
    """The time of the next scheduled attempt; of a held delivery, the time that it had."""
    attempts: tuple[Attempt, ...] = ()
    attempts_omitted: int = 0
    """Number of older attempts that are left out here; history has them."""
    steps_taken: int = 0
    """Steps of the present retry schedule that are used; a requested attempt uses none."""
    forced: bool = False
    """An attempt was requested and has not begun."""
    requested: bool = False
    """The first attempt of this run was requested: a redelivery or a test."""
    receipts: tuple[Receipt, ...] = ()
    awaiting: tuple[str, ...] = ()
    """Addresses for which a receipt is still missing."""
    awaiting_attempt: int = 0
    """The attempt that they belong to."""
    awaiting_until: datetime | None = None
    """After this time the email counts as delivered."""
    reached: tuple[str, ...] = ()
    """Digests of the addresses that have received the email while others have not."""
    redelivered_from: int = 0
    """Number of the attempt with which the latest redelivery began; 0 if there was none."""
    rate: float | None = None
    """Requests a second that its webhook accepted when the delivery was made; None: any number."""
    degraded: bool = False
    """Its webhook let the latest requests run into their timeouts."""
    slot: ReservedTime | None = None
    """The time reserved for its next attempt, if its webhook did not accept it at once."""
    recheck_at: datetime | None = None
    """If held by its webhook: when the webhook is rechecked."""
    held_until: datetime | None = None
    """While held: when the delivery fails."""
    rechecks: int = 0
    """Rechecks of the webhook since the delivery was held."""
    alerts: bool = False
    """Its webhook, or the operator, wants alerts."""
    ordered: OrderPolicy | None = None
    """The policy of its ordered webhook, until later deliveries need not wait for this one."""
    line: str = ""
    """If ordered: the line that it waits in, a digest of its webhook and key, until a record says that it has left."""
    enqueued: bool = False
    """If ordered: it takes a place in its line, since its event is due."""
    granted: bool = False
    """If ordered: its turn has come."""

    @property
    def attempts_made(self) -> int:
        """All attempts so far, shown or not."""
        return self.attempts_omitted + len(self.attempts)

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def is_queued(self) -> bool:
        """Its turn has not come yet. Only a requested attempt may be made before that."""
        return self.ordered is not None and not self.granted and not self.is_final

    @property
    def blocks_line(self) -> bool:
        """Later deliveries in its line have to wait for this one."""
        if self.is_final or self.ordered is None:
            return False
        return self.ordered == "block" or not self.steps_taken


class Acknowledgement(Message):
    """Who has acknowledged an event, and when: it needs no attention until a delivery fails again."""

    at: datetime
    by: str
    """The name of the key, or of the session."""
    note: str = ""

    @classmethod
    def of(cls, text: str | None) -> Self | None:
        """Read the column of an event's row."""
        return cls.model_validate_json(text) if text else None


class CancelledRun(Message):
    """The final state of a cancelled run, which the input of its last activity keeps in history."""

    state: dict[str, Any]
    request_cancel: bool
    """The cancellation was requested by our own signal or update, and not in Temporal yet."""


class NewSiblings(Message):
    """Starts the siblings of a run, from the run's own input."""

    tenant: str


class LeftOut(Message):
    """A webhook that listens to an event and did not get it, because its filter failed."""

    webhook_id: str
    error: str = "bad_filter"
    text: str = ""
    """What the filter lacks."""


class EventInput(Message):
    """What starts a run. `deliveries` also carries what earlier runs of the same event have done."""

    id: str
    type: str
    tenant: str
    timestamp: datetime
    channels: tuple[str, ...] = ()
    data: Any = None
    digest: str = ""
    """Digest of what was accepted; empty if the run was started with Temporal's own tools."""
    accepted_at: datetime
    deliver_at: datetime | None = None
    deliveries: tuple[Delivery, ...] = ()
    max_hold: float | None = None
    """Seconds after which a held delivery fails; None: never."""
    quick: bool = False
    """Its webhooks have recently answered within a second: the first attempts are made within the workflow task."""
    traceparent: str | None = None
    """The context in which its run and its attempts are traced (`hookkeeper.tracing`)."""
    is_test: bool = False
    """Sent to one webhook to try it: its attempts change no health, and no alert tells of them."""
    left_out: tuple[LeftOut, ...] = ()
    """Webhooks that should have had it, at most a hundred."""
    parts: int = 1
    """Number of runs that the event's deliveries are divided among; `deliveries` are those of one of them
    (`hookkeeper.messages.partition`)."""

    @property
    def workflow_id(self) -> str:
        """The id that its own run has, or would have: in a shared run, the key of the event."""
        return ids.workflow_id(self.tenant, self.id)


class EventState(Message):
    """The public state of a run. The event's data is in the run's input."""

    id: str
    type: str
    tenant: str
    timestamp: datetime
    status: EventStatus
    accepted_at: datetime
    deliver_at: datetime | None = None
    finished_at: datetime | None = None
    deliveries: tuple[Delivery, ...] = ()

    @property
    def needs_attention(self) -> bool:
        """A delivery is retrying, held or failed."""
        return any(delivery.status in NEED_ATTENTION for delivery in self.deliveries)


def event_state(
    event: EventInput,
    deliveries: tuple[Delivery, ...],
    *,
    deliver_at: datetime | None,
    scheduled: bool = False,
    finished_at: datetime | None = None,
) -> EventState:
    """Return the state of an event with these deliveries."""
    return EventState(
        id=event.id,
        type=event.type,
        tenant=event.tenant,
        timestamp=event.timestamp,
        status=event_status(deliveries, scheduled),
        accepted_at=event.accepted_at,
        deliver_at=deliver_at,
        finished_at=finished_at,
        deliveries=deliveries,
    )


def next_attempt_at(
    status: DeliveryStatus, at: datetime | None, event: EventStatus, deliver_at: datetime | None
) -> datetime | None:
    """Return when a delivery is attempted next, if it waits for a time; `at` is the time of its retry."""
    if status not in ("pending", "retrying"):
        return None
    return at or (deliver_at if event == "scheduled" else None)


def event_status(deliveries: tuple[Delivery, ...], scheduled: bool = False) -> EventStatus:
    """Return the status of an event with these deliveries."""
    return status_of({delivery.status for delivery in deliveries}, scheduled)


def status_of(statuses: Set[DeliveryStatus], scheduled: bool = False) -> EventStatus:
    """Return the status of an event whose deliveries have these statuses."""
    if not statuses:
        return "no_webhook"
    if not statuses <= FINAL:
        return "scheduled" if scheduled else "delivering"
    if "failed" in statuses:
        return "failed"
    return "cancelled" if "cancelled" in statuses else "succeeded"


class TurnRequest(Message):
    """The question whether it is the turn of an ordered delivery."""

    tenant: str
    event_id: str
    delivery: str
    webhook_id: str
    line: str
    has_waited: bool = False
    """It has waited for some time, so what is in the way is checked."""


class Turn(Message):
    has_come: bool
    has_place: bool = True
    """Its row has a place in its line."""
    ahead: int = 0
    """Deliveries ahead of it, as far as they are counted."""
