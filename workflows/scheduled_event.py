"""One firing of a schedule: accept the event and, if the next firing depends on it, wait until it is delivered.

Temporal's overlap policies apply to this run. With `skip`, a schedule does not fire while its last event is still being
delivered, so the run stays open until then. Only with `allow_all` it does not wait.

This code is permanent, like that of `workflows.event`.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    is_cancelled_exception,
)

from activities.scheduled_event import ScheduledEventActivities
from hookkeeper import ids, task_queues, temporal_names
from hookkeeper.error_types import EVENT_REFUSED
from hookkeeper.messages.schedule import EventReference, ScheduledEvent, SchedulePlan
from hookkeeper.search_attributes import FIRED_FOR_KEY
from workflows.activities import run_until_done

DELIVERY_CHECKS = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=1.2, maximum_interval=timedelta(hours=1)
)
"""When to check again whether a delivery is final: late by a fifth of its duration, and by an hour at most. An event
that is held for a month costs about 750 checks, and not 43,000."""


@workflow.defn(name=temporal_names.SCHEDULED)
class ScheduledEventWorkflow:
    @workflow.run
    async def run(self, plan: SchedulePlan) -> EventReference:
        """Make the event; return its id, or fail with the reason why it was refused."""
        when = workflow.info().typed_search_attributes[FIRED_FOR_KEY]
        event = ScheduledEvent(
            event_id=ids.scheduled_event_id(plan.id, when),
            type=plan.type,
            tenant=plan.tenant,
            timestamp=when,
            channels=plan.channels,
            data=plan.data,
            key_id=plan.key_id,
        )
        reference = EventReference(event_id=event.event_id, tenant=plan.tenant)
        accepting = asyncio.create_task(self._accept(event))
        try:
            await asyncio.shield(accepting)
            if plan.waits:
                await self._await_delivery(reference)
        except (asyncio.CancelledError, ActivityError) as error:
            if is_cancelled_exception(error):
                await self._cancel(accepting, reference)
            raise
        return reference

    async def _accept(self, event: ScheduledEvent) -> None:
        try:
            await run_until_done(
                ScheduledEventActivities.accept_scheduled_event,
                event,
                start_to_close_timeout=timedelta(seconds=20),
                is_expected=_is_refusal,
                priority=Priority(fairness_key=event.tenant),
                summary=f"accept {event.type}",
            )
        except ActivityError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError) and _is_refusal(error):
                raise ApplicationError(
                    cause.message, type=EVENT_REFUSED, non_retryable=True, category=ApplicationErrorCategory.BENIGN
                ) from None
            raise

    async def _await_delivery(self, event: EventReference) -> None:
        await run_until_done(
            ScheduledEventActivities.await_delivery,
            event,
            task_queue=task_queues.retry_queue(workflow.info().task_queue),
            start_to_close_timeout=timedelta(seconds=20),
            retry_policy=DELIVERY_CHECKS,
            priority=Priority(fairness_key=event.tenant),
            summary="wait until it is delivered",
        )

    async def _cancel(self, accepting: asyncio.Task[None], event: EventReference) -> None:
        """Cancel the event, once it is known whether it was accepted."""
        await workflow.wait_condition(accepting.done)
        if accepting.exception():
            return
        # In a task of its own: `run_until_done` stops in the task of a run that is cancelled.
        await asyncio.create_task(
            run_until_done(
                ScheduledEventActivities.cancel_scheduled_event,
                event,
                task_queue=task_queues.retry_queue(workflow.info().task_queue),
                start_to_close_timeout=timedelta(seconds=20),
                priority=Priority(fairness_key=event.tenant),
                summary="cancel the event",
            )
        )


def _is_refusal(error: ActivityError) -> bool:
    return isinstance(error.cause, ApplicationError) and error.cause.type == EVENT_REFUSED
