"""Ordered queues (`workflows.ordered_queue`): enqueue events, read queues, check the runs in them.

An event is enqueued before its run is started. In the other order, a run would have no position if the API stopped
between the two; `workflows.ordered_queue` handles a position whose run is never started.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
)
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids, metrics, temporal_names
from hookkeeper.messages.event import Delivery, EventInput, EventState
from hookkeeper.messages.ordered_queue import (
    QUEUE_LIMIT,
    OrderedQueueState,
    QueuedRun,
    QueuedRunStatus,
    QueueInput,
    QueuePosition,
    WaitingEvents,
    WaitingEventsQuery,
)
from hookkeeper.partition import parts_of
from hookkeeper.temporal.error_translation import (
    TOO_MANY_SIGNALS_MESSAGE,
    QueueFull,
    Unavailable,
    translated_errors,
)
from hookkeeper.temporal.run_state import find_run, handle_of, task_failure
from hookkeeper.times import rfc3339, utc_now

log = structlog.get_logger("hookkeeper.ordered_queues")
CAPACITY_CHECK_INTERVAL = 2.0
"""Seconds between two checks whether a queue is full."""
SIGNAL_TIMEOUT = timedelta(seconds=2)
ANSWER_TIMEOUT = timedelta(seconds=5)
"""Time in which the run at the head of a queue must answer."""
VISIBILITY_DELAY = 2.0
"""Seconds until a search finds a run that was started, with a margin: it takes about 15 ms."""
DEADLOCK = "TMPRL1101"
"""The SDK's code for a step that took more than two seconds, which can be due to a busy machine."""
MAX_CACHED_QUEUES = 10_000
MAX_HISTORY = 5_000
"""Events in the history of a queue, which continues as a new run at 2,000. A queue with more is served by no worker;
Temporal accepts 10,000 signals."""


class OrderedQueues:
    """The client of all ordered queues. One for the process."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue
        self._had_room: dict[str, float] = {}

    async def enqueue_event(self, event: EventInput) -> EventInput:
        """Enqueue each ordered delivery, and return the event with their positions noted.

        The run of an event with `deliver_at` enqueues itself then. Raises `QueueFull` and Temporal's `RPCError`.
        """
        if not any(delivery.ordered for delivery in event.deliveries) or event.deliver_at:
            return event
        positions = _positions_of(event)
        rebuild = await asyncio.gather(*(self._check_capacity(position.webhook_id) for position in positions))
        await asyncio.gather(*map(self._enqueue_while_accepting, positions, rebuild))
        return event.model_copy(update={"deliveries": tuple(map(_enqueued, event.deliveries))})

    async def enqueue(self, position: QueuePosition) -> None:
        """Add a position to its queue, and start the queue if there is none."""
        queue = await find_run(self._client, ids.ordered_queue_id(position.webhook_id))
        await self._enqueue(position, await self._may_have_lost_positions(position.webhook_id, queue))

    async def check_run(self, position: QueuePosition) -> QueuedRun:
        """Return the state of the run at a position."""
        workflow_id = ids.run_at(position.tenant, position.position)
        run = await find_run(self._client, workflow_id)
        if run is None:
            return QueuedRun(status="closed" if position.granted else await self._check_parent(position))
        if run.status != WorkflowExecutionStatus.RUNNING or run.workflow_type != temporal_names.EVENT:
            return QueuedRun(status="closed")
        try:
            state = await self._query(workflow_id)
        except (RPCError, WorkflowQueryFailedError) as error:  # Temporal itself answered a moment ago
            status: QueuedRunStatus = "failing" if await self._is_failing(run, error) else "no_answer"
            log.warning("a run does not answer", run=workflow_id, status=status, error=error.message)
            return QueuedRun(status=status)
        delivery = next((delivery for delivery in state.deliveries if delivery.id == position.webhook_id), None)
        if delivery is None or delivery.is_final:
            return QueuedRun(status="closed")
        return QueuedRun(status="open", queued=delivery.reason == "queued", failed=delivery.steps_taken > 0)

    async def find_waiting(self, query: WaitingEventsQuery) -> WaitingEvents:
        """Return the positions of all open events of the webhook, except those scheduled for later.

        Some of them may already have left the queue; their runs report `done` when they receive a grant.
        """
        await asyncio.sleep(VISIBILITY_DELAY)
        waiting = self._client.list_workflows(_waiting_query(query.webhook_id, utc_now()))
        runs = sorted([run async for run in waiting if ids.is_event_run(run.id)], key=lambda run: run.start_time)
        before = [run for run in runs if run.start_time < query.started_at]
        after = [run for run in runs if run.start_time >= query.started_at]
        return WaitingEvents(before=_positions(query.tenant, before), after=_positions(query.tenant, after))

    async def state(self, webhook_id: str) -> OrderedQueueState:
        """Return the state of a queue. Raises `Unavailable`."""
        async with translated_errors(not_found=Unavailable):
            queue = await find_run(self._client, ids.ordered_queue_id(webhook_id))
            if queue is None or queue.status != WorkflowExecutionStatus.RUNNING:
                return OrderedQueueState()
            handle = handle_of(self._client, queue)
            state: OrderedQueueState = await handle.query(temporal_names.STATE, result_type=OrderedQueueState)
            return state

    async def request_check(self, webhook_id: str) -> None:
        """Let a queue check whether its webhook is still ordered. If this fails, the queue checks by itself later."""
        try:
            queue = self._client.get_workflow_handle(ids.ordered_queue_id(webhook_id))
            await queue.signal(temporal_names.CHECK, rpc_timeout=SIGNAL_TIMEOUT)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                log.warning("the queue could not be signalled", webhook=webhook_id, error=error.message)

    async def _enqueue(self, position: QueuePosition, rebuild: bool) -> None:
        await self._client.start_workflow(
            temporal_names.ORDERED_QUEUE,
            QueueInput(webhook_id=position.webhook_id, tenant=position.tenant, rebuild=rebuild),
            id=ids.ordered_queue_id(position.webhook_id),
            task_queue=self._task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal=temporal_names.ENQUEUE,
            start_signal_args=[position.position],
            priority=Priority(fairness_key=position.tenant),
            static_summary=f"the order of {position.webhook_id}",
        )

    async def _enqueue_while_accepting(self, position: QueuePosition, rebuild: bool) -> None:
        try:
            await self._enqueue(position, rebuild)
        except RPCError as error:
            if error.status == RPCStatusCode.INVALID_ARGUMENT and TOO_MANY_SIGNALS_MESSAGE in error.message:
                raise Unavailable(f"the queue of webhook {position.webhook_id} accepts no more signals") from error
            raise

    async def _check_capacity(self, webhook_id: str) -> bool:
        """Return whether a queue that is started now has to be rebuilt. Raises `QueueFull`.

        The answer is cached for `CAPACITY_CHECK_INTERVAL`, and is True then: there was a queue a moment ago.
        """
        now = time.monotonic()
        if now - self._had_room.get(webhook_id, float("-inf")) < CAPACITY_CHECK_INTERVAL:
            return True
        queue = await find_run(self._client, ids.ordered_queue_id(webhook_id))
        if queue and queue.status == WorkflowExecutionStatus.RUNNING and await _is_full(queue):
            metrics.count_limit("ordered_queue")
            raise QueueFull(f"too many events of the ordered webhook {webhook_id} are waiting")
        if len(self._had_room) >= MAX_CACHED_QUEUES:
            self._had_room.clear()
        self._had_room[webhook_id] = now
        return await self._may_have_lost_positions(webhook_id, queue)

    async def _may_have_lost_positions(self, webhook_id: str, queue: WorkflowExecutionDescription | None) -> bool:
        """Return whether events may wait for a queue that ended, or was deleted. One that completed was empty."""
        if queue is None:
            return (await self._client.count_workflows(_waiting_query(webhook_id, utc_now()))).count > 0
        return queue.status != WorkflowExecutionStatus.COMPLETED

    async def _query(self, workflow_id: str) -> EventState:
        handle = self._client.get_workflow_handle(workflow_id)
        state: EventState = await handle.query(temporal_names.STATE, result_type=EventState, rpc_timeout=ANSWER_TIMEOUT)
        return state

    async def _is_failing(self, run: WorkflowExecutionDescription, error: RPCError | WorkflowQueryFailedError) -> bool:
        """Return whether a query failed because the run's code fails, and not because a worker is slow or absent."""
        if isinstance(error, WorkflowQueryFailedError):
            return DEADLOCK not in error.message
        if error.status != RPCStatusCode.FAILED_PRECONDITION:
            return False
        failure = await task_failure(self._client, run)
        return failure is not None and DEADLOCK not in failure

    async def _check_parent(self, position: QueuePosition) -> QueuedRunStatus:
        """Return, for a sibling without a run, whether the first run will start it."""
        workflow_id = ids.run_at(position.tenant, position.position)
        first = await find_run(self._client, ids.workflow_id(*ids.event_of(workflow_id)))
        if first is None or ids.part_of(workflow_id) == 1:
            return "not_found"
        return "not_started" if first.status == WorkflowExecutionStatus.RUNNING else "closed"


def _waiting_query(webhook_id: str, now: datetime) -> str:
    """Write the query for open runs that were started with this ordered webhook, and are not scheduled for later."""
    has_come = f"({temporal_names.DELIVER_AT} IS NULL OR {temporal_names.DELIVER_AT} <= '{rfc3339(now)}')"
    return f"{temporal_names.ORDERED} = '{webhook_id}' AND ExecutionStatus = 'Running' AND {has_come}"


def _positions(tenant: str, runs: Sequence[WorkflowExecution]) -> tuple[str, ...]:
    return tuple(ids.position_of(tenant, run.id) for run in runs[:QUEUE_LIMIT])


async def _is_full(queue: WorkflowExecutionDescription) -> bool:
    return queue.history_length > MAX_HISTORY or bool(await queue.memo_value(temporal_names.QUEUE_FULL, default=False))


def _positions_of(event: EventInput) -> list[QueuePosition]:
    """Return the position of each ordered delivery: that of the run that has it."""
    return [
        QueuePosition(
            webhook_id=delivery.webhook_id,
            tenant=event.tenant,
            position=ids.position_of(event.tenant, ids.run_of(event.tenant, event.id, part)),
        )
        for part, of_run in enumerate(parts_of(event), start=1)
        for delivery in of_run.deliveries
        if delivery.ordered
    ]


def _enqueued(delivery: Delivery) -> Delivery:
    return delivery.model_copy(update={"enqueued": True}) if delivery.ordered else delivery
