"""The search attributes of an event's run: its first ones, and how webhook ids are listed."""

from collections.abc import Iterable
from typing import Any

from temporalio.common import SearchAttributePair, TypedSearchAttributes

from hookkeeper import ids
from hookkeeper.messages.event import EventInput

LISTED_BYTES = 1900
"""Bytes of ids in one search attribute. The server rejects a value over 2,048 bytes, which would block the run."""


def search_attributes(event: EventInput, run_number: int) -> TypedSearchAttributes:
    """Return the search attributes with which a run is started, by the API or by a parent run."""
    webhooks = fitting_ids(delivery.webhook_id for delivery in event.deliveries)
    attention = (delivery for delivery in event.deliveries if delivery.status in ("held", "failed"))
    needs_attention = fitting_ids(delivery.webhook_id for delivery in attention)
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(ids.TENANT, event.tenant),
        SearchAttributePair(ids.EVENT_TYPE, event.type),
    ]
    if webhooks:
        pairs.append(SearchAttributePair(ids.WEBHOOKS, webhooks))
    if needs_attention:
        pairs.append(SearchAttributePair(ids.NEEDS_ATTENTION, needs_attention))
    if event.deliver_at and run_number == 1:
        pairs.append(SearchAttributePair(ids.DELIVER_AT, event.deliver_at))
    if run_number > 1:
        pairs.append(SearchAttributePair(ids.RUN_NUMBER, run_number))
    return TypedSearchAttributes(pairs)


def fitting_ids(webhook_ids: Iterable[str]) -> list[str]:
    """Return the ids for a search attribute: without duplicates, sorted, and as many as fit (about 100)."""
    ids_: list[str] = []
    size = 2
    for webhook_id in sorted(set(webhook_ids)):
        size += len(webhook_id.encode()) + 3
        if size > LISTED_BYTES:
            break
        ids_.append(webhook_id)
    return ids_
