"""The run of one firing of a schedule: have the event accepted, and last as long as its delivery where that matters.

Temporal's overlap policies look at this run. Whoever says "skip" means: not while the last event is still being
delivered. So the run stays open until then, unless all may overlap.

This code is for ever, as that of `workflows.event` is.
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

from activities.scheduled_event import REFUSED, FiringActivities
from hookkeeper import ids
from hookkeeper.messages.schedule import EventReference, ScheduledEvent, SchedulePlan
from workflows.activities import run_until_done

LOOKS = RetryPolicy(initial_interval=timedelta(seconds=1), backoff_coefficient=1.2, maximum_interval=timedelta(hours=1))
"""When to look again whether a delivery is over: late by a fifth of the time that it takes, and by an hour at most. An
event that is held for a month costs some 750 looks, and not 43,000."""


@workflow.defn(name=ids.SCHEDULED)
class ScheduledEventWorkflow:
    """One firing of a schedule."""

    @workflow.run
    async def run(self, plan: SchedulePlan) -> EventReference:
        """Make the event; return its name, or fail with the reason why it is refused."""
        when = workflow.info().typed_search_attributes[ids.FIRED_FOR]
        event = EventReference(event_id=ids.scheduled_event_id(plan.id, when), tenant=plan.tenant)
        scheduled = ScheduledEvent(
            event_id=event.event_id,
            type=plan.type,
            tenant=plan.tenant,
            timestamp=when,
            data=plan.data,
            key_id=plan.key_id,
        )
        accepting = asyncio.create_task(self._accept(scheduled))
        try:
            await asyncio.shield(accepting)
            if plan.waits:
                await self._until_delivered(event)
        except (asyncio.CancelledError, ActivityError) as error:
            if is_cancelled_exception(error):
                await self._withdraw(accepting, event)
            raise
        return event

    async def _accept(self, scheduled: ScheduledEvent) -> None:
        try:
            await run_until_done(
                FiringActivities.accept,
                scheduled,
                start_to_close_timeout=timedelta(seconds=20),
                is_expected=_is_refusal,
                priority=Priority(fairness_key=scheduled.tenant),
                summary=f"accept {scheduled.type}",
            )
        except ActivityError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError) and _is_refusal(error):
                raise ApplicationError(
                    cause.message, type=REFUSED, non_retryable=True, category=ApplicationErrorCategory.BENIGN
                ) from None
            raise

    async def _until_delivered(self, event: EventReference) -> None:
        await run_until_done(
            FiringActivities.await_delivery,
            event,
            task_queue=ids.retry_queue(workflow.info().task_queue),
            start_to_close_timeout=timedelta(seconds=20),
            retry_policy=LOOKS,
            priority=Priority(fairness_key=event.tenant),
            summary="wait until it is delivered",
        )

    async def _withdraw(self, accepting: asyncio.Task[None], event: EventReference) -> None:
        """Cancel the event, once it is known whether there is one."""
        await workflow.wait_condition(accepting.done)
        if accepting.exception():
            return
        # In a task of its own: to run_until_done, that of a cancelled run means that nothing is to be done again.
        await asyncio.create_task(
            run_until_done(
                FiringActivities.cancel,
                event,
                task_queue=ids.retry_queue(workflow.info().task_queue),
                start_to_close_timeout=timedelta(seconds=20),
                priority=Priority(fairness_key=event.tenant),
                summary="cancel the event",
            )
        )


def _is_refusal(error: ActivityError) -> bool:
    return isinstance(error.cause, ApplicationError) and error.cause.type == REFUSED
