"""The incident of a webhook: tell its owner and the operator that it fails, that deliveries have failed for good, and
that it works again; probe it while it is disabled.

A run is started at the first failure. It looks at the webhook when the failures are worth an alert, when a signal asks
for it, and when a reminder or a warning is due. What it has alerted is in the row of the webhook, so each look decides
anew (`hookkeeper.registry.webhooks.alerts`), and a run that was lost costs nothing but time.

Alerts are sent while the looks go on: a recipient that cannot be reached must not delay the news for others. A newer
alert about the webhook replaces the one that is being sent, also for the recipients that the older one has not reached.

This code is permanent, like that of `workflows.event`.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, RetryState

from activities.alerts import AlertActivities
from activities.incident import IncidentActivities
from activities.probe import ProbeActivities
from hookkeeper import error_types, task_queues, temporal_names
from hookkeeper.messages.alert import Alert, IncidentInput, IncidentLook, IncidentStep
from hookkeeper.wording import duration
from workflows import summaries, timers
from workflows.activities import run_until_done

MAX_HISTORY = 2_000
"""Events after which an incident continues as a new run, once no alert is being sent."""
ALERT_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=5),
    backoff_coefficient=4,
    maximum_interval=timedelta(hours=1),
)
"""Without a maximum of attempts: Temporal also counts those that failed because the tenant was at its concurrency
limit. The activity counts the attempts in which a recipient could not be reached, and gives up after ten."""
ALERT_TIMEOUT = timedelta(days=1)
"""An alert is given up after this in any case, so that it cannot keep its run open."""


@workflow.defn(name=temporal_names.INCIDENT)
class IncidentWorkflow:
    def __init__(self) -> None:
        self._is_asked = False
        self._steps = 0
        self._sending: list[asyncio.Task[None]] = []
        self._news: asyncio.Task[None] | None = None
        """Sends the latest alert about the webhook."""
        self._probe_timer: asyncio.Task[None] | None = None

    @workflow.run
    async def run(self, incident: IncidentInput) -> None:
        """Look at the webhook and alert until it works again, is disabled and not probed, or is deleted."""
        wait: float | None = incident.wait
        while wait is not None or self._is_sending or self._is_asked or self._probe_timer:
            await self._wait(wait)
            if self._is_probe_due:
                await self._probe(incident)
            if self._has_long_history and not self._is_sending:
                workflow.continue_as_new(incident.model_copy(update={"wait": 0.0}))
            step = await self._look(incident)
            if step.alert:
                self._send(step.alert)
            self._set_probe_timer(step.probe_after)
            wait = step.wait

    @workflow.signal(name=temporal_names.LOOK, description="Look at the webhook now.")
    def look(self) -> None:
        self._is_asked = True

    @property
    def _is_sending(self) -> bool:
        return not all(task.done() for task in self._sending)

    @property
    def _is_probe_due(self) -> bool:
        return self._probe_timer is not None and self._probe_timer.done()

    @property
    def _has_long_history(self) -> bool:
        return workflow.info().get_current_history_length() > MAX_HISTORY

    async def _wait(self, wait: float | None) -> None:
        """Wait for the next look. If nothing more is expected, look again once the last alert is sent."""
        if wait is None:
            await workflow.wait_condition(
                lambda: self._is_asked or self._is_probe_due or not (self._is_sending or self._probe_timer)
            )
        elif wait:
            passed = f"look again in {duration(wait)}"
            await timers.passes(timedelta(seconds=wait), passed, lambda: self._is_asked or self._is_probe_due)

    async def _look(self, incident: IncidentInput) -> IncidentStep:
        self._is_asked = False
        return await run_until_done(
            IncidentActivities.look_at_webhook,
            self._next_step(incident),
            task_queue=task_queues.retry_queue(workflow.info().task_queue),
            start_to_close_timeout=timedelta(seconds=30),
            priority=Priority(fairness_key=incident.tenant),
            summary=f"look at {incident.webhook_id}",
        )

    def _next_step(self, incident: IncidentInput) -> IncidentLook:
        self._steps += 1
        token = f"{workflow.info().run_id}/{self._steps}"
        return IncidentLook(webhook_id=incident.webhook_id, tenant=incident.tenant, token=token)

    def _set_probe_timer(self, interval: float | None) -> None:
        """Probe at this interval, however often the webhook is looked at meanwhile."""
        if interval is None and self._probe_timer:
            self._probe_timer.cancel()
            self._probe_timer = None
        elif interval is not None and self._probe_timer is None:
            wait = timers.sleep(timedelta(seconds=interval), f"probe in {duration(interval)}")
            self._probe_timer = asyncio.create_task(wait)

    async def _probe(self, incident: IncidentInput) -> None:
        self._probe_timer = None
        await run_until_done(
            ProbeActivities.probe_webhook,
            self._next_step(incident),
            task_queue=task_queues.retry_queue(workflow.info().task_queue),
            start_to_close_timeout=timedelta(minutes=1),
            heartbeat_timeout=timedelta(seconds=10),
            priority=Priority(fairness_key=task_queues.fairness_key(incident.tenant, incident.webhook_id)),
            summary=f"probe {incident.webhook_id}",
        )

    def _send(self, alert: Alert) -> None:
        self._sending = [task for task in self._sending if not task.done()]
        sending = asyncio.create_task(send_alert(alert))
        self._sending.append(sending)
        if alert.kind != "failed":
            if self._news:
                self._news.cancel()
            self._news = sending


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
