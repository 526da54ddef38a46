"""Record the results of a batch in the health of its webhooks, after all its attempts.

If the registry is unreachable then, the activity is retried, continues from the outcomes in its heartbeats, and records
them. So each batch is recorded at least once; `hookkeeper.registry.health` explains why twice does no harm.
"""

from collections.abc import Mapping
from datetime import timedelta

import structlog
from temporalio import activity

from activities.pacing import throttled_for
from hookkeeper.messages.batch import AttemptRequest, BatchResult, DeliveryBatch
from hookkeeper.outcomes import Outcome
from hookkeeper.registry.health import RequestResult, needs_recording
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.temporal.webhook_workflows import Probes

log = structlog.get_logger("hookkeeper.delivery")


class HealthRecorder:
    def __init__(self, store: Store, disable_after: timedelta | None, probes: Probes | None = None) -> None:
        """`disable_after`: time of nothing but failures, for webhooks without a setting of their own; None is never."""
        self._store = store
        self._disable_after = disable_after.total_seconds() if disable_after else None
        self._probes = probes

    async def record(
        self, batch: DeliveryBatch, result: BatchResult, before: Mapping[str, Webhook], offset: timedelta
    ) -> BatchResult:
        """Record the outcomes of the batch; mark those whose webhook was disabled by them.

        `before` are the webhooks as they were before their attempts, as far as this try of the activity has read them.
        `offset` is that of Temporal's clock.
        """
        pairs = zip(batch.attempts, result.outcomes, strict=True)
        results = [_result(request, outcome, before.get(request.webhook_id), offset) for request, outcome in pairs]
        changes = [change for change in results if change]
        if not changes:
            return result
        activity.heartbeat(*result.outcomes)  # they are known, whether this write succeeds or not
        again = activity.info().attempt > 1
        disabled = await self._store.health.record(changes, self._disable_after, again=again)
        for webhook_id, reason in disabled.items():
            log.warning("webhook disabled", webhook=webhook_id, tenant=batch.tenant, reason=reason)
            if reason == "failing" and self._probes:
                await self._probes.start(batch.tenant, webhook_id)
        return _with_disabled(batch, result, disabled)


def _result(
    request: AttemptRequest, outcome: Outcome, before: Webhook | None, offset: timedelta
) -> RequestResult | None:
    """Return what the outcome shows of the webhook's health; None if no request was made, or nothing has changed."""
    if outcome.started_at is None or outcome.verdict == "bad_template":
        return None
    at = outcome.started_at + timedelta(milliseconds=outcome.duration_ms) + offset
    if outcome.verdict == "succeeded":
        if before and not needs_recording(before, at):
            return None
        return RequestResult(request.webhook_id, "succeeded", at, knowingly=bool(before and before.throttled_until))
    if outcome.verdict == "gone":
        return RequestResult(request.webhook_id, "gone", at)
    throttle = throttled_for(before, outcome)
    until = at + timedelta(seconds=throttle) if throttle else None
    return RequestResult(request.webhook_id, "timed_out" if outcome.error == "timeout" else "failed", at, until)


def _with_disabled(batch: DeliveryBatch, result: BatchResult, disabled: Mapping[str, object]) -> BatchResult:
    if not disabled:
        return result
    pairs = zip(batch.attempts, result.outcomes, strict=True)
    return BatchResult(
        outcomes=tuple(
            outcome.model_copy(update={"disabled": True}) if request.webhook_id in disabled else outcome
            for request, outcome in pairs
        )
    )
