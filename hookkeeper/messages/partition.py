"""Divides the deliveries of an event with more than a hundred among its runs, which are siblings. Pure.

This must not change: the id of a run identifies its deliveries, even if they are redelivered years later.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

from hookkeeper.messages.event import Delivery, EventInput

PART = 100
"""Maximum deliveries of one run, which lists their webhooks in a search attribute."""


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


def parts_of(event: EventInput) -> Sequence[EventInput]:
    """Return the inputs of an event's runs. The first run starts with all deliveries; its own part comes first."""
    if len(event.deliveries) <= PART:
        return [event]
    parts = partition(event.deliveries)
    return [event.model_copy(update={"deliveries": part, "parts": len(parts)}) for part in parts]
