"""An email on its way: the provider has taken it, and says later whether it has arrived. Pure."""

from datetime import datetime, timedelta

from hookkeeper.messages.event import DeliveryStatus, Reason, Receipt, ReceiptKind, Trigger
from hookkeeper.outcomes import Outcome
from workflows.state_changes import Kept

LOST: dict[ReceiptKind, Reason] = {"bounced": "bounced", "dropped": "rejected"}
"""Words of a provider after which an email will not arrive."""
ARRIVED: frozenset[ReceiptKind] = frozenset({"delivered", "spam_report"})

PATIENCE = timedelta(hours=72)
"""A provider tries for so long to hand an email over; hearing nothing by then, we take it as delivered."""
KEPT_RECEIPTS = 50


class Tracking(Kept):
    """The part of `Progress` that waits for word of an email."""

    trigger: Trigger | None
    touched: int
    room: int
    held: bool
    forced: bool
    cancelling: bool

    @property
    def is_sent(self) -> bool:
        """The provider has it, and will say whether it arrives."""
        return bool(self.delivery.awaiting)

    def _can_await(self, outcome: Outcome) -> bool:
        size = len("".join(outcome.awaiting).encode())
        return 0 < size <= self.room and not self.cancelling

    def _await_receipts(self, outcome: Outcome, now: datetime) -> None:
        self.forced = self.held = False
        self._update(
            awaiting=outcome.awaiting,
            awaiting_attempt=self.delivery.attempts_made,
            awaiting_until=now + PATIENCE,
            next_attempt_at=None,
        )

    def hear(self, receipt: Receipt) -> None:
        """Record what the provider says; it ends the delivery when no address is left to hear of, or one is lost."""
        if receipt.id in {known.id for known in self.delivery.receipts}:
            return
        self.touched += 1
        self._update(receipts=(*self.delivery.receipts, receipt)[-KEPT_RECEIPTS:])
        if self.trigger is None:
            self._judge(receipt)

    def _judge(self, receipt: Receipt) -> None:
        if receipt.attempt != self.delivery.awaiting_attempt or receipt.address not in self.delivery.awaiting:
            return
        if receipt.kind in LOST:
            self._end("failed", LOST[receipt.kind])
        elif receipt.kind in ARRIVED:
            awaiting = tuple(address for address in self.delivery.awaiting if address != receipt.address)
            self._update(awaiting=awaiting)
            if not awaiting:
                self._end("succeeded")

    def stop_awaiting(self) -> None:
        """Take what was sent as delivered: the provider has said nothing else for three days."""
        self._end("succeeded")

    def _end(self, status: DeliveryStatus, reason: Reason | None = None) -> None:
        """End the delivery: `Progress` does."""
        raise NotImplementedError
