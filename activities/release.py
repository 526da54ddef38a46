"""The activities of a release: find what a webhook holds, oldest first, and release it in order.

A released delivery leaves through the task queues like a retry, and these keep no order among many. So only a few runs
are released at a time: the next one when the oldest of them has been sent.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from temporalio import activity

from activities.bulk_limit import BulkLimit
from activities.heartbeat import heartbeating
from activities.tenant_concurrency import TenantConcurrency
from hookkeeper.messages.bulk_work import HeldRuns, HeldSearch, ReleaseBatch, ReleaseProgress
from hookkeeper.registry.store import Store
from hookkeeper.temporal.bulk.releases import HeldDeliveries

MAX_IN_FLIGHT = 10
"""Runs that are released and not sent yet, and so the positions by which one can be out of order. A worker sends more
requests than that to one webhook at a time, so new events are not delayed."""
PLAN_SIZE = 200
"""Runs that are found at a time."""
BATCH_TIMEOUT = 20.0
"""Seconds after which another webhook may be released."""
MIN_CHECK_INTERVAL, MAX_CHECK_INTERVAL = 0.05, 1.0
"""Seconds between two checks of the oldest run; longer after each check without a change."""
DECISION_TIMEOUT = 60.0
"""Seconds in which a run must react to its release. A run that cannot go on must not block those behind it."""


class ReleaseActivities:
    """Raise ApplicationError if the tenant has no free slot, and Temporal's `RPCError`; both are retried."""

    def __init__(self, store: Store, held: HeldDeliveries, concurrency: TenantConcurrency) -> None:
        self._store = store
        self._held = held
        self._concurrency = concurrency
        self._limit = BulkLimit()

    @activity.defn
    async def find_held(self, search: HeldSearch) -> HeldRuns:
        """Find the oldest runs with deliveries held because of this webhook."""
        with self._concurrency.slot(search.tenant):
            if await self._is_off(search.webhook_id):
                return HeldRuns(off=True)
            async with heartbeating():
                return await self._held.oldest(search, PLAN_SIZE)

    @activity.defn
    async def release_held(self, batch: ReleaseBatch) -> ReleaseProgress:
        """Release in order, as fast as it is sent; stop after a while, and if the webhook is off again. Idempotent."""
        with self._concurrency.slot(batch.tenant):
            return await self._release(batch)

    async def _release(self, batch: ReleaseBatch) -> ReleaseProgress:
        release = _BatchRelease(self._held, batch, _progress_of_earlier_try(), self._limit)
        try:
            return await self._run(release, batch.webhook_id)
        finally:
            release.close()

    async def _run(self, release: "_BatchRelease", webhook_id: str) -> ReleaseProgress:
        deadline = asyncio.get_running_loop().time() + BATCH_TIMEOUT
        pause = MIN_CHECK_INTERVAL
        async with heartbeating(lambda: [release.progress]):
            while not release.is_complete and _may_go_on(deadline):
                if await self._is_off(webhook_id):
                    return release.progress.model_copy(update={"off": True})
                await release.fill()
                await asyncio.sleep(pause)
                pause = MIN_CHECK_INTERVAL if await release.check() else min(pause * 1.5, MAX_CHECK_INTERVAL)
                activity.heartbeat(release.progress)
        return release.progress

    async def _is_off(self, webhook_id: str) -> bool:
        """Return whether the webhook is disabled or paused. If it is deleted, its deliveries are released to end."""
        webhook = await self._store.webhooks.get(webhook_id)
        return webhook is not None and (not webhook.enabled or webhook.paused_at is not None)


class _BatchRelease:
    def __init__(self, held: HeldDeliveries, batch: ReleaseBatch, progress: ReleaseProgress, limit: BulkLimit) -> None:
        self._held = held
        self._webhook_id, self._tenant = batch.webhook_id, batch.tenant
        self._limit = limit
        self._waiting: deque[str] = deque(batch.runs[progress.completed :])
        self._in_flight: deque[str] = deque()
        self._oldest_since = 0.0
        self.progress = progress

    @property
    def is_complete(self) -> bool:
        return not (self._waiting or self._in_flight)

    async def fill(self) -> None:
        """Release runs until `MAX_IN_FLIGHT`, or the tenant's limit, are in flight."""
        while self._waiting and len(self._in_flight) < MAX_IN_FLIGHT and await self._has_slot():
            begin = asyncio.get_running_loop().time()
            if not self._in_flight:
                self._oldest_since = begin
            self._in_flight.append(self._waiting.popleft())
            await self._held.release(self._in_flight[-1], self._webhook_id)
            self._limit.record(asyncio.get_running_loop().time() - begin)

    async def _has_slot(self) -> bool:
        """Take a slot if there is one; wait for it if nothing is in flight, so that other releases leave one."""
        if self._in_flight:
            return self._limit.acquire_now(self._tenant)
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_CHECK_INTERVAL):
                await self._limit.acquire(self._tenant)
                return True
        return False

    def close(self) -> None:
        """Give back the slots of what is in flight."""
        self._limit.release(self._tenant, len(self._in_flight))
        self._in_flight.clear()

    async def check(self) -> bool:
        """Remove the oldest runs that are completed; return whether there were any."""
        before = self.progress.completed
        while self._in_flight:
            stage = await self._held.stage(self._in_flight[0], self._webhook_id)
            now = asyncio.get_running_loop().time()
            if stage == "sending" or (stage == "deciding" and now < self._oldest_since + DECISION_TIMEOUT):
                break
            self._in_flight.popleft()
            self._limit.release(self._tenant)
            self._oldest_since = now
            self.progress = ReleaseProgress(
                completed=self.progress.completed + 1, released=self.progress.released + (stage == "sent")
            )
        return self.progress.completed > before


def _may_go_on(deadline: float) -> bool:
    return asyncio.get_running_loop().time() < deadline and not activity.is_worker_shutdown()


def _progress_of_earlier_try() -> ReleaseProgress:
    details: Sequence[object] = activity.info().heartbeat_details
    return ReleaseProgress.model_validate(details[0]) if details else ReleaseProgress()
