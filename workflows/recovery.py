"""The run that delivers again, in bulk, what has failed: oldest first, at a set rate, however often all is killed.

What it does next is in its history before it is done: a plan of the oldest runs, and batches of that. So a kill costs
the answers of a few redeliveries, which the events themselves remember (`activities.recovery`).

This code is for ever, as that of `workflows.event` is.
"""

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import Priority

from activities.recovery import RecoveryActivities
from hookkeeper import ids
from hookkeeper.messages.recovery import (
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
from workflows.activities import run_until_done

HEARTBEAT = timedelta(seconds=10)
BATCH_SECONDS = 5.0
"""What a batch takes at the set rate: so long it can be until a pause or a cancellation counts."""
LARGEST_BATCH = 100
LONG_HISTORY = 2_000
"""Events after which it goes on as a new run."""


@workflow.defn(name=ids.RECOVERY)
class RecoveryWorkflow:
    """One recovery."""

    @workflow.init
    def __init__(self, state: RecoveryState) -> None:
        self._state = state

    @workflow.run
    async def run(self, state: RecoveryState) -> RecoveryState:
        """Count, then redeliver slice by slice; return what it came to. Where its webhook is off, it pauses itself."""
        if self._state.found is None:
            self._set(scope=_as_of(self._state.scope, workflow.info().start_time))
            self._set(found=await self._count())
        after: datetime | None = self._state.after or self._state.scope.since
        while after and not self._is_cancelled():
            plan = await self._plan(after)
            await self._redeliver(plan.runs)
            after = plan.end
            self._set(after=after)
            if after and workflow.info().get_current_history_length() > LONG_HISTORY:
                workflow.continue_as_new(self._state)
        self._set(status="cancelled" if self._is_cancelled() else "finished", finished_at=workflow.now())
        return self._state

    @workflow.signal(description="Redeliver nothing until resumed.")
    def pause(self) -> None:
        self._turn("running", "paused")

    @workflow.signal(description="Go on.")
    def resume(self) -> None:
        self._turn("paused", "running")

    @workflow.signal(description="End, and leave the rest as it is.")
    def cancel(self) -> None:
        self._set(status="cancelled")

    @workflow.query(name=ids.STATE)
    def state(self) -> RecoveryState:
        """Give how it is doing."""
        return self._state

    # The story

    async def _redeliver(self, runs: tuple[RecoveryCandidate, ...]) -> None:
        size = min(LARGEST_BATCH, max(1, int(self._state.rate * BATCH_SECONDS)))
        while runs:
            await workflow.wait_condition(lambda: self._state.status != "paused")
            if self._is_cancelled():
                return
            batch = runs[:size]
            tally = await self._redeliver_batch(batch)
            if tally.off:
                self.pause()
                continue
            runs = runs[size:]
            self._add(tally)
            if tally.redelivered:
                await self._rest(len(batch) / self._state.rate - tally.seconds)

    def _add(self, tally: RedeliverySummary) -> None:
        known = self._state
        self._set(
            found=(known.found or 0) + tally.discovered,
            redelivered=known.redelivered + tally.redelivered,
            skipped=known.skipped + tally.skipped,
            failed=known.failed + tally.failed,
        )

    async def _rest(self, seconds: float) -> None:
        """Keep to the rate. How long a batch took, its activity says: here, clocks can be those of an earlier step."""
        if seconds > 0:
            await timers.passes(timedelta(seconds=seconds), self._is_cancelled, "keep to the rate")

    def _is_cancelled(self) -> bool:
        return self._state.status == "cancelled"

    def _turn(self, before: RecoveryStatus, after: RecoveryStatus) -> None:
        if self._state.status == before:
            self._set(status=after)

    def _set(self, **changes: object) -> None:
        self._state = self._state.model_copy(update=changes)

    # Its activities

    async def _count(self) -> int:
        return await run_until_done(
            RecoveryActivities.count,
            self._state.scope,
            task_queue=self._queue(),
            start_to_close_timeout=timedelta(hours=1),
            heartbeat_timeout=HEARTBEAT,
            priority=self._priority(),
            summary="count",
        )

    async def _plan(self, after: datetime) -> RecoveryPlan:
        return await run_until_done(
            RecoveryActivities.find,
            RecoverySearch(scope=self._state.scope, after=after),
            task_queue=self._queue(),
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=HEARTBEAT,
            priority=self._priority(),
            summary="find the oldest",
        )

    async def _redeliver_batch(self, runs: tuple[RecoveryCandidate, ...]) -> RedeliverySummary:
        return await run_until_done(
            RecoveryActivities.redeliver,
            RedeliveryBatch(scope=self._state.scope, runs=runs, rate=self._state.rate),
            task_queue=self._queue(),
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=HEARTBEAT,
            priority=self._priority(),
            summary=f"redeliver {len(runs)}",
        )

    def _queue(self) -> str:
        return ids.bulk_queue(workflow.info().task_queue)

    def _priority(self) -> Priority:
        return Priority(fairness_key=self._state.scope.tenant)


def _as_of(scope: RecoveryScope, began: datetime) -> RecoveryScope:
    """Leave out what comes after the beginning: among that is what the recovery itself starts."""
    return scope.model_copy(update={"began": began, "until": min(scope.until, began)})
