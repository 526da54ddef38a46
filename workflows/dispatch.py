"""How a round leaves the workflow: which activity makes it, through which queue, and in whose turn."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from pydantic_core import to_json
from temporalio import workflow
from temporalio.common import Priority
from temporalio.workflow import ActivityCancellationType

from activities.emails import EmailActivities
from activities.notifications import NotificationActivities
from activities.rounds import Order, Round, RoundResult
from activities.webhooks import WebhookActivities
from hookkeeper import ids
from hookkeeper.messages.event import Channel, EventInput
from hookkeeper.outcomes import NOT_MADE
from workflows import summaries
from workflows.activities import run_until_done
from workflows.delivery import DeliveryState

INLINE_DATA = 32 * 1024
"""Bytes of data that travel in the input of each first round: one for all webhooks together, one for each that goes
alone. A larger body is read back from the run's own history."""
FIRST_HEARTBEAT_TIMEOUT = timedelta(seconds=10)
"""After a worker has died, its first attempts are made again after this time."""
RETRY_HEARTBEAT_TIMEOUT = timedelta(seconds=30)
"""The same for retries, which are late already. Most of them hang until their timeout, and each heartbeat is a write of
Temporal's: hundreds of hanging retries took more of it than all deliveries of other tenants."""

SENDERS: dict[Channel, Callable[[Any, Round], Awaitable[RoundResult]]] = {
    "webhook": WebhookActivities.deliver,
    "email": EmailActivities.send,
    "notification": NotificationActivities.notify,
}
"""The activity of each channel; each takes a round."""


def start_batch(event: EventInput, deliveries: Sequence[DeliveryState], is_first: bool) -> asyncio.Task[RoundResult]:
    """Begin one attempt of each delivery; all are of one channel. To cancel the task cancels the activity."""
    channel = deliveries[0].record.channel
    inline = is_first and len(to_json(event.data)) <= INLINE_DATA
    number = deliveries[0].next_number
    orders = tuple(map(_order, deliveries))
    queue, priority = _route(event, deliveries[0], is_first)
    making = run_until_done(
        SENDERS[channel],
        Round(
            id=event.id,
            type=event.type,
            tenant=event.tenant,
            timestamp=event.timestamp,
            data=event.data if inline else None,
            data_inline=inline,
            orders=orders,
            limited=deliveries[0].paced_rate is not None,
            pace=deliveries[0].paced_rate,
        ),
        task_queue=queue,
        start_to_close_timeout=timedelta(minutes=1 + len(deliveries) // 50),
        is_complete=lambda result: _has_outcomes(result, orders),
        heartbeat_timeout=FIRST_HEARTBEAT_TIMEOUT if is_first else RETRY_HEARTBEAT_TIMEOUT,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        priority=priority,
        summary=_summary(deliveries, number),
    )
    return asyncio.create_task(making)


def _summary(deliveries: Sequence[DeliveryState], number: int) -> str:
    first = deliveries[0]
    targets = [delivery.record.target for delivery in deliveries]
    summary = summaries.attempt_summary(first.record.channel, targets, number)
    is_look = first.record.looks > 0 and not first.is_forced_attempt
    return summaries.look_summary(first.record.webhook_id, summary) if is_look else summary


def _has_outcomes(result: RoundResult, orders: Sequence[Order]) -> bool:
    """Say whether each attempt has one outcome, which says when it was made if it was."""
    were_made = all(each.started_at or each.verdict in NOT_MADE for each in result.outcomes)
    return were_made and [each.delivery for each in result.outcomes] == [each.delivery for each in orders]


def _order(delivery: DeliveryState) -> Order:
    trigger = delivery.begin_attempt()  # says whether it is extra, and so its pace
    return Order(
        delivery=delivery.record.id,
        webhook_id=delivery.record.webhook_id,
        number=delivery.next_number,
        trigger=trigger,
        at_once=delivery.is_forced_attempt,
        waited=not delivery.is_forced_attempt and delivery.record.next_attempt_at is not None,
        slot=delivery.record.slot,
        reached=delivery.record.reached,
        redelivered_from=delivery.record.redelivered_from,
    )


def _route(event: EventInput, first: DeliveryState, is_first: bool) -> tuple[str, Priority]:
    """Give the queue, and who shares its turns: tenants, and in later rounds a tenant's webhooks in a few groups.

    The limited queue lets through one a second of each webhook, times the weight.
    """
    queue, webhook_id = workflow.info().task_queue, first.record.webhook_id
    if first.paced_rate is not None:
        return ids.limited_queue(queue), Priority(fairness_key=webhook_id, fairness_weight=first.paced_rate)
    if is_first:
        return queue, Priority(fairness_key=event.tenant)
    return ids.retry_queue(queue), Priority(fairness_key=ids.fairness_key(event.tenant, webhook_id))
