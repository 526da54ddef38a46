"""Redeliver failed deliveries in bulk, or do what was asked to the events that a search finds: at a rate, also if
processes are killed. A tenant's deletion erases all of its events, and then removes the tenant.

The rows of events have them in order.

The next step is in history before it is taken: a plan of the oldest runs, and batches of it. So a kill costs the
results of a few redeliveries, which are read from the events themselves (`activities.recovery`).

This code is permanent, like that of `workflows.event`.
"""

from datetime import datetime, timedelta

from temporalio import workflow

from activities.recovery import RecoveryActivities, TenantActivities
from hookkeeper import temporal_names
from hookkeeper.messages.bulk_work import (
    ERASE,
    RecoveryCandidate,
    RecoveryPlan,
    RecoveryScope,
    RecoverySearch,
    RecoveryState,
    RecoveryStatus,
    RedeliveryBatch,
    RedeliverySummary,
)
from workflows import timers
from workflows.activities import run_bulk_step

COUNT_TIMEOUT, STEP_TIMEOUT = timedelta(hours=1), timedelta(minutes=10)
BATCH_SECONDS = 5.0
"""Duration of a batch, and so the delay until a pause or a cancellation takes effect."""
MAX_BATCH = 100
LONG_HISTORY = 2_000
"""Events of history after which a recovery continues as a new run, between two plans."""
MAX_HISTORY = 8_000
"""Events after which it does so within a plan. Only thousands of pauses lead there. Temporal accepts 10,000 signals of
a run: without this, a recovery with as many could neither be resumed nor cancelled."""


@workflow.defn(name=temporal_names.RECOVERY)
class RecoveryWorkflow:
    @workflow.init
    def __init__(self, state: RecoveryState) -> None:
        self._state = state
        self._batch_size = batch_size(state.rate)

    @workflow.run
    async def run(self, state: RecoveryState) -> RecoveryState:
        """Count, then redeliver plan by plan; return the final state. It pauses itself if its webhook is off."""
        is_deletion = state.scope.action == ERASE
        if self._state.found is None:
            if is_deletion:
                await self._close_tenant()
            self._set(scope=_until_start(self._state.scope, workflow.info().start_time))
            self._set(found=await self._count())
        while not self._is_cancelled() and await self._redeliver_next():
            if workflow.info().get_current_history_length() > LONG_HISTORY:
                workflow.continue_as_new(self._state)
        if is_deletion and not (self._is_cancelled() or self._state.failed):
            await self._remove_tenant()
        self._set(status="cancelled" if self._is_cancelled() else "finished", finished_at=workflow.now())
        return self._state

    @workflow.signal(description="Redeliver nothing until resumed.")
    def pause(self) -> None:
        self._change_status("running", "paused")

    @workflow.signal(description="Continue.")
    def resume(self) -> None:
        self._change_status("paused", "running")

    @workflow.signal(description="End; the remaining deliveries do not change.")
    def cancel(self) -> None:
        self._set(status="cancelled")

    @workflow.query(name=temporal_names.STATE)
    def state(self) -> RecoveryState:
        """Return the state of the recovery."""
        return self._state

    # Steps

    async def _redeliver_next(self) -> bool:
        """Redeliver the next candidates; False if these were the last ones."""
        plan = await self._plan()
        await self._redeliver(plan.runs)
        self._set(after=plan.end)
        return plan.end is not None

    async def _redeliver(self, runs: tuple[RecoveryCandidate, ...]) -> None:
        while runs:
            await workflow.wait_condition(lambda: self._state.status != "paused" or _is_history_full())
            if self._is_cancelled():
                return
            if _is_history_full():
                workflow.continue_as_new(self._state)
            batch = runs[: self._batch_size]
            summary = await self._redeliver_batch(batch)
            if summary.off:
                self.pause()
                continue
            runs = runs[len(batch) :]
            self._add(summary)
            self._batch_size = batch_size(self._state.rate, len(batch), summary.seconds)
            if summary.redelivered:
                await self._keep_rate(len(batch) / self._state.rate - summary.seconds)

    def _add(self, summary: RedeliverySummary) -> None:
        state = self._state
        self._set(
            found=(state.found or 0) + summary.discovered,
            done=state.done + summary.redelivered,
            skipped=state.skipped + summary.skipped,
            failed=state.failed + summary.failed,
        )

    async def _keep_rate(self, seconds: float) -> None:
        """Wait for the rest of a batch's time, which the activity measures: the clock here can be that of a replay."""
        if seconds > 0:
            await timers.passes(timedelta(seconds=seconds), "keep the rate", self._is_cancelled)

    def _is_cancelled(self) -> bool:
        return self._state.status == "cancelled"

    def _change_status(self, before: RecoveryStatus, after: RecoveryStatus) -> None:
        if self._state.status == before:
            self._set(status=after)

    def _set(self, **changes: object) -> None:
        self._state = self._state.model_copy(update=changes)

    # Activities

    async def _count(self) -> int:
        scope = self._state.scope
        return await run_bulk_step(
            RecoveryActivities.count_candidates, scope, tenant=scope.tenant, timeout=COUNT_TIMEOUT, summary="count"
        )

    async def _plan(self) -> RecoveryPlan:
        scope = self._state.scope
        return await run_bulk_step(
            RecoveryActivities.find_candidates,
            RecoverySearch(scope=scope, after=self._state.after),
            tenant=scope.tenant,
            timeout=STEP_TIMEOUT,
            summary="find the oldest",
        )

    async def _redeliver_batch(self, runs: tuple[RecoveryCandidate, ...]) -> RedeliverySummary:
        scope = self._state.scope
        return await run_bulk_step(
            RecoveryActivities.redeliver_candidates,
            RedeliveryBatch(scope=scope, runs=runs, rate=self._state.rate),
            tenant=scope.tenant,
            timeout=STEP_TIMEOUT,
            summary=f"{scope.action or 'redeliver'} {len(runs)}",
        )

    async def _close_tenant(self) -> None:
        scope = self._state.scope
        await run_bulk_step(
            TenantActivities.close_tenant, scope, tenant=scope.tenant, timeout=STEP_TIMEOUT, summary="close"
        )

    async def _remove_tenant(self) -> None:
        """Remove all else that a tenant has, once each of its events could be erased."""
        scope = self._state.scope
        await run_bulk_step(
            TenantActivities.remove_tenant, scope, tenant=scope.tenant, timeout=COUNT_TIMEOUT, summary="remove"
        )


def batch_size(rate: float, done: int = 0, seconds: float = 0.0) -> int:
    """Return how many events are redelivered in about `BATCH_SECONDS`, at the rate or as fast as the batch before.

    `done`: the events of that batch; `seconds`: its duration.
    """
    pace = min(rate, done / seconds) if done and seconds else rate
    return min(MAX_BATCH, max(1, int(pace * BATCH_SECONDS)))


def _is_history_full() -> bool:
    return workflow.info().get_current_history_length() > MAX_HISTORY


def _until_start(scope: RecoveryScope, start: datetime) -> RecoveryScope:
    """End the scope at the start of the recovery, so that its own redeliveries are not in it."""
    return scope.model_copy(update={"began": start, "until": min(scope.until, start)})
