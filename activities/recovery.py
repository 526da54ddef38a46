"""What delivers again in bulk: count what there is, find it, oldest first, redeliver it at a set rate.

A batch is planned before any of it is done, and its outcomes travel in heartbeats, so that a try after a kill goes on
where the last one was. What that try had done and could not tell any more is seen in the event itself: a delivery that
was opened again since the recovery began is not opened once more.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import structlog
from temporalio import activity

from activities.heartbeat import heartbeating
from activities.tenant_concurrency import Places
from hookkeeper.messages.recovery import (
    RecoveryCandidate,
    RecoveryPlan,
    RecoveryScope,
    RecoverySearch,
    RedeliveryBatch,
    RedeliveryResult,
    RedeliverySummary,
)
from hookkeeper.registry.store import Store
from hookkeeper.temporal.recovery_candidates import RecoveryCandidates

SLICE = 200
"""Runs that are planned at once."""
AT_ONCE = 5
"""Events that are being redelivered at the same time: at a high rate, one takes longer than its turn."""
TRIES = 10
"""After so many of its own, minutes later, an event that cannot be redelivered is left behind."""

log = structlog.get_logger("hookkeeper.recovery")


class RecoveryActivities:
    def __init__(self, store: Store, lost: RecoveryCandidates, places: Places) -> None:
        self._store = store
        self._lost = lost
        self._places = places

    @activity.defn(name="count_failed")
    async def count(self, scope: RecoveryScope) -> int:
        """Count the finished events that would be redelivered."""
        with self._places.taken(scope.tenant):
            async with heartbeating():
                return await self._lost.count(scope)

    @activity.defn(name="find_failed")
    async def find(self, search: RecoverySearch) -> RecoveryPlan:
        """Find the oldest runs with a delivery that may be meant."""
        with self._places.taken(search.scope.tenant):
            async with heartbeating():
                return await self._find(search)

    async def _find(self, search: RecoverySearch) -> RecoveryPlan:
        runs, end = await self._lost.oldest(search.scope, search.after, SLICE)
        return RecoveryPlan(runs=tuple(runs), end=end)

    @activity.defn(name="redeliver_failed")
    async def redeliver(self, batch: RedeliveryBatch) -> RedeliverySummary:
        """Redeliver one after the other at the rate; none twice, however often this is tried."""
        with self._places.taken(batch.scope.tenant):
            return await self._redeliver(batch)

    async def _redeliver(self, batch: RedeliveryBatch) -> RedeliverySummary:
        off = await self._store.pauses.off(batch.scope.tenant)
        if batch.scope.webhook_id in off:
            return RedeliverySummary(off=True)
        known, tries = _known_of_earlier_try()
        waiting = [run for run in batch.runs if run.workflow_id not in known]
        slots, beginning = asyncio.Semaphore(AT_ONCE), asyncio.get_running_loop().time()

        async def redeliver_one(n: int, run: RecoveryCandidate) -> None:
            await asyncio.sleep(beginning + n / batch.rate - asyncio.get_running_loop().time())
            try:
                async with slots:
                    tries[run.workflow_id] = tries.get(run.workflow_id, 0) + 1
                    known[run.workflow_id] = await self._fate(batch.scope, run, off, tries[run.workflow_id])
            finally:
                activity.heartbeat(known, tries)

        async with heartbeating(lambda: [known, tries]):
            await _every([asyncio.create_task(redeliver_one(n, run)) for n, run in enumerate(waiting)])
        took = asyncio.get_running_loop().time() - beginning
        return _tally(batch, known).model_copy(update={"seconds": took})

    async def _fate(
        self, scope: RecoveryScope, run: RecoveryCandidate, off: Collection[str], tries: int
    ) -> RedeliveryResult:
        try:
            return await self._lost.redeliver(scope, run.workflow_id, off)
        except Exception as fault:  # one event that cannot be read must not stop all that are behind
            if tries <= TRIES:
                raise
            log.error("not redelivered", run=run.workflow_id, tenant=scope.tenant, exc_info=fault)
            return "failed"


def _tally(batch: RedeliveryBatch, known: dict[str, RedeliveryResult]) -> RedeliverySummary:
    counts = Counter(known[run.workflow_id] for run in batch.runs)
    discovered = sum(run.is_open and known[run.workflow_id] != "nothing" for run in batch.runs)
    return RedeliverySummary(
        redelivered=counts["redelivered"],
        failed=counts["failed"],
        skipped=counts["skipped"] + sum(not run.is_open and known[run.workflow_id] == "nothing" for run in batch.runs),
        discovered=discovered,
    )


async def _every(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for all, and only then raise the first fault: what is being redelivered is seen through."""
    try:
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
    finally:
        for task in tasks:
            task.cancel()


def _known_of_earlier_try() -> tuple[dict[str, RedeliveryResult], dict[str, int]]:
    """Give what has become of which event, and how often each has been tried."""
    details: Sequence[Any] = activity.info().heartbeat_details
    known, tries = (*details, {}, {})[:2]
    return dict(known), dict(tries)
