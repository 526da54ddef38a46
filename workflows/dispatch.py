"""Which activity runs a batch, through which task queue, with which priority and summary."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Unpack

from pydantic_core import to_json
from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityCancellationType, ActivityConfig

from hookkeeper import task_queues
from hookkeeper.kind import Kind
from hookkeeper.kinds import KINDS
from hookkeeper.messages.batch import AttemptRequest, BatchResult, DeliveryBatch, EventAttempts, Ongoing
from hookkeeper.messages.event import EventInput
from hookkeeper.messages.outcomes import NOT_MADE, Outcome
from workflows import summaries
from workflows.activities import NamedActivity, is_cancelling, run_at_once, run_until_done
from workflows.delivery import DeliveryState

EVENTS_BEFORE_FIRST_TASK = 3
"""Events in a history when its first workflow task starts."""
MAX_INLINE_BYTES = 32 * 1024
"""Bytes of data that are in the input of each first batch. A larger body is read from the run's own history."""
FIRST_HEARTBEAT_TIMEOUT = timedelta(seconds=10)
"""After a worker has died, its first attempts are made again after this time."""
RETRY_HEARTBEAT_TIMEOUT = timedelta(seconds=30)
"""The same for retries, which are late already. Most of them hang until their timeout, and each heartbeat is a write of
Temporal's: hundreds of hanging retries cost it more than all deliveries of other tenants."""


def start_batch(event: EventInput, deliveries: Sequence[DeliveryState], is_first: bool) -> asyncio.Task[BatchResult]:
    """Begin one attempt of each delivery, all of one channel. Cancelling the task cancels the activity."""
    is_inline = is_first and len(to_json(event.data)) <= MAX_INLINE_BYTES
    batch = DeliveryBatch(events=(begin_attempts(event, deliveries, is_inline=is_inline, is_first=is_first),))
    first = deliveries[0]
    task_queue, priority = _route(event, first, is_first)
    running = make_attempts(
        KINDS[first.record.channel],
        batch,
        is_quick=is_first and event.quick and first.can_share_batch,
        task_queue=task_queue,
        heartbeat_timeout=FIRST_HEARTBEAT_TIMEOUT if is_first else RETRY_HEARTBEAT_TIMEOUT,
        priority=priority,
        summary=_summary(deliveries),
    )
    return asyncio.create_task(running)


async def make_attempts(
    kind: Kind,
    batch: DeliveryBatch,
    *,
    is_quick: bool,
    **config: Unpack[ActivityConfig],
) -> BatchResult:
    """Make the attempts of a batch, quick ones within the workflow task (decision 64).

    Quick ones that last go on in the process that has begun them. If that process has died, or could not make them, an
    ordinary activity does.
    """
    config["cancellation_type"] = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    activity = NamedActivity(kind.activity, BatchResult)
    config["start_to_close_timeout"] = timeout = batch_timeout(batch.targets)
    if is_quick:
        is_repeated = workflow.info().get_current_history_length() > EVENTS_BEFORE_FIRST_TASK
        batch = batch.model_copy(update={"is_repeated": is_repeated})
        try:
            result = await run_at_once(activity, batch, timeout, config["summary"])
            if result.ongoing is None:
                return result
            return await _join(activity, batch, result.ongoing, config)
        except ActivityError:
            if is_cancelling():
                raise
    return await run_until_done(activity, batch, is_complete=lambda result: is_complete(result, batch), **config)


async def _join(
    activity: NamedActivity[BatchResult],
    batch: DeliveryBatch,
    ongoing: Ongoing,
    config: ActivityConfig,
) -> BatchResult:
    """Wait for attempts where they are being made. Raises ActivityError if that process has died."""
    own: ActivityConfig = {
        "task_queue": ongoing.task_queue,
        "schedule_to_start_timeout": FIRST_HEARTBEAT_TIMEOUT,  # also of a retry, when the process has died
    }
    return await run_until_done(
        activity,
        batch.model_copy(update={"begun_by": ongoing.activity_id}),
        is_complete=lambda result: is_complete(result, batch),
        is_expected=lambda _: True,  # whatever ends it, an ordinary activity follows
        **(config | own),
    )


def begin_attempts(
    event: EventInput, deliveries: Sequence[DeliveryState], *, is_inline: bool, is_first: bool
) -> EventAttempts:
    """Begin one attempt of each delivery; return what the activity gets."""
    requests = tuple(_begin_attempt(delivery, _due_at(event, delivery, is_first)) for delivery in deliveries)
    return EventAttempts(
        id=event.id,
        type=event.type,
        tenant=event.tenant,
        timestamp=event.timestamp,
        channels=event.channels,
        data=event.data if is_inline else None,
        data_inline=is_inline,
        attempts=requests,
        is_test=event.is_test,
        traceparent=event.traceparent,
    )


def batch_timeout(attempts: int) -> timedelta:
    """Return how long an activity may take to make this number of attempts."""
    return timedelta(minutes=1 + attempts // 50)


def is_complete(result: BatchResult, batch: DeliveryBatch) -> bool:
    """Return whether each attempt has an outcome, with its time if a request was made. Events of a shared run may have
    none.
    """
    if len(result.outcomes) != len(batch.events):
        return False
    return all(
        (outcomes is None and batch.is_shared) or number in result.moved or _are_complete(outcomes or (), event)
        for number, (event, outcomes) in enumerate(zip(batch.events, result.outcomes, strict=True))
    )


def _are_complete(outcomes: Sequence[Outcome], event: EventAttempts) -> bool:
    have_times = all(outcome.started_at or outcome.verdict in NOT_MADE for outcome in outcomes)
    return have_times and [outcome.delivery for outcome in outcomes] == [request.delivery for request in event.attempts]


def _due_at(event: EventInput, delivery: DeliveryState, is_first: bool) -> datetime:
    """Return when an attempt that the schedule does not time was due: a first one on acceptance, others now."""
    waits_for_nothing = not (event.deliver_at or delivery.record.ordered or delivery.record.requested)
    return event.accepted_at if is_first and waits_for_nothing else workflow.now()


def _begin_attempt(delivery: DeliveryState, due_at: datetime) -> AttemptRequest:
    trigger = delivery.begin_attempt(due_at)  # determines whether it is a forced attempt
    record = delivery.record
    return AttemptRequest(
        delivery=record.id,
        webhook_id=record.webhook_id,
        number=delivery.next_number,
        trigger=trigger,
        immediate=delivery.is_forced_attempt,
        postponed=not delivery.is_forced_attempt and record.next_attempt_at is not None,
        slot=record.slot,
        reached=record.reached,
        redelivered_from=record.redelivered_from,
    )


def _route(event: EventInput, first: DeliveryState, is_first: bool) -> tuple[str, Priority]:
    """Return the task queue and the fairness key: tenants share the queue of first attempts; the retry queue is shared
    by a few groups of each tenant's webhooks.

    A first attempt that has waited for the rate of its webhook does not share a queue with webhooks that fail.
    """
    queue, webhook_id = workflow.info().task_queue, first.record.webhook_id
    if is_first or first.is_deferred_first:
        return queue, Priority(fairness_key=event.tenant)
    return task_queues.retry_queue(queue), Priority(fairness_key=task_queues.fairness_key(event.tenant, webhook_id))


def _summary(deliveries: Sequence[DeliveryState]) -> str:
    first = deliveries[0]
    targets = [delivery.record.target for delivery in deliveries]
    summary = summaries.attempt_summary(first.record.channel, targets, first.next_number)
    is_recheck = first.record.rechecks > 0 and not first.is_forced_attempt
    return summaries.recheck_summary(first.record.webhook_id, summary) if is_recheck else summary
