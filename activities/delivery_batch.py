"""Make the attempts of batches, for all channels. An attempt whose outcome is known is not made again.

Outcomes travel in the activity's heartbeats, so that a retry after a worker was killed, or after an internal error,
continues from them. A retry in the same process joins the work that is still running (`activities.recent_batches`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from activities import internal_errors
from activities.attempts import BatchContext, PreparedAttempt, clock_offset
from activities.event_data import EventData
from activities.heartbeat import heartbeating
from activities.memory_budget import WorkerMemory
from activities.recent_batches import BatchProgress, RecentBatches, reported_outcomes
from activities.tenant_concurrency import TenantConcurrency
from activities.tenant_part import Results, TenantPart
from activities.traced import traced
from hookkeeper import metrics, task_queues, tracing
from hookkeeper.asyncio_tasks import wait_for_all
from hookkeeper.content.context import OutgoingEvent
from hookkeeper.content.errors import ContentError
from hookkeeper.error_types import TENANT_AT_LIMIT
from hookkeeper.messages.batch import AttemptRequest, BatchResult, DeliveryBatch
from hookkeeper.outcomes import Outcome
from hookkeeper.registry.alerts import has_recovered
from hookkeeper.registry.index.writing import AcceptedEvent
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.targets import channel_of
from hookkeeper.registry.webhook_reads import FoundWebhooks
from hookkeeper.temporal.run_state import find_own_run

MAX_CONCURRENT_ATTEMPTS = 100
"""Attempts of one tenant in one activity."""
log = structlog.get_logger("hookkeeper.delivery")
MakeAttempt = Callable[[PreparedAttempt], Awaitable[Outcome]]
"""Returns the outcome. Raises `ContentError` for an error in the webhook's templates, and internal errors."""
AfterBatches = Callable[
    [Sequence[DeliveryBatch], Sequence[BatchResult], Mapping[str, Webhook], timedelta], Awaitable[Sequence[BatchResult]]
]
"""Acts on the outcomes of a tenant's batches, and returns the results with what that has changed. Runs again if the
activity is retried.

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
        heartbeat_delay: timedelta,
        always_alert: bool = False,
    ) -> None:
        """`heartbeat_delay`: time from an outcome to the heartbeat that reports it.

        `always_alert`: the operator wants an alert of every failure, whatever the webhook's settings are.
        """
        self._store = store
        self._concurrency = concurrency
        self._memory = memory
        self._temporal = temporal
        self._data = EventData(temporal)
        self._always_alert = always_alert
        self._recent: RecentBatches[Results] = RecentBatches(heartbeat_delay)

    async def run(
        self, batch: DeliveryBatch, make_attempt: MakeAttempt, after_batches: AfterBatches | None = None
    ) -> BatchResult:
        """Make every attempt of the batch; return one outcome for each, in their order.

        Raises only for internal errors that prevent all of it (`RegistryUnavailable`, Temporal is unreachable), and if
        the tenant is at its concurrency limit.
        """
        tenant, offset, targets = batch.tenant, clock_offset(), len(batch.attempts)

        async def work(progress: BatchProgress[Results]) -> Results:
            part = TenantPart(tenant, {0: batch}, progress, offset, targets)
            webhooks = await self._webhooks([part], tenant)
            results = await self._work_on(part, webhooks, make_attempt, after_batches)
            _raise_unless_put_off([part], is_alone=targets == 1)
            return Results(tuple(results.values()))

        with self._concurrency.slot(tenant):
            ((result,), _) = await self._share(tenant, work)
        assert result is not None
        return result

    async def run_together(
        self,
        batches: Sequence[DeliveryBatch],
        make_attempt: MakeAttempt,
        after_batches: AfterBatches,
        *,
        is_rest: bool = False,
    ) -> Results:
        """Make every attempt of the batches, which may be of several tenants. The data of all is inline.

        A tenant that is at its limit, of slots or of memory, does not delay the others: the results of its batches are
        None, unless a try of this activity has made some of their attempts. If there are no others, neither in this
        activity nor before (`is_rest`), it raises, as `run` does. An event whose row names another run is left to that.
        """
        offset, targets = clock_offset(), sum(len(batch.attempts) for batch in batches)
        by_tenant: dict[str, dict[int, DeliveryBatch]] = {}
        for number, batch in enumerate(batches):
            by_tenant.setdefault(batch.tenant, {})[number] = batch
        sharer = task_queues.tenant_or_several(by_tenant)
        delays_others = is_rest or len(by_tenant) > 1

        async def work(progress: BatchProgress[Results]) -> Results:
            moved = await self._moved(batches, progress)
            parts = [
                TenantPart(tenant, rest, progress, offset, targets, is_together=True)
                for tenant, of_one in by_tenant.items()
                if (rest := {number: batch for number, batch in of_one.items() if number not in moved})
            ]
            results, delays = await self._work_on_all(
                parts, sharer, make_attempt, after_batches, delays_others=delays_others
            )
            _raise_unless_put_off(parts, is_alone=False)
            results = {**results, **dict.fromkeys(moved, BatchResult(moved=True))}
            return Results(tuple(results.get(number) for number in range(len(batches))), max(delays, default=None))

        return await self._share(sharer, work)

    async def _moved(self, batches: Sequence[DeliveryBatch], progress: BatchProgress[Results]) -> set[int]:
        """Return the batches of events that are in another run than this one, which was started late.

        An event without a row is attempted: the registry has lost it. So is one whose own run does not exist: Temporal
        was restored.
        """
        attempted = {number for number, _ in progress.outcomes}
        keys = {number: (batch.tenant, batch.id) for number, batch in enumerate(batches) if number not in attempted}
        elsewhere = await self._store.rows.in_other_runs(keys.values(), activity.info().workflow_id or "")
        return {number for number, key in keys.items() if key in elsewhere and await self._has_run(elsewhere[key])}

    async def _has_run(self, event: AcceptedEvent) -> bool:
        if event.shared_run is not None:
            return True
        return await find_own_run(self._temporal, *event.key, event.accepted_at, event.digest) is not None

    async def _work_on_all(
        self,
        parts: Sequence[TenantPart],
        sharer: str,
        make_attempt: MakeAttempt,
        after_batches: AfterBatches,
        *,
        delays_others: bool,
    ) -> tuple[Mapping[int, BatchResult], Sequence[float]]:
        """Work for several tenants at once; return the results by number, and after how many seconds each tenant that
        is at its limit should have a free slot. Raises for such a tenant unless it delays others.
        """
        results: dict[int, BatchResult] = {}
        delays: list[float] = []

        async def work_for(part: TenantPart) -> None:
            try:
                with of_tenant(part.tenant):
                    results.update(await self._work_on(part, webhooks, make_attempt, after_batches))
            except ApplicationError as error:
                if error.type != TENANT_AT_LIMIT or part.has_outcomes or not delays_others:
                    raise
                delays.append((error.next_retry_delay or timedelta()).total_seconds())

        with self._concurrency.shared_slot() as of_tenant:
            webhooks = await self._webhooks(parts, sharer)
            await wait_for_all(work_for(part) for part in parts)
        return results, delays

    async def _share(
        self, tenant: str, work: Callable[[BatchProgress[Results]], Coroutine[Any, Any, Results]]
    ) -> Results:
        """Return the results of the work of the present activity, which all its tries in this process share."""
        progress, working = self._recent.join(tenant, reported_outcomes(), work)
        # Heartbeats continue after a cancellation: an attempt can take longer than the heartbeat timeout.
        async with heartbeating(progress.details):
            try:
                return await progress.wait_for(working)
            except BaseException:
                if progress.outcomes:
                    progress.heartbeat()
                raise

    async def _webhooks(self, parts: Iterable[TenantPart], sharer: str) -> FoundWebhooks:
        """Read the webhooks of all attempts whose outcomes are not known yet."""
        missing = [requests for part in parts for requests in part.missing().values()]
        ids = {request.webhook_id for requests in missing for request in requests}
        return await self._store.webhooks.many(ids, sharer) if ids else FoundWebhooks({}, {})

    async def _work_on(
        self,
        part: TenantPart,
        webhooks: FoundWebhooks,
        make_attempt: MakeAttempt,
        after_batches: AfterBatches | None,
    ) -> Mapping[int, BatchResult]:
        """Make the attempts of a tenant's batches whose outcomes are not known yet; return the results by number."""
        if missing := part.missing():
            await self._make_attempts(part, missing, webhooks, make_attempt)
        results: Sequence[BatchResult] = part.results()
        if after_batches:
            results = await self._after(part, results, webhooks, after_batches)
        return dict(zip(part.batches, results, strict=True))

    async def _after(
        self, part: TenantPart, results: Sequence[BatchResult], webhooks: FoundWebhooks, after_batches: AfterBatches
    ) -> Sequence[BatchResult]:
        try:
            return await after_batches([*part.batches.values()], results, webhooks.readable, part.clock_offset)
        except Exception:  # any error: events of other tenants go on
            if not (part.is_together and internal_errors.is_last_try()):
                raise
            log.exception("results do not count for the health of the webhooks", tenant=part.tenant)
            return results

    async def _make_attempts(
        self,
        part: TenantPart,
        missing: Mapping[int, Sequence[AttemptRequest]],
        webhooks: FoundWebhooks,
        make_attempt: MakeAttempt,
    ) -> None:
        events = {number: await self._event(part.batches[number]) for number in missing}
        with self._memory.event_data(part.tenant, [event.data for event in events.values()]):
            slots = asyncio.Semaphore(MAX_CONCURRENT_ATTEMPTS)

            async def make(number: int, request: AttemptRequest, context: BatchContext) -> None:
                async with slots:
                    try:
                        outcome = await self._outcome(request, webhooks.get(request.webhook_id), context, make_attempt)
                    except Exception as error:  # noqa: BLE001 - whatever it is, the other attempts are made
                        part.prevented[number, request.delivery] = error
                        internal_errors.note(context.message, request, error)
                        return
                part.progress.add((number, request.delivery), outcome)
                _log_attempt(context.message, request, outcome)

            contexts = {number: part.context(number, event) for number, event in events.items()}
            await wait_for_all(
                make(number, request, contexts[number]) for number, requests in missing.items() for request in requests
            )

    async def _event(self, batch: DeliveryBatch) -> OutgoingEvent:
        data = batch.data if batch.data_inline else await self._data.of_this_run()
        return OutgoingEvent(batch.id, batch.type, batch.tenant, batch.timestamp, data)

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


def _raise_unless_put_off(parts: Sequence[TenantPart], *, is_alone: bool) -> None:
    """Raise an internal error if no attempt of the activity was made, unless all are put off."""
    if not any(part.has_outcomes for part in parts):
        errors = [error for part in parts for error in part.prevented.values()]
        internal_errors.raise_unless_put_off(errors, is_alone=is_alone)


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
        connect_ms=outcome.connect_ms,
        first_byte_ms=outcome.first_byte_ms,
        target=outcome.target,
        run_id=activity.info().workflow_run_id,
        trace_id=tracing.trace_id_of(batch.traceparent),
    )
