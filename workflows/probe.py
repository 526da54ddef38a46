"""The run that probes a webhook which was disabled for failing: every so often a signed event, until it answers.

It looks at the webhook before each, so that it ends where somebody has enabled, disabled or deleted it, and goes on
where it is disabled for failing once more by then.

This code is for ever, as that of `workflows.event` is.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority

from activities.probe import ProbeActivities
from hookkeeper import ids
from hookkeeper.messages.alert import Alert
from hookkeeper.messages.probe import PROBE_EVENT_TYPE, ProbedWebhook, ProbeInput, ProbeRequest, ProbeResult
from hookkeeper.outcomes import Outcome
from workflows import summaries, timers
from workflows.activities import run_until_done
from workflows.telling import SHOWN, see_told

KNOCKS_A_RUN = 200
"""Of some ten events of history each; then it goes on as a new run."""


@workflow.defn(name=ids.PROBE)
class ProbeWorkflow:
    """One webhook that does not answer."""

    @workflow.run
    async def run(self, probe: ProbeInput) -> None:
        """Knock until it answers, or nobody wants to know."""
        for _ in range(KNOCKS_A_RUN):
            wait = f"knock again in {summaries.duration(probe.interval)}"
            await timers.sleep(timedelta(seconds=probe.interval), wait)
            knocked = await self._knock(probe)
            while knocked.state == "answers":
                await self._welcome(probe, knocked)
                knocked = await self._knock(probe)  # over, unless it has been disabled once more meanwhile
            if knocked.state == "over":
                return
            probe = probe.model_copy(update={"interval": knocked.interval})
        workflow.continue_as_new(probe)

    async def _knock(self, probe: ProbeInput) -> ProbeResult:
        event_id = f"evt_{workflow.uuid4().hex[:24]}"
        return await run_until_done(
            ProbeActivities.knock,
            ProbeRequest(webhook_id=probe.webhook_id, tenant=probe.tenant, event_id=event_id, at=workflow.now()),
            task_queue=ids.retry_queue(workflow.info().task_queue),
            start_to_close_timeout=timedelta(minutes=1),
            heartbeat_timeout=timedelta(seconds=10),
            priority=Priority(fairness_key=ids.fairness_key(probe.tenant, probe.webhook_id)),
            summary=f"knock at {probe.webhook_id}",
        )

    async def _welcome(self, probe: ProbeInput, knocked: ProbeResult) -> None:
        """Enable it, and tell whoever was told that it was disabled."""
        enabled = await run_until_done(
            ProbeActivities.enable,
            ProbedWebhook(webhook_id=probe.webhook_id, tenant=probe.tenant),
            task_queue=ids.retry_queue(workflow.info().task_queue),
            start_to_close_timeout=timedelta(seconds=20),
            priority=Priority(fairness_key=probe.tenant),
            summary=f"enable {probe.webhook_id}",
        )
        if enabled and knocked.outcome and knocked.outcome.alerts:
            await see_told(_alert_of(probe, knocked.event_id, knocked.outcome))


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
        text=outcome.response_excerpt[:SHOWN],
        probed=True,
    )
