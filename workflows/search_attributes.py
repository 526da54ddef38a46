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


class WebhookList:
    """A search attribute that lists webhooks, and is absent if there are none."""

    def __init__(self, key: SearchAttributeKey[Sequence[str]]) -> None:
        self._key = key
        self.webhook_ids = list(workflow.info().typed_search_attributes.get(key, ()))

    def change(self, webhook_ids: Iterable[str]) -> list[SearchAttributeUpdate[Any]]:
        """List these webhooks; return the update, if there is one."""
        fitting = fitting_ids(webhook_ids)
        if fitting == self.webhook_ids:
            return []
        self.webhook_ids = fitting
        return [self._key.value_set(fitting) if fitting else self._key.value_unset()]


class SearchAttributes:
    def __init__(self, deliveries: Iterable[DeliveryState]) -> None:
        self._deliveries = list(deliveries)
        self._needs_attention = WebhookList(ids.NEEDS_ATTENTION)
        self._held = WebhookList(ids.HELD)
        self._on_update: Callable[[datetime | None], None] = lambda moved_to: None

    @property
    def needs_attention(self) -> list[str]:
        """The listed webhooks whose deliveries need attention."""
        return self._needs_attention.webhook_ids

    def on_update(self, callback: Callable[[datetime | None], None]) -> None:
        """Call it after each update, with the time to which the event was moved, or None."""
        self._on_update = callback

    def update(self) -> None:
        """List the webhooks whose deliveries need attention, and those whose deliveries are held."""
        needs_attention = (delivery.record.webhook_id for delivery in self._deliveries if delivery.needs_attention)
        held = (delivery.record.webhook_id for delivery in self._deliveries if delivery.held)
        updates = [*self._needs_attention.change(needs_attention), *self._held.change(held)]
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
