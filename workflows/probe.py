"""Probe a webhook that was disabled for failing: send a signed test event at intervals, until it succeeds.

The webhook is read before each probe. Probing ends if the webhook was enabled, disabled by request or deleted, and
continues if it was disabled for failing again by then.

This code is permanent, like that of `workflows.event`.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority

from activities.probe import ProbeActivities
from hookkeeper import task_queues, temporal_names
from hookkeeper.messages.alert import Alert
from hookkeeper.messages.probe import PROBE_EVENT_TYPE, ProbeInput, ProbeRequest, ProbeResult
from hookkeeper.outcomes import Outcome
from hookkeeper.wording import duration
from workflows import timers
from workflows.activities import run_until_done
from workflows.alerts import MAX_EXCERPT_CHARACTERS, send_alert

PROBES_PER_RUN = 200
"""Each has about ten events of history; then the probe continues as a new run."""


@workflow.defn(name=temporal_names.PROBE)
class ProbeWorkflow:
    @workflow.run
    async def run(self, probe: ProbeInput) -> None:
        """Send probes until the webhook is enabled, or is not to be probed any more."""
        for _ in range(PROBES_PER_RUN):
            wait = f"probe again in {duration(probe.interval)}"
            await timers.sleep(timedelta(seconds=probe.interval), wait)
            result = await self._send(probe)
            while result.state == "recovered":
                await self._enable(probe, result)
                result = await self._send(probe)  # `obsolete`, unless the webhook has been disabled again meanwhile
            if result.state == "obsolete":
                return
            probe = probe.model_copy(update={"interval": result.interval})
        workflow.continue_as_new(probe)

    async def _send(self, probe: ProbeInput) -> ProbeResult:
        event_id = f"evt_{workflow.uuid4().hex[:24]}"
        return await run_until_done(
            ProbeActivities.send_probe,
            ProbeRequest(webhook_id=probe.webhook_id, tenant=probe.tenant, event_id=event_id, at=workflow.now()),
            task_queue=task_queues.retry_queue(workflow.info().task_queue),
            start_to_close_timeout=timedelta(minutes=1),
            heartbeat_timeout=timedelta(seconds=10),
            priority=Priority(fairness_key=task_queues.fairness_key(probe.tenant, probe.webhook_id)),
            summary=f"probe {probe.webhook_id}",
        )

    async def _enable(self, probe: ProbeInput, result: ProbeResult) -> None:
        """Enable the webhook, and alert those who were alerted that it was disabled."""
        enabled = await run_until_done(
            ProbeActivities.enable_webhook,
            probe,
            task_queue=task_queues.retry_queue(workflow.info().task_queue),
            start_to_close_timeout=timedelta(seconds=20),
            priority=Priority(fairness_key=probe.tenant),
            summary=f"enable {probe.webhook_id}",
        )
        if enabled and result.outcome and result.outcome.alerts:
            await send_alert(_alert_of(probe, result.event_id, result.outcome))


def _alert_of(probe: ProbeInput, event_id: str, outcome: Outcome) -> Alert:
    return Alert(
        token=f"{workflow.info().run_id}/{event_id}",
        kind="recovered",
        id=event_id,
        type=PROBE_EVENT_TYPE,
        tenant=probe.tenant,
        timestamp=workflow.now(),
        webhook_id=probe.webhook_id,
        delivery=probe.webhook_id,
        channel="webhook",
        target=outcome.target,
        attempts=1,
        status_code=outcome.status_code,
        text=outcome.response_excerpt[:MAX_EXCERPT_CHARACTERS],
        probed=True,
    )
