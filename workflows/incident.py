"""The incident of a webhook: tell its owner and the operator that it fails, and that it works again.

A run is started at the first failure. It looks at the webhook when the failures are worth an alert, when a signal asks
for it, and when a reminder or a warning is due. What it has alerted is in the row of the webhook, so each look decides
anew (`hookkeeper.registry.alerts`), and a run that was lost costs nothing but time.

An alert is sent while the looks go on: a recipient that cannot be reached must not delay the news for others. A newer
alert replaces the one that is being sent, also for the recipients that the older one has not reached.

This code is permanent, like that of `workflows.event`.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority

from activities.incident import IncidentActivities
from hookkeeper import task_queues, temporal_names
from hookkeeper.messages.alert import Alert, IncidentInput, IncidentLook, IncidentStep
from hookkeeper.wording import duration
from workflows import timers
from workflows.activities import run_until_done
from workflows.alerts import send_alert

MAX_HISTORY = 2_000
"""Events after which an incident continues as a new run, once no alert is being sent."""


@workflow.defn(name=temporal_names.INCIDENT)
class IncidentWorkflow:
    def __init__(self) -> None:
        self._is_asked = False
        self._looks = 0
        self._sending: asyncio.Task[None] | None = None

    @workflow.run
    async def run(self, incident: IncidentInput) -> None:
        """Look at the webhook and alert until it works again, is disabled, or is deleted."""
        wait: float | None = incident.wait
        while wait is not None or self._is_sending or self._is_asked:
            await self._wait(wait)
            if self._has_long_history and not self._is_sending:
                workflow.continue_as_new(incident.model_copy(update={"wait": 0.0}))
            step = await self._look(incident)
            if step.alert:
                self._send(step.alert)
            wait = step.wait

    @workflow.signal(name=temporal_names.LOOK, description="Look at the webhook now.")
    def look(self) -> None:
        self._is_asked = True

    @property
    def _is_sending(self) -> bool:
        return self._sending is not None and not self._sending.done()

    @property
    def _has_long_history(self) -> bool:
        return workflow.info().get_current_history_length() > MAX_HISTORY

    async def _wait(self, wait: float | None) -> None:
        """Wait for the next look. If nothing more is expected, look again once the last alert is sent."""
        if wait is None:
            await workflow.wait_condition(lambda: self._is_asked or not self._is_sending)
        elif wait:
            await timers.passes(timedelta(seconds=wait), f"look again in {duration(wait)}", lambda: self._is_asked)

    async def _look(self, incident: IncidentInput) -> IncidentStep:
        self._is_asked = False
        self._looks += 1
        token = f"{workflow.info().run_id}/{self._looks}"
        return await run_until_done(
            IncidentActivities.look_at_webhook,
            IncidentLook(webhook_id=incident.webhook_id, tenant=incident.tenant, token=token),
            task_queue=task_queues.retry_queue(workflow.info().task_queue),
            start_to_close_timeout=timedelta(seconds=30),
            priority=Priority(fairness_key=incident.tenant),
            summary=f"look at {incident.webhook_id}",
        )

    def _send(self, alert: Alert) -> None:
        if self._sending is not None:
            self._sending.cancel()
        self._sending = asyncio.create_task(send_alert(alert))
