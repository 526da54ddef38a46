"""What Temporal lists of a run: its memo, and the search attributes by which the web UI finds open runs that need
attention. Only changes of these are written: each is an event in the run's history.

A run that is about to close writes none: it is found by its status.
"""

from collections.abc import Iterable
from datetime import datetime

from temporalio import workflow

from hookkeeper import temporal_names
from hookkeeper.search_attributes import DELIVER_AT_KEY, NEEDS_ATTENTION_KEY, fitting_ids
from workflows.delivery import DeliveryState


def digest() -> str:
    """Return the digest of the event; empty if the run was started with Temporal's own tools."""
    value: str = workflow.memo_value(temporal_names.DIGEST, default="")
    return value


def run_number() -> int:
    """Return the number of this run of the event, or of this sibling."""
    value: int = workflow.memo_value(temporal_names.RUN_NUMBER, default=1)
    return value


class SearchAttributes:
    def __init__(self, deliveries: Iterable[DeliveryState]) -> None:
        self._deliveries = list(deliveries)
        self._needs_attention = list(workflow.info().typed_search_attributes.get(NEEDS_ATTENTION_KEY, ()))

    def update(self) -> None:
        """List the webhooks whose deliveries need attention."""
        listed = fitting_ids(delivery.record.webhook_id for delivery in self._deliveries if delivery.needs_attention)
        if listed != self._needs_attention:
            self._needs_attention = listed
            key = NEEDS_ATTENTION_KEY
            workflow.upsert_search_attributes([key.value_set(listed) if listed else key.value_unset()])

    def move_deliver_at(self, time: datetime) -> None:
        workflow.upsert_search_attributes([DELIVER_AT_KEY.value_set(time)])

    def unset_deliver_at(self) -> None:
        """Remove a time that has not come: the event is delivered now."""
        workflow.upsert_search_attributes([DELIVER_AT_KEY.value_unset()])
