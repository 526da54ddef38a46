"""Make the attempts of a batch, for all channels. An attempt whose outcome is known is not made again.

Outcomes travel in the activity's heartbeats, so that a retry after a worker was killed, or after an internal error,
continues from them. A retry in the same process joins the work that is still running (`activities.recent_batches`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from activities import internal_errors
from activities.attempts import BatchContext, EventData, PreparedAttempt, clock_offset, traced
from activities.heartbeat import heartbeating
from activities.memory_budget import WorkerMemory
from activities.recent_batches import BatchProgress, OutcomeKey, Outcomes, RecentBatches
from activities.tenant_concurrency import TenantConcurrency
from hookkeeper import metrics, task_queues, tracing
from hookkeeper.asyncio_tasks import stop, wait_for_all
from hookkeeper.content.errors import ContentError
from hookkeeper.error_types import TENANT_AT_LIMIT
from hookkeeper.kinds import kind_of
from hookkeeper.messages.batch import AttemptRequest, BatchResult, DeliveryBatch, EventAttempts, Ongoing
from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.messages.rows import EventRow
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.reads import FoundWebhooks, LostWebhook
from hookkeeper.temporal.events.run_state import find_own_run
from hookkeeper.temporal.events.shared_runs import find_shared_run

ACTING_INTERVAL = 1.0
"""Seconds after which outcomes count for the health of their webhooks, while other attempts of their batch last."""
AT_ONCE = 0.5
"""Seconds for attempts in a local activity, which holds the workflow task: commands to the run wait for it."""
MAX_CONCURRENT_ATTEMPTS = 100
"""Attempts of one tenant in one activity."""
log = structlog.get_logger("hookkeeper.delivery")
MakeAttempt = Callable[[PreparedAttempt], Awaitable[Outcome]]
"""Returns the outcome. Raises `ContentError` for an error in the webhook's templates, and internal errors."""


class Made(NamedTuple):
    """An attempt that was made, or was not possible."""

    event_id: str
    request: AttemptRequest
    outcome: Outcome


OF_ATTEMPT = Attempt.model_fields.keys() & Outcome.model_fields.keys()
"""The fields of an outcome that rows keep with the attempt."""
AfterAttempts = Callable[[str, Sequence[Made], Mapping[str, Webhook], timedelta], Awaitable[None]]
"""Acts on attempts of a tenant, once on each, and again if the activity is retried.

It gets the webhooks as they were before the attempts, as far as this try of the activity has read them, and how far
Temporal's clock is ahead of this machine's.
"""
Numbers = Sequence[int]
"""The places of events in their batch."""


@dataclass(frozen=True, slots=True)
class BatchTry:
    """One try of an activity: what is known of its attempts."""

    batch: DeliveryBatch
    progress: BatchProgress
    clock_offset: timedelta
    prevented: dict[OutcomeKey, Exception] = field(default_factory=dict)
    """The internal errors of attempts that could not be made in this try."""

    def by_tenant(self, left_out: Collection[int]) -> dict[str, list[int]]:
        """Return the events of each tenant, without those that are left out."""
        of: dict[str, list[int]] = {}
        for number, event in enumerate(self.batch.events):
            if number not in left_out:
                of.setdefault(event.tenant, []).append(number)
        return of

    def has_outcomes(self, numbers: Numbers) -> bool:
        """Return whether an attempt of these events was made by this or an earlier try."""
        return any(number in numbers for number, _ in self.progress.outcomes)

    def missing(self, numbers: Iterable[int]) -> list[tuple[int, AttemptRequest]]:
        """Return the attempts of these events whose outcomes are not known."""
        known = self.progress.outcomes
        return [
            (number, request)
            for number in numbers
            for request in self.batch.events[number].attempts
            if (number, request.delivery) not in known
        ]

    def made(self, numbers: Numbers, left_out: Collection[OutcomeKey] = ()) -> dict[OutcomeKey, Made]:
        """Return the attempts of these events that have ended, without those that are left out.

        An attempt that is prevented is put off.
        """
        now = datetime.now(UTC) + self.clock_offset
        found: dict[OutcomeKey, Made] = {}
        for number in numbers:
            event = self.batch.events[number]
            for request in event.attempts:
                key = number, request.delivery
                outcome = self.progress.outcomes.get(key)
                if outcome is None and key in self.prevented:
                    outcome = internal_errors.put_off(request.delivery, self.prevented[key], now)
                if outcome is not None and key not in left_out:
                    found[key] = Made(event.id, request, outcome)
        return found

    def outcomes(self, number: int) -> tuple[Outcome, ...]:
        """Return the outcomes of an event whose attempts have all ended."""
        return tuple(made.outcome for made in self.made([number]).values())

    def raise_unless_put_off(self, numbers: Numbers) -> None:
        """Raise an internal error if none of these attempts was made, unless all are put off."""
        if not self.has_outcomes(numbers):
            is_alone = self.batch.targets == 1 and not self.batch.is_shared
            internal_errors.raise_unless_put_off([*self.prevented.values()], is_alone=is_alone)


class BatchRunner:
    """Runs batches. Each attempt reads its webhook, so a corrected URL or a rotated secret counts at once."""

    def __init__(
        self,
        store: Store,
        temporal: Client,
        concurrency: TenantConcurrency,
        memory: WorkerMemory,
        after: AfterAttempts,
        *,
        heartbeat_delay: timedelta,
        process_queue: str,
        always_alert: bool = False,
    ) -> None:
        """`heartbeat_delay`: time from an outcome to the heartbeat that reports it.

        `process_queue`: the task queue of this process.

        `always_alert`: the operator wants an alert of every failure, whatever the webhook's settings are.
        """
        self._store = store
        self._concurrency = concurrency
        self._memory = memory
        self._temporal = temporal
        self._after_attempts = after
        self._data = EventData(temporal)
        self._always_alert = always_alert
        self._recent = RecentBatches(heartbeat_delay)
        self._process_queue = process_queue

    async def run(self, batch: DeliveryBatch, make_attempt: MakeAttempt) -> BatchResult:
        """Make every attempt of the batch, whose events may be of several tenants.

        Raises only for internal errors that prevent all of it (`RegistryUnavailable`, Temporal is unreachable), and if
        the tenant is at its limit, of slots or of memory. It does not delay others: if the batch has events of other
        tenants, or other events of the run were attempted before (`is_rest`), its events have no outcomes, unless a try
        of this activity has made some of their attempts.
        """
        offset = clock_offset()

        async def work(progress: BatchProgress) -> BatchResult:
            this = BatchTry(batch, progress, offset)
            if batch.is_repeated:
                progress.outcomes |= {**await self._recorded(batch), **progress.outcomes}
            moved = await self._moved(this) if batch.is_shared else set()
            made, delays = await self._work(this, this.by_tenant(moved), make_attempt)
            this.raise_unless_put_off(range(len(batch.events)))
            made |= dict.fromkeys(moved, ())
            return BatchResult(
                outcomes=tuple(made.get(number) for number in range(len(batch.events))),
                moved=tuple(sorted(moved)),
                retry_after=max(delays, default=None),
            )

        progress = self._recent.of_this_activity(batch.targets, batch.begun_by)
        if (info := activity.info()).is_local:
            result = await progress.begin(work, AT_ONCE)
            return result or BatchResult(ongoing=Ongoing(task_queue=self._process_queue, activity_id=info.activity_id))
        # Heartbeats continue after a cancellation: an attempt can take longer than the heartbeat timeout.
        async with heartbeating(progress.details):
            try:
                return await progress.share(work)
            except BaseException:
                if progress.outcomes:
                    progress.heartbeat()
                raise

    async def _recorded(self, batch: DeliveryBatch) -> Outcomes:
        """Return the outcomes of attempts that have succeeded, as rows say, which Temporal was not told."""
        run_id = activity.info().workflow_run_id
        found: dict[OutcomeKey, Outcome] = {}
        for number, event in enumerate(batch.events):
            snapshot = await self._store.rows.read(event.tenant, event.id)
            if snapshot is None or snapshot.row.run_id != run_id:
                continue  # an earlier run has recorded them: this one was redelivered, or reset
            requested = {request.delivery for request in event.attempts}
            for delivery in snapshot.state.deliveries:
                if delivery.id in requested and delivery.status == "succeeded" and delivery.attempts:
                    found[number, delivery.id] = _outcome_of(delivery)
        return found

    async def _moved(self, this: BatchTry) -> set[int]:
        """Return the events that are in another run than this one, which was started late.

        An event without a row is attempted: the registry has lost it. So is one whose other run does not exist:
        Temporal was restored.
        """
        attempted = {number for number, _ in this.progress.outcomes}
        events = enumerate(this.batch.events)
        keys = {number: (event.tenant, event.id) for number, event in events if number not in attempted}
        elsewhere = await self._store.rows.in_other_runs(keys.values(), activity.info().workflow_id or "")
        return {number for number, key in keys.items() if key in elsewhere and await self._has_run(elsewhere[key])}

    async def _has_run(self, event: EventRow) -> bool:
        if event.shared_run is not None:
            run = await find_shared_run(self._temporal, event.shared_run)
            return run is not None and run.event(*event.name) is not None
        return await find_own_run(self._temporal, *event.name, event.accepted_at) is not None

    async def _work(
        self, this: BatchTry, tenants: Mapping[str, Numbers], make_attempt: MakeAttempt
    ) -> tuple[dict[int, tuple[Outcome, ...]], Sequence[float]]:
        """Work for several tenants at once; return the outcomes by event, and after how many seconds each tenant that
        is at its limit should have a free slot. Raises for such a tenant unless it delays others.
        """
        outcomes: dict[int, tuple[Outcome, ...]] = {}
        delays: list[float] = []
        delays_others = this.batch.is_rest or len({event.tenant for event in this.batch.events}) > 1

        async def work_for(tenant: str, numbers: Numbers) -> None:
            try:
                with tenant_slot(tenant):
                    webhooks = of_all or await self._webhooks(this, numbers, tenant)
                    await self._attempt(this, tenant, numbers, webhooks, make_attempt)
                    outcomes.update((number, this.outcomes(number)) for number in numbers)
            except ApplicationError as error:
                if error.type != TENANT_AT_LIMIT or this.has_outcomes(numbers) or not delays_others:
                    raise
                delays.append((error.next_retry_delay or timedelta()).total_seconds())

        with self._concurrency.shared_slot() as tenant_slot:
            numbers = [number for of_one in tenants.values() for number in of_one]
            sharer = task_queues.tenant_or_several(tenants)
            of_all = await self._webhooks(this, numbers, sharer) if len(tenants) > 1 else None
            await wait_for_all(work_for(tenant, of_one) for tenant, of_one in tenants.items())
        return outcomes, delays

    async def _webhooks(self, this: BatchTry, numbers: Numbers, sharer: str) -> FoundWebhooks:
        """Read the webhooks of all attempts whose outcomes are not known yet."""
        ids = {request.webhook_id for _, request in this.missing(numbers)}
        return await self._store.webhooks.many(ids, sharer) if ids else FoundWebhooks({}, {})

    async def _attempt(
        self, this: BatchTry, tenant: str, numbers: Numbers, webhooks: FoundWebhooks, make_attempt: MakeAttempt
    ) -> None:
        """Make the attempts of a tenant's events, and act on their outcomes: one that lasts holds up no other's."""
        acted: set[OutcomeKey] = set()
        attempts = asyncio.create_task(self._make_attempts(this, tenant, numbers, webhooks, make_attempt))
        try:
            while not (await asyncio.wait([attempts], timeout=ACTING_INTERVAL))[0]:
                made = this.made(numbers, acted)
                try:
                    await self._act(this, tenant, made, webhooks)
                except Exception:  # noqa: BLE001 - any error: they are among the rest, for which it is raised
                    log.warning("results do not count for the health of the webhooks yet", tenant=tenant)
                else:
                    acted.update(made)
        finally:
            await stop(attempts)
        attempts.result()
        try:
            await self._act(this, tenant, this.made(numbers, acted), webhooks)
        except Exception:  # any error: events of other tenants go on
            if not (this.batch.is_shared and internal_errors.is_last_try()):
                raise
            log.exception("results do not count for the health of the webhooks", tenant=tenant)

    async def _act(self, this: BatchTry, tenant: str, made: Mapping[OutcomeKey, Made], webhooks: FoundWebhooks) -> None:
        counted = [each for (number, _), each in made.items() if not this.batch.events[number].is_test]
        if counted:
            await self._after_attempts(tenant, counted, webhooks.readable, this.clock_offset)

    async def _make_attempts(
        self, this: BatchTry, tenant: str, numbers: Numbers, webhooks: FoundWebhooks, make_attempt: MakeAttempt
    ) -> None:
        """Make the attempts of a tenant's events whose outcomes are not known yet."""
        missing = this.missing(numbers)
        if not missing:
            return
        batch = this.batch
        events = {number: await self._data.outgoing(batch.events[number]) for number, _ in missing}
        contexts = {
            number: BatchContext(batch.events[number], event, this.clock_offset, batch.targets, batch.is_shared)
            for number, event in events.items()
        }
        with self._memory.event_data(tenant, [event.data for event in events.values()]):
            slots = asyncio.Semaphore(MAX_CONCURRENT_ATTEMPTS)

            async def make(number: int, request: AttemptRequest) -> None:
                context = contexts[number]
                async with slots:
                    try:
                        outcome = await self._outcome(request, webhooks.get(request.webhook_id), context, make_attempt)
                    except Exception as error:  # noqa: BLE001 - whatever it is, the other attempts are made
                        this.prevented[number, request.delivery] = error
                        internal_errors.note(context.message, request, error)
                        return
                this.progress.add((number, request.delivery), outcome)
                _log_attempt(context.message, request, outcome)

            await wait_for_all(make(number, request) for number, request in missing)

    async def _outcome(
        self, request: AttemptRequest, webhook: Webhook | None, context: BatchContext, make_attempt: MakeAttempt
    ) -> Outcome:
        if webhook is None:
            if not await self._store.rows.has_accepted(context.message.tenant, context.message.id):
                raise LostWebhook(request.webhook_id)
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
        wants_alerts = (self._always_alert or webhook.on_failure is not None) and not context.message.is_test
        return outcome.model_copy(update={"alerts": True}) if wants_alerts else outcome


def _outcome_of(succeeded: Delivery) -> Outcome:
    """Return the outcome of the last attempt."""
    attempt = succeeded.attempts[-1]
    fields = {name: getattr(attempt, name) for name in OF_ATTEMPT}
    return Outcome(delivery=succeeded.id, verdict="succeeded", target=succeeded.target, **fields)


def _log_attempt(event: EventAttempts, request: AttemptRequest, outcome: Outcome) -> None:
    seconds = outcome.duration_ms / 1000 if outcome.started_at else None
    metrics.count_attempt(kind_of(request.delivery).name, outcome.verdict, outcome.error, seconds)
    log.info(
        "attempt",
        tenant=event.tenant,
        event_id=event.id,
        event_type=event.type,
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
        trace_id=tracing.trace_id_of(event.traceparent),
    )
