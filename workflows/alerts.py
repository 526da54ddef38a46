"""The alerts of a run: messages to a webhook's owner and to the operator. A run stays open until they are sent."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, RetryState

from activities.alerts import AlertActivities
from hookkeeper import error_types, task_queues
from hookkeeper.content.context import AlertKind
from hookkeeper.messages.alert import Alert
from hookkeeper.messages.event import Delivery, EventInput
from workflows import delivery_status, summaries
from workflows.activities import run_until_done
from workflows.delivery import DeliveryState

ALERT_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=5),
    backoff_coefficient=4,
    maximum_interval=timedelta(hours=1),
)
"""Without a maximum of attempts: Temporal also counts those that failed because the tenant was at its concurrency
limit. The activity counts the attempts in which a recipient could not be reached, and gives up after ten."""
ALERT_TIMEOUT = timedelta(days=1)
"""An alert is given up after this in any case, so that it cannot keep its run open."""
MAX_EXCERPT_CHARACTERS = 500
"""Characters of the receiver's latest response in an alert."""


class Alerts:
    def __init__(self, event: EventInput) -> None:
        self._event = event
        self._tasks: dict[asyncio.Task[None], Alert] = {}
        self._stopped = False

    def resume(self) -> None:
        """Send the alerts that an earlier run has left: it continued as new, or the event has left a shared run."""
        for alert in self._event.pending_alerts:
            self._send(alert)

    def send_due(self, deliveries: Iterable[DeliveryState]) -> None:
        for delivery in deliveries:
            kind = delivery.take_alert()
            if kind and not self._stopped:
                self._send(alert_of(self._event, delivery.snapshot, kind, workflow.info().run_id))

    @property
    def are_done(self) -> bool:
        """Every alert is sent, or given up."""
        return all(task.done() for task in self._tasks)

    @property
    def pending(self) -> tuple[Alert, ...]:
        return tuple(alert for task, alert in self._tasks.items() if not task.done())

    def stop(self) -> None:
        """Send no further alert, and give up those that are pending."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()

    def _send(self, alert: Alert) -> None:
        self._tasks[asyncio.create_task(send_alert(alert))] = alert


def alert_of(event: EventInput, delivery: Delivery, kind: AlertKind, run: str) -> Alert:
    """Return the alert of a delivery. `run` names the run of the event, or its part of a shared run."""
    last = delivery.attempts[-1] if delivery.attempts else None
    return Alert(
        token=f"{run}/{delivery.id}/{delivery.attempts_made}/{kind}",
        kind=kind,
        id=event.id,
        type=event.type,
        tenant=event.tenant,
        timestamp=event.timestamp,
        channels=event.channels,
        webhook_id=delivery.webhook_id,
        delivery=delivery.id,
        channel=delivery.channel,
        target=delivery.target,
        reason=delivery.reason,
        attempts=delivery.attempts_made,
        status_code=last.status_code if last else None,
        error=last.error if last else None,
        text=_latest_response(delivery)[:MAX_EXCERPT_CHARACTERS],
    )


async def send_alert(alert: Alert) -> None:
    """Send an alert to all its recipients; it is given up after some hours."""
    try:
        await run_until_done(
            AlertActivities.send_alert,
            alert,
            is_expected=_is_given_up,
            task_queue=task_queues.retry_queue(workflow.info().task_queue),
            schedule_to_close_timeout=ALERT_TIMEOUT,
            start_to_close_timeout=timedelta(minutes=2),
            heartbeat_timeout=timedelta(seconds=60),
            retry_policy=ALERT_RETRIES,
            priority=Priority(fairness_key=alert.tenant),
            summary=summaries.alert_summary(alert),
        )
    except ActivityError as error:
        if isinstance(error.cause, CancelledError):
            return
        workflow.logger.warning("alert given up: %r", error.cause)


def _is_given_up(error: ActivityError) -> bool:
    cause = error.cause
    has_failed_too_often = isinstance(cause, ApplicationError) and cause.type == error_types.ALERT_GIVEN_UP
    return has_failed_too_often or error.retry_state == RetryState.TIMEOUT


def _latest_response(delivery: Delivery) -> str:
    """Return the latest response: the receiver's, or that of the mail provider that could not deliver an email."""
    lost = [receipt for receipt in delivery.receipts if receipt.kind in delivery_status.LOST]
    if lost and delivery.reason == delivery_status.LOST[lost[-1].kind]:
        return f"{lost[-1].kind} for {lost[-1].address}: {lost[-1].detail}"
    return delivery.attempts[-1].response_excerpt if delivery.attempts else ""
