"""A run's positions in ordered queues (`workflows.ordered_queue`): each delivery waits until the queue grants it, then
lets later events go.

An event is enqueued before its run is started; a scheduled event when its time has come.
"""

from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import FailureError

from activities.ordered_queue import OrderedQueueActivities
from hookkeeper import ids, temporal_names
from hookkeeper.messages.ordered_queue import QueuePosition
from workflows import timers
from workflows.activities import run_until_done
from workflows.deliver_at import DeliverAt
from workflows.delivery import DeliveryState

ENQUEUE_INTERVAL = timedelta(hours=1)
"""A run loses its position only if the queue workflow is terminated, so waiting runs enqueue again after this; it is
idempotent."""


class QueuePositions:
    """The positions of one run, at most one for each ordered webhook."""

    def __init__(
        self,
        tenant: str,
        deliveries: Mapping[str, DeliveryState],
        deliver_at: DeliverAt,
        has_to_stop: Callable[[], bool],
    ) -> None:
        """`has_to_stop`: the run is about to continue as new."""
        self._tenant = tenant
        self._deliveries = deliveries
        self._deliver_at = deliver_at
        self._has_to_stop = has_to_stop

    async def grant(self, webhook_id: str) -> None:
        """Let the delivery go, or the next event if this one does not block the queue.

        A scheduled event gives a position up that it was granted before its time: it enqueues then.
        """
        delivery = self._deliveries.get(webhook_id)
        if delivery is None or not delivery.blocks_queue or self._deliver_at.is_pending:
            await self._signal_done(webhook_id)
        elif delivery.is_queued:
            delivery.grant()

    async def wait_for_grant(self, delivery: DeliveryState) -> None:
        """Wait until the delivery is granted, an attempt is requested, or the delivery is final."""
        await workflow.wait_condition(lambda: not delivery.is_queued or delivery.forced or self._has_to_stop())

    def keep(self) -> list[Coroutine[Any, Any, None]]:
        """Keep each position for as long as the delivery blocks its queue; one coroutine for each."""
        return [self._keep(delivery) for delivery in self._deliveries.values() if delivery.record.ordered]

    async def _keep(self, delivery: DeliveryState) -> None:
        while delivery.blocks_queue and not self._has_to_stop():
            if not delivery.is_queued:
                await workflow.wait_condition(lambda: not delivery.blocks_queue or self._has_to_stop())
            elif not delivery.record.enqueued or await self._has_waited_long(delivery):
                await self._enqueue(delivery)
        if not delivery.blocks_queue:
            await self._signal_done(delivery.record.webhook_id)
            delivery.leave_queue()

    async def _has_waited_long(self, delivery: DeliveryState) -> bool:
        has_passed = await timers.passes(
            ENQUEUE_INTERVAL, "wait in the ordered queue", lambda: not delivery.is_queued or self._has_to_stop()
        )
        return has_passed and delivery.is_queued

    async def _enqueue(self, delivery: DeliveryState) -> None:
        webhook_id = delivery.record.webhook_id
        await run_until_done(
            OrderedQueueActivities.enqueue,
            QueuePosition(webhook_id=webhook_id, tenant=self._tenant, position=self._position()),
            start_to_close_timeout=timedelta(seconds=10),
            priority=Priority(fairness_key=self._tenant),
            summary=f"enqueue for {webhook_id}",
        )
        delivery.enqueue()

    async def _signal_done(self, webhook_id: str) -> None:
        """Let later events go. A queue that does not exist any more has none."""
        queue = workflow.get_external_workflow_handle(ids.ordered_queue_id(webhook_id))
        try:
            await queue.signal(temporal_names.DONE, self._position())
        except FailureError as error:
            workflow.logger.info("the ordered queue of %s cannot be signalled: %r", webhook_id, error)

    def _position(self) -> str:
        return ids.position_of(self._tenant, workflow.info().workflow_id)
