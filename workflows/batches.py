"""The batches of an event: attempts that one activity makes together."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from temporalio import workflow
from temporalio.exceptions import ActivityError

from hookkeeper.messages.batch import BatchResult
from hookkeeper.messages.event import EventInput
from hookkeeper.messages.outcomes import Outcome
from workflows.delivery import DeliveryState
from workflows.dispatch import start_batch

MAX_CONCURRENT_RETRIES = 4
"""Retries that one event has in flight at once, and as many attempts for degraded webhooks. Without a limit, an event
with 60 endpoints that hang would add 60 to Temporal's load at the same moment, and delay the deliveries of others."""


@dataclass(eq=False)
class BatchInFlight:
    deliveries: Sequence[DeliveryState]
    result: asyncio.Task[BatchResult]
    is_stopped: bool = False

    def stop_if_unwanted(self) -> None:
        """Cancel the activity if all its deliveries were cancelled. Attempts being made still return their outcomes."""
        if not self.is_stopped and all(delivery.cancelling for delivery in self.deliveries):
            self.is_stopped = True
            self.result.cancel()


class Batches:
    def __init__(self, event: EventInput) -> None:
        self._event = event
        self._in_flight: list[BatchInFlight] = []

    async def run(self, deliveries: Sequence[DeliveryState], *, is_first: bool) -> Sequence[Outcome] | None:
        """Make one attempt of each delivery; None if the batch was stopped."""
        batch = BatchInFlight(deliveries, start_batch(self._event, deliveries, is_first))
        self._in_flight.append(batch)
        try:
            (outcomes,) = (await batch.result).outcomes
            return outcomes
        except (ActivityError, asyncio.CancelledError):
            if not batch.is_stopped:
                raise
            return None
        finally:
            self._in_flight.remove(batch)

    def stop_unwanted(self) -> None:
        for batch in self._in_flight:
            batch.stop_if_unwanted()

    def is_full_for(self, delivery: DeliveryState) -> bool:
        """Return whether the delivery has to wait: as many attempts are in flight as one event may have at once."""
        if delivery.forced or _has_own_time(delivery):
            return False
        first_of_batches = [batch.deliveries[0] for batch in self._in_flight]
        alike = [
            first
            for first in first_of_batches
            if first.record.degraded == delivery.record.degraded and not _has_own_time(first)
        ]
        return len(alike) >= MAX_CONCURRENT_RETRIES


def _has_own_time(delivery: DeliveryState) -> bool:
    """It has reserved its time, and would miss it if it waited for others."""
    return delivery.record.slot is not None and not delivery.record.degraded


def record_outcomes(deliveries: Mapping[str, DeliveryState], outcomes: Sequence[Outcome]) -> None:
    """Record the outcomes of a batch."""
    for outcome in outcomes:
        delivery = deliveries[outcome.delivery]
        delivery.finish_attempt(outcome, workflow.now(), workflow.random().random())
        if delivery.is_held_by_webhook:
            delivery.schedule_recheck(workflow.now())


def first_batches(deliveries: Collection[DeliveryState]) -> list[list[DeliveryState]]:
    """Return the batches of first attempts: one for all webhooks without a rate or an order; one each for the others,
    for each email and for each notification.

    A worker that is killed can lose the latest outcomes of a batch. A webhook that arrives twice has the same
    `webhook-id`; an email that arrives twice has been read twice.
    """
    together = [delivery for delivery in deliveries if delivery.can_share_batch]
    return [together, *([delivery] for delivery in deliveries if not delivery.can_share_batch)]
