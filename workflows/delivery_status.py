"""Rules that follow from the record of an open delivery: its status, and the times that it waits for. Pure."""

from datetime import datetime

from hookkeeper.messages.event import Delivery, DeliveryStatus, Reason
from hookkeeper.outcomes import Verdict

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
