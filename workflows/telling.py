"""How a run tells of itself: search attributes for those who look, alerts for those who want to be told."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from activities.alerts import Alert, AlertActivities
from elements.context import AlertKind
from workflows import names, summaries
from workflows.models import Delivery, EventInput
from workflows.progress import Progress

PATIENCE = RetryPolicy(
    initial_interval=timedelta(seconds=5),
    backoff_coefficient=4,
    maximum_interval=timedelta(hours=1),
    maximum_attempts=10,
)
"""An alert that could not be sent for some five hours is given up: it must not keep its run open for ever."""

SHOWN = 500
"""Characters of what the receiver said last that an alert repeats."""


class Telling:
    """The part of `EventWorkflow` that speaks."""

    _event: EventInput
    _deliveries: dict[str, Progress]
    _trouble: list[str]
    _alerts: list[asyncio.Task[None]]
    _cancel_requested: bool

    def _tell(self, *deliveries: Progress) -> None:
        """Tell of what has come of these deliveries."""
        self._tell_trouble()
        for progress in deliveries:
            news = progress.take_news()
            if news and not self._cancel_requested:
                self._alerts.append(asyncio.create_task(self._alert(progress.record, news)))

    def _tell_trouble(self) -> None:
        """Let searches find the webhooks that a person may want to look at. Only on change: each upsert costs."""
        trouble = names.listed(each.delivery.webhook_id for each in self._deliveries.values() if each.is_troubled)
        if trouble != self._trouble:
            self._trouble = trouble
            update = names.TROUBLE.value_set(trouble) if trouble else names.TROUBLE.value_unset()
            workflow.upsert_search_attributes([update])

    async def _alert(self, delivery: Delivery, kind: AlertKind) -> None:
        event, last = self._event, delivery.attempts[-1]
        alert = Alert(
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
            status_code=last.status_code,
            error=last.error,
            text=last.response_excerpt[:SHOWN],
        )
        try:
            await workflow.execute_activity_method(
                AlertActivities.alert,
                alert,
                task_queue=names.retry_queue(workflow.info().task_queue),
                start_to_close_timeout=timedelta(minutes=2),
                heartbeat_timeout=timedelta(seconds=30),
                retry_policy=PATIENCE,
                summary=summaries.alert_summary(delivery, kind),
            )
        except ActivityError as error:
            workflow.logger.warning("alert given up: %r", error.cause)

    def _all_are_told(self) -> bool:
        return all(alert.done() for alert in self._alerts)

    def _stop_alerts(self) -> None:
        for alert in self._alerts:
            alert.cancel()
