"""Make the attempts of a batch, for all channels. An attempt whose outcome is known is not made again.

Outcomes travel in the activity's heartbeats, so that a retry after a worker was killed, or after an internal error,
continues from them. A retry in the same process joins the work that is still running (`activities.recent_batches`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from typing import Any

import structlog
from temporalio import activity
from temporalio.client import Client

from activities.attempts import BatchContext, PreparedAttempt, clock_offset
from activities.event_data import EventData
from activities.heartbeat import heartbeating
from activities.memory_budget import WorkerMemory
from activities.recent_batches import RecentBatches, SharedBatch
from activities.tenant_concurrency import TenantConcurrency
from activities.traced import traced
from hookkeeper import metrics, tracing
from hookkeeper.content.context import OutgoingEvent
from hookkeeper.content.errors import ContentError
from hookkeeper.messages.batch import AttemptRequest, BatchResult, DeliveryBatch
from hookkeeper.outcomes import Outcome
from hookkeeper.registry.alerts import has_recovered
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.targets import channel_of

MAX_CONCURRENT_ATTEMPTS = 100
"""Of one batch."""
log = structlog.get_logger("hookkeeper.delivery")
MakeAttempt = Callable[[PreparedAttempt], Awaitable[Outcome]]
"""Returns the outcome. Raises `ContentError` for an error in the webhook's templates, and internal errors."""
AfterBatch = Callable[[DeliveryBatch, BatchResult, Mapping[str, Webhook], timedelta], Awaitable[BatchResult]]
"""Acts on the outcomes, and returns the result with what that has changed. Runs again if the activity is retried.

It gets the webhooks as they were before the attempts, as far as this try of the activity has read them, and how far
Temporal's clock is ahead of this machine's.
"""


class BatchRunner:
    """Runs batches. Each attempt reads its webhook, so a corrected URL or a rotated secret counts at once."""

    def __init__(
        self,
        store: Store,
        temporal: Client,
        concurrency: TenantConcurrency,
        memory: WorkerMemory,
        *,
        always_alert: bool = False,
    ) -> None:
        """`always_alert`: the operator wants an alert of every failure, whatever the webhook's settings are."""
        self._store = store
        self._concurrency = concurrency
        self._memory = memory
        self._data = EventData(temporal)
        self._always_alert = always_alert
        self._recent: RecentBatches[BatchResult] = RecentBatches()

    async def run(
        self, batch: DeliveryBatch, make_attempt: MakeAttempt, after_batch: AfterBatch | None = None
    ) -> BatchResult:
        """Make every attempt of the batch; return one outcome for each, in their order.

        Raises only for internal errors (`RegistryUnavailable`, Temporal is unreachable), and if the tenant is at its
        concurrency limit.
        """
        offset = clock_offset()

        async def work(shared: SharedBatch[BatchResult]) -> BatchResult:
            webhooks = await self._make_attempts(batch, shared, offset, make_attempt)
            result = BatchResult(outcomes=tuple(shared.outcomes[request.delivery] for request in batch.attempts))
            return await after_batch(batch, result, webhooks, offset) if after_batch else result

        with self._concurrency.slot(batch.tenant):
            shared, working = self._recent.join(batch.tenant, _heartbeat_outcomes(), work)
            # Heartbeats continue after a cancellation: an attempt can take longer than the heartbeat timeout.
            async with heartbeating(shared.outcomes.values):
                return await shared.wait_for(working)

    async def _make_attempts(
        self, batch: DeliveryBatch, shared: SharedBatch[BatchResult], offset: timedelta, make_attempt: MakeAttempt
    ) -> Mapping[str, Webhook]:
        """Make the attempts whose outcomes are not known yet; return their webhooks, as they were before."""
        requests = [request for request in batch.attempts if request.delivery not in shared.outcomes]
        if not requests:
            return {}
        data = batch.data if batch.data_inline else await self._data.of_this_run()
        with self._memory.event_data(batch.tenant, data):
            webhooks = await self._store.many([request.webhook_id for request in requests], batch.tenant)
            event = OutgoingEvent(batch.id, batch.type, batch.tenant, batch.timestamp, data)
            context = BatchContext(batch, event, offset)
            slots = asyncio.Semaphore(MAX_CONCURRENT_ATTEMPTS)

            async def make(request: AttemptRequest) -> None:
                async with slots:
                    outcome = await self._outcome(request, webhooks.get(request.webhook_id), context, make_attempt)
                shared.outcomes[request.delivery] = outcome
                if len(shared.outcomes) < len(batch.attempts):  # the result itself reports the last one
                    shared.heartbeat()
                _log_attempt(batch, request, outcome)

            await every(make(request) for request in requests)
        return webhooks

    async def _outcome(
        self, request: AttemptRequest, webhook: Webhook | None, context: BatchContext, make_attempt: MakeAttempt
    ) -> Outcome:
        if webhook is None:
            return Outcome(delivery=request.delivery, verdict="webhook_deleted")
        can_be_held = request.trigger == "scheduled" or request.postponed
        if can_be_held and not webhook.enabled:
            return Outcome(delivery=request.delivery, verdict="held")
        if can_be_held and webhook.paused_at:
            return Outcome(delivery=request.delivery, verdict="held", held_by="webhook_paused")
        attempt = PreparedAttempt(request, webhook, context)
        try:
            outcome = await traced(make_attempt, attempt)
        except ContentError as error:
            outcome = attempt.bad_template(error)
        if not (self._always_alert or webhook.on_failure is not None):
            return outcome
        recovered = outcome.verdict == "succeeded" and has_recovered(webhook, request.delivery)
        return outcome.model_copy(update={"alerts": True, "recovered": recovered})


def _heartbeat_outcomes() -> dict[str, Outcome]:
    """Return the outcomes that an earlier try of this activity has reported."""
    details = activity.info().heartbeat_details
    return {outcome.delivery: outcome for outcome in map(Outcome.model_validate, details)}


async def every(attempts: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for every attempt, then raise the first internal error, so that no attempt in flight is dropped."""
    results = await asyncio.gather(*attempts, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def _log_attempt(batch: DeliveryBatch, request: AttemptRequest, outcome: Outcome) -> None:
    seconds = outcome.duration_ms / 1000 if outcome.started_at else None
    metrics.count_attempt(channel_of(request.delivery), outcome.verdict, outcome.error, seconds)
    log.info(
        "attempt",
        tenant=batch.tenant,
        event_id=batch.id,
        event_type=batch.type,
        delivery=request.delivery,
        attempt=request.number,
        trigger=request.trigger,
        verdict=outcome.verdict,
        status_code=outcome.status_code,
        error=outcome.error,
        duration_ms=outcome.duration_ms,
        target=outcome.target,
        run_id=activity.info().workflow_run_id,
        trace_id=tracing.trace_id_of(batch.traceparent),
    )
