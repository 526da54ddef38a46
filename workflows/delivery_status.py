"""Rules that follow from the record of a delivery: its status, the times that it waits for, and its receipts. Pure."""

from datetime import datetime, timedelta
from typing import Any

from hookkeeper.messages.event import Delivery, Reason, Receipt, ReceiptKind
from hookkeeper.messages.outcomes import Outcome, Verdict
from hookkeeper.statuses import DeliveryStatus

FINAL_REASONS: dict[Verdict, Reason] = {
    "gone": "gone",
    "forbidden_address": "forbidden_address",
    "rejected": "rejected",
    "bad_template": "bad_template",
}
"""Verdicts that no later attempt can change."""


def open_status(delivery: Delivery, held: bool) -> DeliveryStatus:
    if held:
        return "held"
    if delivery.awaiting:
        return "sent"
    return "retrying" if delivery.steps_taken else "pending"


def open_reason(delivery: Delivery, held: bool) -> Reason | None:
    is_waiting = delivery.is_queued and delivery.enqueued and not held
    return "queued" if is_waiting else delivery.reason


def is_exhausted(delivery: Delivery) -> bool:
    """The schedule has no further attempt."""
    return delivery.steps_taken > 0 and delivery.next_attempt_at is None and not delivery.awaiting


def is_started(delivery: Delivery) -> bool:
    """The schedule of its attempts has begun."""
    return bool(delivery.steps_taken or delivery.next_attempt_at or delivery.awaiting)


def due_times(delivery: Delivery, held: bool) -> dict[str, datetime]:
    """Return the times at which something is due unless something happens before, by the names of their fields."""
    if held:
        names = ["recheck_at", "held_until"]
    elif delivery.is_queued:
        names = []
    else:
        names = ["awaiting_until" if delivery.awaiting else "next_attempt_at"]
    times = {name: getattr(delivery, name) for name in names}
    return {name: time for name, time in times.items() if time is not None}


# Receipts: a mail provider has accepted an email, and reports later whether it arrived

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
