"""What a run is found by when it starts. Pure: whoever starts a run writes the same."""

from typing import Any

from temporalio.common import SearchAttributePair, TypedSearchAttributes

from workflows import names
from workflows.models import EventInput


def search_attributes(event: EventInput, run_number: int) -> TypedSearchAttributes:
    webhooks = names.listed(each.webhook_id for each in event.deliveries)
    trouble = names.listed(each.webhook_id for each in event.deliveries if each.status in ("held", "failed"))
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(names.TENANT, event.tenant),
        SearchAttributePair(names.EVENT_TYPE, event.type),
    ]
    if webhooks:
        pairs.append(SearchAttributePair(names.WEBHOOKS, webhooks))
    if trouble:
        pairs.append(SearchAttributePair(names.TROUBLE, trouble))
    if event.deliver_at and run_number == 1:
        pairs.append(SearchAttributePair(names.DELIVER_AT, event.deliver_at))
    if run_number > 1:
        pairs.append(SearchAttributePair(names.RUN_NUMBER, run_number))
    return TypedSearchAttributes(pairs)
