"""What Temporal lists of a run of events: its first search attributes, its memo, and its summary."""

from collections.abc import Iterable, Sequence
from typing import Any

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from hookkeeper import temporal_names
from hookkeeper.messages.event import NEED_ATTENTION, EventInput
from hookkeeper.messages.partition import parts_of

TENANT_KEY = SearchAttributeKey.for_keyword(temporal_names.TENANT)
EVENT_TYPE_KEY = SearchAttributeKey.for_keyword(temporal_names.EVENT_TYPE)
NEEDS_ATTENTION_KEY = SearchAttributeKey.for_keyword_list(temporal_names.NEEDS_ATTENTION)
DELIVER_AT_KEY = SearchAttributeKey.for_datetime(temporal_names.DELIVER_AT)
EVENTS_KEY = SearchAttributeKey.for_keyword_list(temporal_names.EVENTS)
FIRED_FOR_KEY = SearchAttributeKey.for_datetime(temporal_names.FIRED_FOR)

LISTED_BYTES = 1900
"""Bytes of ids in one search attribute. The server rejects a value over 2,048 bytes, which would block the run."""
LIST_FRAME_BYTES, ID_FRAME_BYTES = 2, 3
"""Bytes around all ids of a search attribute, and around each of them."""
SUMMARY_BYTES = 200
"""Bytes of the summary of a shared run."""


def search_attributes(event: EventInput, run_number: int) -> TypedSearchAttributes:
    """Return the search attributes with which a run is started, by the API or by a shared run."""
    deliveries = parts_of(event)[0].deliveries
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(TENANT_KEY, event.tenant),
        SearchAttributePair(EVENT_TYPE_KEY, event.type),
    ]
    attention = (delivery for delivery in deliveries if delivery.status in NEED_ATTENTION)
    if needs_attention := fitting_ids(delivery.webhook_id for delivery in attention):
        pairs.append(SearchAttributePair(NEEDS_ATTENTION_KEY, needs_attention))
    if event.deliver_at and run_number == 1:
        pairs.append(SearchAttributePair(DELIVER_AT_KEY, event.deliver_at))
    return TypedSearchAttributes(pairs)


def tenant_attributes(tenant: str) -> TypedSearchAttributes:
    """Return the search attributes of a run that is about no event: a release, a recovery, an incident."""
    return TypedSearchAttributes([SearchAttributePair(TENANT_KEY, tenant)])


def memo(event: EventInput, run_number: int) -> dict[str, Any]:
    """Return the memo with which a run is started, by the API or by a shared run."""
    number = {temporal_names.RUN_NUMBER: run_number} if run_number > 1 else {}
    return {temporal_names.DIGEST: event.digest, temporal_names.ACCEPTED_AT: event.accepted_at, **number}


def run_summary(event: EventInput, part: int = 1) -> str:
    """`order.paid · acme · part 2 of 3`: the type and the tenant of an event, and which of its runs this is."""
    parts = parts_of(event)[0].parts
    return f"{event.type} · {event.tenant}" + (f" · part {part} of {parts}" if parts > 1 else "")


def shared_search_attributes(events: Sequence[EventInput]) -> TypedSearchAttributes:
    """Return the search attributes of a shared run: the ids of its events, and the tenant and the type of all."""
    pairs: list[SearchAttributePair[Any]] = []
    if listed := fitting_ids(event.id for event in events):
        pairs.append(SearchAttributePair(EVENTS_KEY, listed))
    if len(tenants := {event.tenant for event in events}) == 1:
        pairs.append(SearchAttributePair(TENANT_KEY, *tenants))
    if len(types := {event.type for event in events}) == 1:
        pairs.append(SearchAttributePair(EVENT_TYPE_KEY, *types))
    return TypedSearchAttributes(pairs)


def shared_summary(events: Sequence[EventInput]) -> str:
    """`37 events: evt_1, evt_2, …`: their number, and the first of their ids."""
    if not events:
        return "no events: other runs have those that were to start it"
    summary = f"{len(events)} events: {events[0].id}"
    for event in events[1:]:
        longer = f"{summary}, {event.id}"
        if len(longer.encode()) > SUMMARY_BYTES - 5:
            return f"{summary}, …"
        summary = longer
    return summary


def fitting_ids(all_ids: Iterable[str]) -> list[str]:
    """Return the ids for a search attribute: without duplicates, sorted, and as many as fit (about 100)."""
    ids_: list[str] = []
    size = LIST_FRAME_BYTES
    for id_ in sorted(set(all_ids)):
        size += len(id_.encode()) + ID_FRAME_BYTES
        if size > LISTED_BYTES:
            break
        ids_.append(id_)
    return ids_
