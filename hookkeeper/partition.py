"""Divides the deliveries of a large event into parts, and merges their states. Pure.

This must not change: the id of a part's run identifies its deliveries, even if they are redelivered years later.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby

from pydantic_core import to_json

from hookkeeper.messages.event import Delivery, EventInput, EventState, event_state
from hookkeeper.state_size import truncated

PART = 100
"""Maximum deliveries of one part; a run lists the webhooks of so many in a search attribute."""
MAX_DELIVERIES_BYTES = 448 * 1024
"""Bytes of deliveries that are shown whole; the whole state stays under 512 KiB."""


def partition(deliveries: Iterable[Delivery]) -> list[tuple[Delivery, ...]]:
    """Return the parts, in the order of the deliveries. Those of a webhook share a part, unless there are too many."""
    parts: list[list[Delivery]] = [[]]
    for _, group in groupby(deliveries, key=lambda delivery: delivery.webhook_id):
        of_webhook = list(group)
        if parts[-1] and len(parts[-1]) + len(of_webhook) > PART:
            parts.append([])
        for delivery in of_webhook:
            if len(parts[-1]) == PART:
                parts.append([])
            parts[-1].append(delivery)
    return [tuple(part) for part in parts]


def is_open(deliveries: Iterable[Delivery]) -> bool:
    """Return whether a delivery of a part is not final."""
    return not all(delivery.is_final for delivery in deliveries)


def part_input(event: EventInput, deliveries: tuple[Delivery, ...]) -> EventInput:
    """Return the input of a part: the event with some of its deliveries."""
    return event.model_copy(update={"deliveries": deliveries, "pending_alerts": ()})


def merged(event: EventInput, parts: Sequence[EventState], finished_at: datetime | None) -> EventState:
    """Return the event's state from those of all its parts. Each is small enough; together they may not be."""
    deliveries = tuple(delivery for part in parts for delivery in part.deliveries)
    if len(to_json(deliveries)) > MAX_DELIVERIES_BYTES:
        deliveries = truncated(deliveries)
    waiting = [part.deliver_at for part in parts if part.status == "scheduled"]
    return event_state(
        event,
        deliveries,
        deliver_at=waiting[0] if waiting else parts[0].deliver_at,
        scheduled=bool(waiting) and all(part.status != "delivering" for part in parts),
        finished_at=finished_at,
    )
