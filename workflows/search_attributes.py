"""The search attributes by which lists and the Temporal web UI find runs. Only changes are written: each is an event in
the run's history.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

from hookkeeper import ids
from hookkeeper.search_attributes import fitting_ids
from workflows.delivery import DeliveryState


class SearchAttributes:
    """The search attributes of a run."""

    def __init__(self, deliveries: Iterable[DeliveryState]) -> None:
        present = workflow.info().typed_search_attributes
        self._deliveries = list(deliveries)
        self.needs_attention = list(present.get(ids.NEEDS_ATTENTION, ()))
        self._held = list(present.get(ids.HELD, ()))
        self._on_update: Callable[[datetime | None], None] = lambda moved_to: None

    def on_update(self, callback: Callable[[datetime | None], None]) -> None:
        """Call it after each update, with the time to which the event was moved, or None."""
        self._on_update = callback

    def update(self) -> None:
        """List the webhooks whose deliveries need attention, and those whose deliveries are held."""
        needs_attention = fitting_ids(
            delivery.record.webhook_id for delivery in self._deliveries if delivery.needs_attention
        )
        held = fitting_ids(delivery.record.webhook_id for delivery in self._deliveries if delivery.held)
        updates: list[SearchAttributeUpdate[Any]] = []
        if needs_attention != self.needs_attention:
            self.needs_attention = needs_attention
            updates.append(set_or_unset(ids.NEEDS_ATTENTION, needs_attention))
        if held != self._held:
            self._held = held
            updates.append(set_or_unset(ids.HELD, held))
        if updates:
            workflow.upsert_search_attributes(updates)
        self._on_update(None)

    def move_deliver_at(self, time: datetime) -> None:
        workflow.upsert_search_attributes([ids.DELIVER_AT.value_set(time)])
        self._on_update(time)

    def unset_deliver_at(self) -> None:
        if workflow.info().typed_search_attributes.get(ids.DELIVER_AT):
            workflow.upsert_search_attributes([ids.DELIVER_AT.value_unset()])
        self._on_update(None)


def set_or_unset(
    key: SearchAttributeKey[Sequence[str]], webhook_ids: Sequence[str]
) -> SearchAttributeUpdate[Sequence[str]]:
    return key.value_set(webhook_ids) if webhook_ids else key.value_unset()
