"""The turns of a run's deliveries to ordered webhooks: each waits until no earlier delivery is in the way.

Their rows are the order (`hookkeeper.registry.events.lines`). A delivery asks before its first attempt. If it has to
wait, the run that leaves the line calls the next one with a signal; and it asks again after some time, as a signal may
get lost, and a run may end without a record.
"""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow

from activities.turns import TurnActivities
from hookkeeper.messages.event import EventInput, Turn, TurnRequest
from workflows import timers
from workflows.activities import INTERNAL_RETRY
from workflows.delivery import DeliveryState
from workflows.record import LOCAL_RETRY_THRESHOLD

ASK_TIMEOUT = timedelta(seconds=10)
FIRST_INTERVAL, MAX_INTERVAL = timedelta(seconds=30), timedelta(minutes=10)
"""Time after which a run asks again; doubled each time. From then on, those behind the second one ask more rarely."""
MAX_WAIT = timedelta(hours=1)
RETURN_TIME = timedelta(minutes=10)
"""Time after a restore of the registry in which the rows of the line are expected to return."""


class Turns:
    """The turns of one run, at most one for each ordered webhook."""

    def __init__(
        self,
        event: EventInput,
        deliveries: Iterable[DeliveryState],
        record: Callable[[Sequence[DeliveryState]], Coroutine[Any, Any, None]],
        has_to_stop: Callable[[], bool],
    ) -> None:
        """`record` writes deliveries to their rows. `has_to_stop`: the run is about to continue as new."""
        self._event = event
        self._ordered = [delivery for delivery in deliveries if delivery.record.ordered]
        self._record = record
        self._has_to_stop = has_to_stop
        self._called: set[str] = set()

    def call(self, webhook_id: str) -> None:
        """Ask again: an earlier delivery has left the line, or the webhook was changed."""
        self._called.add(webhook_id)

    async def wait(self, delivery: DeliveryState) -> None:
        """Wait until the delivery's turn has come, an attempt is requested, or the delivery is final."""
        await workflow.wait_condition(lambda: not delivery.is_queued or delivery.forced or self._has_to_stop())

    def take(self) -> list[Coroutine[Any, Any, None]]:
        """Take the turn of each delivery; one coroutine for each."""
        return [self._take(delivery) for delivery in self._ordered]

    async def _take(self, delivery: DeliveryState) -> None:
        interval, has_waited, is_recorded = FIRST_INTERVAL, False, False
        while self._waits(delivery):
            if not delivery.record.enqueued:
                delivery.enqueue()
                await self._record([delivery])
                is_recorded = True
            self._called.discard(delivery.record.webhook_id)
            turn = await self._ask(delivery, has_waited)
            if turn.has_come or (is_recorded and not turn.has_place):  # without a row: Temporal's own tools started it
                self._grant(delivery)
                return
            wait = min(interval * (turn.ahead if has_waited else 1), MAX_WAIT)
            if not turn.has_place:  # the registry was restored: those ahead may still have to return
                await self._record([delivery])
                wait, is_recorded = RETURN_TIME, True
            has_waited = await self._has_waited(delivery, wait)
            interval = min(interval * 2, MAX_INTERVAL) if has_waited else FIRST_INTERVAL

    def _grant(self, delivery: DeliveryState) -> None:
        if self._waits(delivery):
            delivery.grant()

    async def _ask(self, delivery: DeliveryState, has_waited: bool) -> Turn:
        request = TurnRequest(
            tenant=self._event.tenant,
            event_id=self._event.id,
            delivery=delivery.record.id,
            webhook_id=delivery.record.webhook_id,
            line=delivery.record.line,
            has_waited=has_waited,
        )
        return await workflow.execute_local_activity_method(
            TurnActivities.ask_turn,
            request,
            start_to_close_timeout=ASK_TIMEOUT,
            retry_policy=INTERNAL_RETRY,
            local_retry_threshold=LOCAL_RETRY_THRESHOLD,
        )

    async def _has_waited(self, delivery: DeliveryState, wait: timedelta) -> bool:
        """Wait; return False if the delivery was called, or need not wait any more."""
        webhook_id = delivery.record.webhook_id
        return await timers.passes(
            wait, "wait for its turn", lambda: webhook_id in self._called or not self._waits(delivery)
        )

    def _waits(self, delivery: DeliveryState) -> bool:
        return delivery.is_queued and not self._has_to_stop()
