"""How a delivery stands: what has happened, what a person asked for, when something is due. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from hookkeeper.content.context import AlertKind
from hookkeeper.messages.event import Delivery, DeliveryStatus, Reason, Trigger
from workflows.ordering import Ordering
from workflows.tracking import Tracking


@dataclass(eq=False)
class Standing(Tracking, Ordering):
    """The facts of a delivery that is on its way; `record` gives them as a message."""

    delivery: Delivery
    held: bool = False
    forced: bool = False
    """A person asked for an attempt now."""
    cancelling: bool = False
    """Cancelled while an attempt was under way: what that attempt comes to still counts."""
    trigger: Trigger | None = None
    """Of the attempt under way, if there is one."""
    passed: set[str] = field(default_factory=set)
    extra: bool = False
    """The attempt under way is a forced retry: it uses no step of the schedule."""
    touched: int = 0
    """Counts what comes from outside, so that a waiting run can see that something changed."""
    room: int = 500
    """Bytes of addresses that word can be awaited of; of more, none is."""
    recovered: bool = False
    """That the attempt under way, or the email under way, succeeds would be news."""
    news: AlertKind | None = None
    """What somebody wants to be told of and has not been."""

    @classmethod
    def of(cls, delivery: Delivery, room: int = 500) -> Self:
        return cls(delivery, held=delivery.status == "held", forced=delivery.forced, room=room)

    @property
    def id(self) -> str:
        return self.delivery.id

    @property
    def in_flight(self) -> bool:
        return self.trigger is not None

    @property
    def is_final(self) -> bool:
        return self.delivery.is_final

    @property
    def is_fresh(self) -> bool:
        """Nothing of the schedule has been used yet, and nothing stands in the way."""
        begun = self.delivery.steps_taken or self.delivery.next_attempt_at
        return not (self.is_final or self.held or self.forced or self.is_sent or begun or self.waits_for_turn)

    @property
    def is_exhausted(self) -> bool:
        """The schedule has no further attempt."""
        return self.delivery.steps_taken > 0 and self.delivery.next_attempt_at is None and not self.is_sent

    @property
    def is_held_by_webhook(self) -> bool:
        """It waits for its webhook to be resumed or enabled."""
        return self.held and self.delivery.reason in ("webhook_disabled", "webhook_paused")

    @property
    def needs_attention(self) -> bool:
        """A person may want to look: retrying, held or failed."""
        status = self.delivery.status if self.is_final else self._open_status()
        return status in ("retrying", "held", "failed")  # no copy of the delivery: asked for all, after each outcome

    @property
    def record(self) -> Delivery:
        """The delivery as it stands."""
        if self.is_final:
            return self.delivery
        open_ = {"status": self._open_status(), "reason": self._open_reason(), "forced": self.forced}
        return self.delivery.model_copy(update=open_)

    def _open_status(self) -> DeliveryStatus:
        if self.held:
            return "held"
        if self.is_sent:
            return "sent"
        return "retrying" if self.delivery.steps_taken else "pending"

    def _open_reason(self) -> Reason | None:
        stands_in_lane = self.waits_for_turn and self.delivery.has_place and not self.held
        return "queued" if stands_in_lane else self.delivery.reason

    @property
    def goes_with_others(self) -> bool:
        """Its first attempt is made in one round with those of other webhooks."""
        delivery = self.delivery
        return delivery.channel == "webhook" and delivery.rate is None and delivery.ordered is None

    # What comes next

    @property
    def times(self) -> dict[str, datetime]:
        """The times at which something is to be done if nothing happens before, by the names of their fields."""
        if self.is_final or self.in_flight or self.forced:
            return {}
        if self.held:
            names = ["look_again_at", "held_until"]
        elif self.waits_for_turn:
            names = []
        else:
            names = ["awaiting_until" if self.is_sent else "next_attempt_at"]
        times = {name: getattr(self.delivery, name) for name in names}
        return {name: time for name, time in times.items() if time is not None}

    @property
    def is_due(self) -> bool:
        """Something is to be done now. No clock says so: what has a time is due when the timer for it has fired."""
        if self.is_final or self.in_flight:
            return False
        if self.forced:
            return True
        if not self.times:
            return not (self.held or self.waits_for_turn)
        return not self.passed.isdisjoint(self.times)

    @property
    def next_number(self) -> int:
        return self.delivery.attempts_made + 1

    @property
    def pace(self) -> float | None:
        """Requests a second within which the attempt under way is made; None: at once, as what a person asked for."""
        return None if self.extra else self.delivery.rate
