"""How a run tells of itself: search attributes for those who look, alerts for those who want to be told."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy, SearchAttributeKey, SearchAttributeUpdate
from temporalio.exceptions import ActivityError, ApplicationError, RetryState

from activities.alerts import GIVEN_UP, AlertActivities
from hookkeeper import ids
from hookkeeper.content.context import AlertKind
from hookkeeper.messages.alert import Alert
from hookkeeper.messages.event import Delivery, EventInput
from workflows import summaries
from workflows.activities import run_until_done
from workflows.progress import Progress
from workflows.tracking import LOST

ALERT_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=5),
    backoff_coefficient=4,
    maximum_interval=timedelta(hours=1),
)
"""Without a limit of attempts: Temporal counts those that found no place of their tenant as well. The activity counts
the tries in which a recipient could not be told, and gives up after ten."""
ALERT_TIMEOUT = timedelta(days=1)
"""An alert is given up after this in any case: it must not keep its run open without limit."""

ALERTS_PENDING = "All deliveries are final. The run stays open until its alerts are sent, or given up after some hours."
"""What the Temporal web UI says then."""

SHOWN = 500
"""Characters of what the receiver said last that an alert repeats."""


class Telling:
    """The part of `EventWorkflow` that speaks."""

    _event: EventInput
    _deliveries: dict[str, Progress]
    _needs_attention: list[str]
    _held: list[str]
    _alerts: dict[asyncio.Task[None], Alert]
    _cancel_requested: bool

    def _tell(self, *deliveries: Progress) -> None:
        """Tell of what has come of these deliveries."""
        self._update_search_attributes()
        for progress in deliveries:
            news = progress.take_news()
            if news and not self._cancel_requested:
                self._send(self._alert_of(progress.record, news))
        if not self._all_are_told() and all(progress.is_final for progress in self._deliveries.values()):
            workflow.set_current_details(ALERTS_PENDING)

    def _tell_what_was_left(self) -> None:
        for alert in self._event.untold:
            self._send(alert)

    def _update_search_attributes(self) -> None:
        """Let searches find the webhooks that a person may want to look at. Only on change: each upsert costs."""
        known = self._deliveries.values()
        needs_attention = ids.listed(each.delivery.webhook_id for each in known if each.needs_attention)
        held = ids.listed(each.delivery.webhook_id for each in known if each.held)
        updates: list[SearchAttributeUpdate[Sequence[str]]] = []
        if needs_attention != self._needs_attention:
            self._needs_attention = needs_attention
            updates.append(_listing(ids.NEEDS_ATTENTION, needs_attention))
        if held != self._held:
            self._held = held
            updates.append(_listing(ids.HELD, held))
        if updates:
            workflow.upsert_search_attributes(updates)

    def _alert_of(self, delivery: Delivery, kind: AlertKind) -> Alert:
        event = self._event
        last = delivery.attempts[-1] if delivery.attempts else None
        return Alert(
            token=f"{workflow.info().run_id}/{delivery.id}/{delivery.attempts_made}/{kind}",
            kind=kind,
            id=event.id,
            type=event.type,
            tenant=event.tenant,
            timestamp=event.timestamp,
            webhook_id=delivery.webhook_id,
            delivery=delivery.id,
            channel=delivery.channel,
            target=delivery.target,
            reason=delivery.reason,
            attempts=delivery.attempts_made,
            status_code=last.status_code if last else None,
            error=last.error if last else None,
            text=_last_words(delivery)[:SHOWN],
        )

    def _send(self, alert: Alert) -> None:
        self._alerts[asyncio.create_task(see_told(alert))] = alert

    def _all_are_told(self) -> bool:
        return all(task.done() for task in self._alerts)

    def _stop_alerts(self) -> None:
        for task in self._alerts:
            task.cancel()

    def _untold(self) -> tuple[Alert, ...]:
        """Give the alerts that are still on their way."""
        return tuple(alert for task, alert in self._alerts.items() if not task.done())


async def see_told(alert: Alert) -> None:
    """Tell those who want to know; give up after some hours."""
    try:
        await run_until_done(
            AlertActivities.alert,
            alert,
            is_expected=_is_given_up,
            task_queue=ids.retry_queue(workflow.info().task_queue),
            schedule_to_close_timeout=ALERT_TIMEOUT,
            start_to_close_timeout=timedelta(minutes=2),
            heartbeat_timeout=timedelta(seconds=60),
            retry_policy=ALERT_RETRIES,
            priority=Priority(fairness_key=alert.tenant),
            summary=summaries.alert_summary(alert),
        )
    except ActivityError as error:
        workflow.logger.warning("alert given up: %r", error.cause)


def _is_given_up(error: ActivityError) -> bool:
    cause = error.cause
    has_failed_too_often = isinstance(cause, ApplicationError) and cause.type == GIVEN_UP
    return has_failed_too_often or error.retry_state == RetryState.TIMEOUT


def _listing(key: SearchAttributeKey[Sequence[str]], webhooks: list[str]) -> SearchAttributeUpdate[Sequence[str]]:
    return key.value_set(webhooks) if webhooks else key.value_unset()


def _last_words(delivery: Delivery) -> str:
    """Give what was said last: by the receiver, or by the mail provider that could not hand an email over."""
    lost = [each for each in delivery.receipts if each.kind in LOST]
    if lost and delivery.reason == LOST[lost[-1].kind]:
        return f"{lost[-1].kind} for {lost[-1].address}: {lost[-1].detail}"
    return delivery.attempts[-1].response_excerpt if delivery.attempts else ""
