"""Delivery receipts: a mail provider has accepted an email, and reports later whether it arrived. Pure."""

from datetime import datetime, timedelta
from typing import Any

from hookkeeper.messages.event import Delivery, Reason, Receipt, ReceiptKind
from hookkeeper.outcomes import Outcome

LOST: dict[ReceiptKind, Reason] = {"bounced": "bounced", "dropped": "rejected"}
"""Receipts after which the email will not arrive."""
ARRIVED: frozenset[ReceiptKind] = frozenset({"delivered", "spam_report"})

RECEIPT_TIMEOUT = timedelta(hours=72)
"""Providers try to deliver an email for this long. Without a receipt by then it counts as delivered."""
MAX_RECEIPTS = 50
"""Receipts that a run keeps for one delivery."""


def can_track(outcome: Outcome, max_bytes: int) -> bool:
    return 0 < len("".join(outcome.awaiting).encode()) <= max_bytes


def track(delivery: Delivery, outcome: Outcome, now: datetime) -> dict[str, Any]:
    """Return the changes by which a delivery waits for receipts of its latest attempt."""
    return {
        "awaiting": outcome.awaiting,
        "awaiting_attempt": delivery.attempts_made,
        "awaiting_until": now + RECEIPT_TIMEOUT,
        "next_attempt_at": None,
    }


def is_known(delivery: Delivery, receipt: Receipt) -> bool:
    """Providers may report the same twice."""
    return receipt.id in {known.id for known in delivery.receipts}


def with_receipt(delivery: Delivery, receipt: Receipt) -> Delivery:
    return delivery.model_copy(update={"receipts": (*delivery.receipts, receipt)[-MAX_RECEIPTS:]})


def is_awaited(delivery: Delivery, receipt: Receipt) -> bool:
    """A receipt of another attempt, or of another address, determines nothing."""
    return receipt.attempt == delivery.awaiting_attempt and receipt.address in delivery.awaiting


def still_awaited(delivery: Delivery, receipt: Receipt) -> tuple[str, ...]:
    """Return the addresses that are awaited after this receipt."""
    return tuple(address for address in delivery.awaiting if address != receipt.address)
