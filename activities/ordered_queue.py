"""The activities of ordered queues: enqueue an event, check the run at the head, find the events that wait."""

from temporalio import activity

from hookkeeper.messages.ordered_queue import QueuedRun, QueuePosition, WaitingEvents, WaitingEventsQuery
from hookkeeper.registry.store import Store
from hookkeeper.temporal.ordered_queues import OrderedQueues


class OrderedQueueActivities:
    """Raises Temporal's `RPCError` and `RegistryUnavailable`: internal errors, which are retried."""

    def __init__(self, queues: OrderedQueues, store: Store) -> None:
        self._queues = queues
        self._store = store

    @activity.defn
    async def enqueue(self, position: QueuePosition) -> None:
        """Add an event to the end of the webhook's queue. Idempotent."""
        await self._queues.enqueue(position)

    @activity.defn
    async def find_waiting_events(self, query: WaitingEventsQuery) -> WaitingEvents:
        """Find the events that waited in a queue that was terminated."""
        return await self._queues.find_waiting(query)

    @activity.defn
    async def check_queued_run(self, position: QueuePosition) -> QueuedRun:
        """Read the state of the run at the head, and whether its webhook is still ordered."""
        webhook = await self._store.webhooks.get(position.webhook_id)
        run = await self._queues.check_run(position)
        return run.model_copy(update={"ordered": webhook.ordered if webhook else None})
