"""The search attributes with which the run of an event is started, by the API or by a parent run."""

from typing import Any

from temporalio.common import SearchAttributePair, TypedSearchAttributes

from hookkeeper import ids
from hookkeeper.messages.event import EventInput


def search_attributes(event: EventInput, run_number: int) -> TypedSearchAttributes:
    webhooks = ids.listed(each.webhook_id for each in event.deliveries)
    needs_attention = ids.listed(each.webhook_id for each in event.deliveries if each.status in ("held", "failed"))
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
