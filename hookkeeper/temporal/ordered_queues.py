"""The client side of lanes: take places, see how runs in them are doing.

Acceptance takes places before it starts the run; were it the other way round, a run whose API died in between would
have none. `workflows.ordered_queue` says what becomes of a place whose run is never started.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta

import structlog
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from activities.ordered_queue import Found, Place, Search, Sight, Waiting
from hookkeeper import ids
from hookkeeper.messages import Delivery, EventInput, EventState
from hookkeeper.partition import PART, partition
from hookkeeper.temporal import scan
from hookkeeper.temporal.error_translation import LaneFull, Unavailable, reaching_temporal
from workflows.event import EventWorkflow
from workflows.ordered_queue import FULL, Line, OrderedQueueState, OrderedQueueWorkflow

log = structlog.get_logger("hookkeeper.lanes")
KNOWN_FOR = 2.0
"""Seconds that acceptance goes by what it has seen of a lane."""
QUICKLY = timedelta(seconds=2)
ANSWER_TIMEOUT = timedelta(seconds=5)
"""For so long the run at the head of a lane may take to answer."""
VISIBILITY_DELAY = 2.0
"""Seconds until what was started is found by searches, generously: it takes some 15 ms."""
KNOWN_LANES = 10_000
UNREAD = 5_000
"""Events in the history of a lane, which goes on as a new run at two thousand: with so many, no worker takes note of
them. Temporal takes 10,000 signals."""


class Lanes:
    """All lanes. One for the process."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue
        self._had_room: dict[str, float] = {}

    async def take_places(self, event: EventInput) -> EventInput:
        """Take a place for each ordered delivery, and give the event with them. One with a `deliver_at` takes none yet.

        Raises `LaneFull`, and Temporal's `RPCError`.
        """
        if not any(each.ordered for each in event.deliveries) or event.deliver_at:  # the run itself takes one then
            return event
        places = _places_of(event)
        rebuild = await asyncio.gather(*(self._check_room(place.webhook_id) for place in places))
        await asyncio.gather(*map(self._join_unless_full, places, rebuild))
        return event.model_copy(update={"deliveries": tuple(map(_with_place, event.deliveries))})

    async def join(self, place: Place) -> None:
        """Have a place taken, and the lane started if there is none."""
        await self._join(place, _has_lost_places(await self._describe(ids.ordered_queue_id(place.webhook_id))))

    async def _join(self, place: Place, rebuild: bool) -> None:
        await self._client.start_workflow(
            OrderedQueueWorkflow.run,
            Line(webhook_id=place.webhook_id, tenant=place.tenant, rebuild=rebuild),
            id=ids.ordered_queue_id(place.webhook_id),
            task_queue=self._task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal="enqueue",
            start_signal_args=[place.place],
            static_summary=f"the order of {place.webhook_id}",
        )

    async def look(self, place: Place) -> Sight:
        """Say how a run is doing."""
        workflow_id = ids.run_at(place.tenant, place.place)
        run = await self._describe(workflow_id)
        if run is None:
            return Sight(found=await self._look_for_parent(place))
        if run.status != WorkflowExecutionStatus.RUNNING or run.workflow_type not in (ids.EVENT, ids.PART):
            return Sight(found="over")
        state = await self._ask(workflow_id)
        if state is None:
            return Sight(found="silent")
        delivery = next((each for each in state.deliveries if each.id == place.webhook_id), None)
        if delivery is None or delivery.is_final:
            return Sight(found="over")
        return Sight(found="open", waits=delivery.reason == "queued", failed=delivery.steps_taken > 0)

    async def find_waiting(self, search: Search) -> Waiting:
        """Give the places of all open events of the webhook, but for those whose time is still to come.

        Those with many attempts behind them are among them: they say that they have passed when they get the turn.
        """
        await asyncio.sleep(VISIBILITY_DELAY)
        runs = await scan.runs_of(self._client, _waiting_query(search.webhook_id))
        runs.sort(key=lambda run: run.started_at)
        before = [run for run in runs if run.started_at < search.started_at]
        after = [run for run in runs if run.started_at >= search.started_at]
        return Waiting(before=_places(search.tenant, before[:FULL]), after=_places(search.tenant, after[:FULL]))

    async def state(self, webhook_id: str) -> OrderedQueueState:
        """Say what waits in a lane, and whether it is stuck. Raises `Unavailable`."""
        async with reaching_temporal(not_found=Unavailable):
            lane = await self._describe(ids.ordered_queue_id(webhook_id))
            if lane is None or lane.status != WorkflowExecutionStatus.RUNNING:
                return OrderedQueueState()
            return await self._client.get_workflow_handle(lane.id, run_id=lane.run_id).query(OrderedQueueWorkflow.state)

    async def look_again(self, webhook_id: str) -> None:
        """Let a lane see whether there is still an order to keep. Where this fails, it looks by itself, but later."""
        try:
            await self._client.get_workflow_handle(ids.ordered_queue_id(webhook_id)).signal(
                OrderedQueueWorkflow.check, rpc_timeout=QUICKLY
            )
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                log.warning("the lane was not told of the change", webhook=webhook_id, error=error.message)

    async def _join_unless_full(self, place: Place, rebuild: bool) -> None:
        try:
            await self._join(place, rebuild)
        except RPCError as error:
            if error.status == RPCStatusCode.INVALID_ARGUMENT and "limit for signal" in error.message:
                raise Unavailable(f"the lane of webhook {place.webhook_id} takes no more signals") from error
            raise

    async def _check_room(self, webhook_id: str) -> bool:
        """Raise `LaneFull` where too many wait, or no worker takes note of them. Asks Temporal every two seconds.

        Say whether a lane that is started now has to find what waits for it. Where there was one a moment ago, it has.
        """
        now = time.monotonic()
        if now - self._had_room.get(webhook_id, float("-inf")) < KNOWN_FOR:
            return True
        lane = await self._describe(ids.ordered_queue_id(webhook_id))
        if lane and lane.status == WorkflowExecutionStatus.RUNNING and await _is_full(lane):
            raise LaneFull(f"too many events of the ordered webhook {webhook_id} wait for their turn")
        if len(self._had_room) >= KNOWN_LANES:
            self._had_room.clear()
        self._had_room[webhook_id] = now
        return _has_lost_places(lane)

    async def _ask(self, workflow_id: str) -> EventState | None:
        """Give the state of an open run; None where it does not say it. Temporal itself has just answered."""
        try:
            return await self._client.get_workflow_handle(workflow_id).query(
                EventWorkflow.state, rpc_timeout=ANSWER_TIMEOUT
            )
        except (RPCError, WorkflowQueryFailedError) as error:
            log.warning("a run does not answer", run=workflow_id, error=error.message)
            return None

    async def _look_for_parent(self, place: Place) -> Found:
        """Say of a part that has no run whether its event will start it."""
        tenant, event_id = ids.event_of(ids.run_at(place.tenant, place.place))
        parent = await self._describe(ids.workflow_id(tenant, event_id))
        if parent is None or parent.workflow_type != ids.LARGE_EVENT:
            return "unknown"
        return "to_come" if parent.status == WorkflowExecutionStatus.RUNNING else "over"

    async def _describe(self, workflow_id: str) -> WorkflowExecutionDescription | None:
        try:
            return await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return None


def _has_lost_places(lane: WorkflowExecutionDescription | None) -> bool:
    """Say whether something may wait for a lane that ended, or may end any moment: one that completes has no places."""
    return lane is not None and lane.status != WorkflowExecutionStatus.COMPLETED


def _waiting_query(webhook_id: str) -> str:
    """Find open runs of events that were started with this webhook, and whose time has come."""
    conditions = (
        scan.RUNS_OF_EVENTS,
        f"{ids.WEBHOOKS.name} = '{webhook_id}'",
        "ExecutionStatus = 'Running'",
        f"{ids.DELIVER_AT.name} IS NULL",
        f"{ids.RUN_NUMBER.name} IS NULL",
    )
    return " AND ".join(conditions)


def _places(tenant: str, runs: Sequence[scan.Found]) -> tuple[str, ...]:
    return tuple(ids.place_of(tenant, run.workflow_id) for run in runs)


async def _is_full(lane: WorkflowExecutionDescription) -> bool:
    return lane.history_length > UNREAD or bool(await lane.memo_value(ids.QUEUE_FULL, default=False))


def _places_of(event: EventInput) -> list[Place]:
    """Give the place of each ordered delivery: it stands in the run of the event, or in that of its part."""
    parts = partition(event.deliveries)
    split = len(event.deliveries) > PART
    return [
        Place(webhook_id=each.webhook_id, tenant=event.tenant, place=f"{event.id}.{n}" if split else event.id)
        for n, part in enumerate(parts, start=1)
        for each in part
        if each.ordered
    ]


def _with_place(delivery: Delivery) -> Delivery:
    return delivery.model_copy(update={"has_place": True}) if delivery.ordered else delivery
