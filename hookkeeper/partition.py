"""Divides the deliveries of a large event into parts, and merges their states. Pure.

This must not change: the id of a part's run identifies its deliveries, even if they are redelivered years later.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby

from pydantic_core import to_json

from hookkeeper.messages.event import Delivery, EventInput, EventState, event_status, fit

PART = 100
"""Deliveries of one run at most; a run lists the webhooks of so many in a search attribute."""

MOST_SHOWN = 448 * 1024
"""Bytes of deliveries that are shown as they are; the whole state stays under 512 KiB."""


def partition(deliveries: Iterable[Delivery]) -> list[tuple[Delivery, ...]]:
    """Give the parts, in the order of the deliveries. A webhook's are in one, unless they are too many for any."""
    parts: list[list[Delivery]] = [[]]
    for _, of_one_webhook in groupby(deliveries, key=lambda delivery: delivery.webhook_id):
        together = list(of_one_webhook)
        if parts[-1] and len(parts[-1]) + len(together) > PART:
            parts.append([])
        for delivery in together:
            if len(parts[-1]) == PART:
                parts.append([])
            parts[-1].append(delivery)
    return [tuple(part) for part in parts]


def is_open(deliveries: Iterable[Delivery]) -> bool:
    """Something of it is still to be delivered."""
    return not all(delivery.is_final for delivery in deliveries)


def part_input(event: EventInput, deliveries: tuple[Delivery, ...]) -> EventInput:
    """Give what starts a part: the event as it is, to some of its targets."""
    return event.model_copy(update={"deliveries": deliveries, "pending_alerts": ()})


def merged(event: EventInput, parts: Sequence[EventState], finished_at: datetime | None) -> EventState:
    """Give the event's state, made of those of all its parts. Each part fits already; all together have to as well."""
    deliveries = tuple(delivery for part in parts for delivery in part.deliveries)
    if len(to_json(deliveries)) > MOST_SHOWN:
        deliveries = fit(deliveries)
    statuses = {part.status for part in parts}
    waiting = [part.deliver_at for part in parts if part.status == "scheduled"]
    return EventState(
        **event.model_dump(include={"id", "type", "tenant", "timestamp", "accepted_at"}),
        status=event_status(deliveries, scheduled=bool(waiting) and "delivering" not in statuses),
        deliver_at=waiting[0] if waiting else parts[0].deliver_at,
        finished_at=finished_at,
        deliveries=deliveries,
    )
