"""How a delivery stands: what has happened, what a person asked for, when something is due. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from elements.context import AlertKind
from workflows.models import Delivery, DeliveryStatus, Reason, Trigger
from workflows.ordering import Ordering
from workflows.tracking import Tracking

A_MOMENT = 0.001
"""Seconds: the shortest timer."""


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
    due: bool = False
    """The timer for what comes next has fired."""
    released: bool = False
    """It was held: whether it is due by now is for a timer to say, not for the clock (docs/temporal.md)."""
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
    def is_troubled(self) -> bool:
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
        return "waits_for_turn" if stands_in_lane else self.delivery.reason

    @property
    def goes_with_others(self) -> bool:
        """Its first attempt is made in one round with those of other webhooks."""
        delivery = self.delivery
        return delivery.channel == "webhook" and delivery.rate is None and delivery.ordered is None

    # What comes next

    def seconds_until_due(self, now: datetime) -> float | None:
        """Give the seconds until an attempt is due (0: now), or None when none is until somebody acts."""
        if self.is_final or self.in_flight:
            return None
        if self.forced:
            return 0.0
        if self.held:
            again = _seconds_until(self.delivery.look_again_at, now)
            return 0.0 if self.due and again is not None else again
        if self.waits_for_turn:
            return None
        due = self.delivery.awaiting_until if self.is_sent else self.delivery.next_attempt_at
        if due is None or self.due:
            return 0.0
        return max(A_MOMENT if self.released else 0.0, (due - now).total_seconds())

    @property
    def next_number(self) -> int:
        return self.delivery.attempts_made + 1

    @property
    def pace(self) -> float | None:
        """Requests a second within which the attempt under way is made; None: at once, as what a person asked for."""
        return None if self.extra else self.delivery.rate


def _seconds_until(due: datetime | None, now: datetime) -> float | None:
    return None if due is None else max(0.0, (due - now).total_seconds())
