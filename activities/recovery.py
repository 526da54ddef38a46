"""What delivers again in bulk: count what there is, find it, oldest first, redeliver it at a set rate.

A batch is planned before any of it is done, and its outcomes travel in heartbeats, so that a try after a kill goes on
where the last one was. What that try had done and could not tell any more is seen in the event itself: a delivery that
was opened again since the recovery began is not opened once more.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

import structlog
from temporalio import activity

from activities.heartbeat import heartbeating
from activities.tenant_concurrency import Places
from hookkeeper.outcomes import Message
from hookkeeper.registry.store import Store

SLICE = 200
"""Runs that are planned at once."""
AT_ONCE = 5
"""Events that are being redelivered at the same time: at a high rate, one takes longer than its turn."""
TRIES = 10
"""After so many of its own, minutes later, an event that cannot be redelivered is left behind."""

Wanted = Literal["failed", "cancelled"]
RedeliveryResult = Literal["redelivered", "skipped", "nothing", "failed"]
"""`skipped`: it needs it no more. `nothing`: an open event that has nothing to redeliver (yet)."""
log = structlog.get_logger("hookkeeper.recovery")


class Scope(Message):
    """What a recovery is about."""

    tenant: str
    webhook_id: str | None = None
    """None: all of the tenant."""
    status: Wanted = "failed"
    types: tuple[str, ...] = ()
    """Types of events; none means any."""
    since: datetime
    until: datetime
    began: datetime
    """When the recovery did: what was redelivered since is done."""


class Search(Message):
    """Where a recovery is."""

    scope: Scope
    after: datetime


class Lost(Message):
    """A run with a delivery that may have to be made again."""

    workflow_id: str
    is_open: bool = False


class Plan(Message):
    """The oldest of them, and where to go on."""

    runs: tuple[Lost, ...]
    end: datetime | None
    """None: there is no more."""


class Batch(Message):
    """Runs to redeliver, in order."""

    scope: Scope
    runs: tuple[Lost, ...]
    rate: float
    """Events a second."""


class RedeliverySummary(Message):
    """What became of the events of a batch."""

    redelivered: int = 0
    skipped: int = 0
    failed: int = 0
    discovered: int = 0
    """Events that were open when they were found, and so not counted before."""
    seconds: float = 0.0
    """For how long it was worked at."""
    off: bool = False
    """The webhook is paused or disabled: nothing was done."""


class RecoveryCandidates(Protocol):
    """The runs whose deliveries have failed."""

    async def count(self, scope: Scope) -> int:
        """Count the finished events that would be redelivered."""

    async def oldest(self, scope: Scope, after: datetime, at_most: int) -> tuple[list[Lost], datetime | None]:
        """Give the oldest runs with a delivery that may be meant, and where to go on."""

    async def redeliver(self, scope: Scope, workflow_id: str, off: Collection[str]) -> RedeliveryResult:
        """Deliver again what is meant of a run, unless that was done since the recovery began.

        Webhooks that are `off` get nothing.
        """


class RecoveryActivities:
    def __init__(self, store: Store, lost: RecoveryCandidates, places: Places) -> None:
        self._store = store
        self._lost = lost
        self._places = places

    @activity.defn(name="count_failed")
    async def count(self, scope: Scope) -> int:
        """Count the finished events that would be redelivered."""
        with self._places.taken(scope.tenant):
            async with heartbeating():
                return await self._lost.count(scope)

    @activity.defn(name="find_failed")
    async def find(self, search: Search) -> Plan:
        """Find the oldest runs with a delivery that may be meant."""
        with self._places.taken(search.scope.tenant):
            async with heartbeating():
                return await self._find(search)

    async def _find(self, search: Search) -> Plan:
        runs, end = await self._lost.oldest(search.scope, search.after, SLICE)
        return Plan(runs=tuple(runs), end=end)

    @activity.defn(name="redeliver_failed")
    async def redeliver(self, batch: Batch) -> RedeliverySummary:
        """Redeliver one after the other at the rate; none twice, however often this is tried."""
        with self._places.taken(batch.scope.tenant):
            return await self._redeliver(batch)

    async def _redeliver(self, batch: Batch) -> RedeliverySummary:
        off = await self._store.pauses.off(batch.scope.tenant)
        if batch.scope.webhook_id in off:
            return RedeliverySummary(off=True)
        known, tries = _known_of_earlier_try()
        waiting = [run for run in batch.runs if run.workflow_id not in known]
        slots, beginning = asyncio.Semaphore(AT_ONCE), asyncio.get_running_loop().time()

        async def redeliver_one(n: int, run: Lost) -> None:
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

    async def _fate(self, scope: Scope, run: Lost, off: Collection[str], tries: int) -> RedeliveryResult:
        try:
            return await self._lost.redeliver(scope, run.workflow_id, off)
        except Exception as fault:  # one event that cannot be read must not stop all that are behind
            if tries <= TRIES:
                raise
            log.error("not redelivered", run=run.workflow_id, tenant=scope.tenant, exc_info=fault)
            return "failed"


def _tally(batch: Batch, known: dict[str, RedeliveryResult]) -> RedeliverySummary:
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
