"""The activities of a recovery, or of a bulk action: count the candidates, find them, command them at a rate.

A batch is planned before it is processed, and its results are in heartbeats, so that a try after a kill continues where
the last one stopped. Redeliveries without a heartbeat are found in the events themselves: a delivery that was reopened
since the recovery began is not reopened again.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import structlog
from temporalio import activity
from temporalio.service import RPCError

from activities.bulk_limit import BulkLimit
from activities.heartbeat import heartbeating
from activities.tenant_concurrency import TenantConcurrency
from hookkeeper import ids
from hookkeeper.asyncio_tasks import wait_for_all
from hookkeeper.messages.bulk_work import (
    ERASE,
    RecoveryCandidate,
    RecoveryPlan,
    RecoveryScope,
    RecoverySearch,
    RedeliveryBatch,
    RedeliveryResult,
    RedeliverySummary,
)
from hookkeeper.registry.events.conditions import Search
from hookkeeper.registry.schedules import UnknownSchedule
from hookkeeper.registry.store import Store
from hookkeeper.temporal.bulk.recovery_candidates import RecoveryCandidates
from hookkeeper.temporal.schedules.client import Schedules

PLAN_SIZE = 200
"""Runs that are found at a time."""
MAX_CONCURRENT_REDELIVERIES = 8
"""At a high rate, a redelivery takes longer than its share of time. All may be updates of one run, which has
up to a hundred deliveries: Temporal accepts ten at once, so two are left to requests."""
MIN_CHECK_INTERVAL = 0.02
"""Seconds until the first check of a redelivered run; half as long again before each further one."""
MAX_WAIT = 2.0
"""Seconds after which the next run is redelivered, whatever this one does."""
MAX_TRIES = 10
"""An event that cannot be redelivered is skipped after this number of tries of its own, some minutes later."""
log = structlog.get_logger("hookkeeper.recovery")


class RecoveryActivities:
    """Raise ApplicationError if the tenant has no free slot, and Temporal's `RPCError`; both are retried."""

    def __init__(self, store: Store, candidates: RecoveryCandidates, concurrency: TenantConcurrency) -> None:
        self._store = store
        self._candidates = candidates
        self._concurrency = concurrency
        self._limit = BulkLimit()

    @activity.defn
    async def count_candidates(self, scope: RecoveryScope) -> int:
        """Count the events that would be redelivered."""
        with self._concurrency.slot(scope.tenant):
            async with heartbeating():
                return await self._candidates.count(scope)

    @activity.defn
    async def find_candidates(self, search: RecoverySearch) -> RecoveryPlan:
        """Find the oldest candidates."""
        with self._concurrency.slot(search.scope.tenant):
            async with heartbeating():
                return await self._candidates.oldest(search, PLAN_SIZE)

    @activity.defn
    async def redeliver_candidates(self, batch: RedeliveryBatch) -> RedeliverySummary:
        """Redeliver the events of a batch at the rate, or as fast as Temporal and the workers manage. Idempotent."""
        with self._concurrency.slot(batch.scope.tenant):
            return await self._redeliver(batch)

    async def _acknowledge(self, batch: RedeliveryBatch) -> RedeliverySummary:
        """Acknowledge all events of a batch with one transaction."""
        start = asyncio.get_running_loop().time()
        events = [ids.event_of(run.workflow_id)[1] for run in batch.runs]
        known = await self._store.rows.acknowledge(batch.scope.tenant, events, batch.scope.acknowledged)
        done, seconds = sum(known.values()), asyncio.get_running_loop().time() - start
        return RedeliverySummary(redelivered=done, skipped=len(events) - done, seconds=seconds)

    async def _redeliver(self, batch: RedeliveryBatch) -> RedeliverySummary:
        if batch.scope.action == "acknowledge":
            return await self._acknowledge(batch)
        are_active = await self._store.webhooks.are_active(batch.scope.tenant)
        if batch.scope.webhook_id is not None and not are_active.get(batch.scope.webhook_id, True):
            return RedeliverySummary(off=True)
        active = {webhook for webhook, is_active in are_active.items() if is_active}
        results, tries = _results_of_earlier_try()
        remaining = [run for run in batch.runs if run.workflow_id not in results]
        slots = asyncio.Semaphore(MAX_CONCURRENT_REDELIVERIES)
        turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        start = asyncio.get_running_loop().time()

        async def redeliver_one(n: int, run: RecoveryCandidate) -> None:
            await asyncio.sleep(start + n / batch.rate - asyncio.get_running_loop().time())
            turn = turns[await self._turn_of(batch.scope, run)]
            async with turn, slots, self._limit.slot(batch.scope.tenant):
                begin = asyncio.get_running_loop().time()
                try:
                    tries[run.workflow_id] = tries.get(run.workflow_id, 0) + 1
                    results[run.workflow_id] = await self._try_run(batch.scope, run, active, tries[run.workflow_id])
                finally:
                    activity.heartbeat(results, tries)
                if results[run.workflow_id] == "redelivered" and batch.scope.action != ERASE:
                    await self._until_decided(run.workflow_id)
                    self._limit.record(asyncio.get_running_loop().time() - begin)

        async with heartbeating(lambda: [results, tries]):
            await wait_for_all(redeliver_one(n, run) for n, run in enumerate(remaining))
        seconds = asyncio.get_running_loop().time() - start
        return _summary(batch, results).model_copy(update={"seconds": seconds})

    async def _turn_of(self, scope: RecoveryScope, run: RecoveryCandidate) -> str:
        """Name what has its events taken one after the other: a shared run, which each erasure replaces."""
        row = await self._store.rows.find(*ids.event_of(run.workflow_id)) if scope.action == ERASE else None
        return ids.replaced_shared_run(row.shared_run)[0] if row and row.shared_run else run.workflow_id

    async def _until_decided(self, workflow_id: str) -> None:
        """Return when a worker has taken the run's first step, or a while later. A check that fails does not count."""
        interval = MIN_CHECK_INTERVAL
        with suppress(TimeoutError, RPCError):
            async with asyncio.timeout(MAX_WAIT):
                await asyncio.sleep(interval)
                while await self._candidates.is_deciding(workflow_id):
                    interval *= 1.5
                    await asyncio.sleep(interval)

    async def _try_run(
        self, scope: RecoveryScope, run: RecoveryCandidate, active: Collection[str], tries: int
    ) -> RedeliveryResult:
        try:
            assert scope.action != "acknowledge", "it takes a whole batch at once"
            if scope.action == ERASE:
                return await self._candidates.erase(*ids.event_of(run.workflow_id))
            if scope.action is None:
                return await self._candidates.redeliver(scope, run, active)
            return await self._candidates.command(scope, scope.action, run, active)
        except Exception as error:  # one event that cannot be read must not block those behind it
            if tries <= MAX_TRIES:
                raise
            log.error("not redelivered", run=run.workflow_id, tenant=scope.tenant, exc_info=error)
            return "failed"


class TenantActivities:
    """Raise what `RecoveryActivities` do, and RegistryUnavailable."""

    def __init__(
        self, store: Store, candidates: RecoveryCandidates, schedules: Schedules, concurrency: TenantConcurrency
    ) -> None:
        self._store = store
        self._candidates = candidates
        self._schedules = schedules
        self._concurrency = concurrency

    @activity.defn
    async def close_tenant(self, scope: RecoveryScope) -> None:
        """Close a tenant that is to be deleted. Idempotent."""
        with self._concurrency.slot(scope.tenant):
            await self._store.tenants.close(scope.tenant)

    @activity.defn
    async def remove_tenant(self, scope: RecoveryScope) -> None:
        """Remove a tenant whose events are erased, with all that it has. Idempotent."""
        with self._concurrency.slot(scope.tenant):
            async with heartbeating():
                await self._remove_schedules(scope.tenant)
                while found := (await self._store.index.matches(Search(tenant=scope.tenant), PLAN_SIZE, None))[0]:
                    for key in found:  # accepted while the deletion began
                        await self._candidates.erase(*key)
                await self._store.tenants.remove(scope.tenant)

    async def _remove_schedules(self, tenant: str) -> None:
        while left := [
            each for each in await self._store.schedules.states((tenant, ""), PLAN_SIZE) if each.tenant == tenant
        ]:
            for each in left:
                with suppress(UnknownSchedule):
                    await self._schedules.delete(tenant, each.id)
                await self._schedules.apply(tenant, each.id)  # unlike a deletion, it raises if Temporal is away


def _summary(batch: RedeliveryBatch, results: dict[str, RedeliveryResult]) -> RedeliverySummary:
    counts = Counter((results[run.workflow_id], run.is_counted) for run in batch.runs)
    discovered = counts["redelivered", False] + counts["failed", False]
    return RedeliverySummary(
        redelivered=counts["redelivered", True] + counts["redelivered", False],
        failed=counts["failed", True] + counts["failed", False],
        skipped=counts["skipped", True],
        discovered=discovered,
    )


def _results_of_earlier_try() -> tuple[dict[str, RedeliveryResult], dict[str, int]]:
    """Return the results by workflow id, and the number of tries of each."""
    details: Sequence[Any] = activity.info().heartbeat_details
    results, tries = (*details, {}, {})[:2]
    return dict(results), dict(tries)
