"""The batches that this process runs, and those that it finished within the last hour.

Temporal retries an activity that has not been heard of for ten seconds. If it was Temporal that was unreachable, this
worker knows more than the heartbeats say: the next try joins the work that is still running, and returns a result that
is known. A try in another worker process knows the heartbeats only.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from temporalio import activity

from hookkeeper.outcomes import Outcome

RETENTION_SECONDS = 3600.0
"""A finished batch is kept for this time: Temporal may be unreachable for as long."""
MAX_BYTES = 8 * 1024 * 1024
"""Of the outcomes of finished batches, approximately: some 3,500 of one outcome each, which a busy worker makes in
three seconds. Above it, the tenant that has most loses its oldest first."""
OUTCOME_BYTES = 2048
"""Memory of an outcome besides its excerpt and headers."""

Result = TypeVar("Result")
Key = tuple[str, str]
OutcomeKey = tuple[int, str]
"""The number of a batch in its activity, which is 0 if there is one, and the delivery."""
Outcomes = Mapping[OutcomeKey, Outcome]
REPORTED = TypeAdapter(dict[int, tuple[Outcome, ...]])
"""The detail of a heartbeat: the outcomes by the number of their batch."""


class BatchProgress(Generic[Result]):
    """The outcomes and the work of an activity that makes attempts, for all its tries in this process."""

    def __init__(self, heartbeat_delay: timedelta) -> None:
        self.outcomes: dict[OutcomeKey, Outcome] = {}
        self._heartbeat_delay = heartbeat_delay.total_seconds()
        """Seconds from an outcome to the heartbeat that reports it, with all others until then: each has every one."""
        self._work: asyncio.Task[Result] | None = None
        self._waiting = 0
        """Tries that wait for the work."""
        self._heartbeat: Callable[..., None] = activity.heartbeat
        self._next_report: asyncio.TimerHandle | None = None

    def begin_try(self, earlier: Outcomes) -> None:
        """Let the present try send the heartbeats; `earlier` are the outcomes in those of earlier tries."""
        self.outcomes.update({key: outcome for key, outcome in earlier.items() if key not in self.outcomes})
        self._heartbeat = partial(copy_context().run, activity.heartbeat)

    def add(self, key: OutcomeKey, outcome: Outcome) -> None:
        """Add an outcome. It is reported to Temporal soon, unless the activity ends before."""
        self.outcomes[key] = outcome
        if self._next_report is None:
            self._next_report = asyncio.get_running_loop().call_later(self._heartbeat_delay, self.heartbeat)

    def heartbeat(self) -> None:
        """Report the outcomes to Temporal, as the latest try."""
        self.cancel_report()
        self._heartbeat(*self.details())

    def details(self) -> Sequence[object]:
        """Return the details of a heartbeat."""
        by_batch: dict[int, list[Outcome]] = {}
        for (number, _), outcome in self.outcomes.items():
            by_batch.setdefault(number, []).append(outcome)
        return (by_batch,) if by_batch else ()

    def cancel_report(self) -> None:
        """Send no heartbeat for the outcomes that were added: one has been sent, or the result reports them."""
        if self._next_report is not None:
            self._next_report.cancel()
            self._next_report = None

    def join(
        self, work: Callable[[], Coroutine[Any, Any, Result]], when_done: Callable[[], None]
    ) -> asyncio.Task[Result]:
        """Return the work that is running or has succeeded; start it if there is none, or it failed."""
        if self._work is None or not _can_be_joined(self._work):
            self._work = asyncio.create_task(work())
            self._work.add_done_callback(lambda _: self.cancel_report())
            self._work.add_done_callback(lambda _: when_done())
        return self._work

    @property
    def is_running(self) -> bool:
        return self._work is not None and not self._work.done()

    async def wait_for(self, work: asyncio.Task[Result]) -> Result:
        """Return the result of the work to one try. If this try has to stop, and no other waits, it cancels the work.

        A try that is cancelled for another reason still waits: what was sent is recorded, not dropped.
        """
        self._waiting += 1
        try:
            while True:
                try:
                    return await asyncio.shield(work)
                except asyncio.CancelledError:
                    if work.cancelled():
                        raise
                    if _has_to_stop():
                        if self._waiting == 1:
                            work.cancel()
                        raise
        finally:
            self._waiting -= 1


@dataclass(frozen=True, slots=True)
class FinishedBatch(Generic[Result]):
    """A batch that is kept until its retention is over."""

    progress: BatchProgress[Result]
    tenant: str
    size: int
    until: float


class RecentBatches(Generic[Result]):
    """The batches that are running in this process, and the latest that are finished."""

    def __init__(self, heartbeat_delay: timedelta) -> None:
        self._heartbeat_delay = heartbeat_delay
        self._running: dict[Key, BatchProgress[Result]] = {}
        self._finished: dict[Key, FinishedBatch[Result]] = {}
        """The oldest first."""
        self._bytes: Counter[str] = Counter()
        """Bytes of finished batches, by tenant."""

    def join(
        self,
        tenant: str,
        earlier: Outcomes,
        work: Callable[[BatchProgress[Result]], Coroutine[Any, Any, Result]],
    ) -> tuple[BatchProgress[Result], asyncio.Task[Result]]:
        """Return the progress of the present activity and its work, which is started if it is not running."""
        info = activity.info()
        key = (info.workflow_run_id or "", info.activity_id)
        progress = self._known(key) or BatchProgress[Result](self._heartbeat_delay)
        progress.begin_try(earlier)
        task = progress.join(lambda: work(progress), lambda: self._finish(key, tenant))
        if not task.done():
            self._running[key] = progress
        return progress, task

    def _known(self, key: Key) -> BatchProgress[Result] | None:
        if key in self._running:
            return self._running[key]
        finished = self._finished.get(key)
        return finished.progress if finished and finished.until > time.monotonic() else None

    def _finish(self, key: Key, tenant: str) -> None:
        progress = self._running.get(key)
        if progress is None or progress.is_running:  # this work was cancelled, and has been started again since
            return
        del self._running[key]
        self._forget(key)
        self._finished[key] = FinishedBatch(progress, tenant, _size(progress), time.monotonic() + RETENTION_SECONDS)
        self._bytes[tenant] += self._finished[key].size
        self._evict()

    def _evict(self) -> None:
        while self._finished and next(iter(self._finished.values())).until <= time.monotonic():
            self._forget(next(iter(self._finished)))
        while self._bytes.total() > MAX_BYTES:
            ((largest, _),) = self._bytes.most_common(1)
            self._forget(next(key for key, finished in self._finished.items() if finished.tenant == largest))

    def _forget(self, key: Key) -> None:
        finished = self._finished.pop(key, None)
        if finished is None:
            return
        self._bytes[finished.tenant] -= finished.size
        if not self._bytes[finished.tenant]:
            del self._bytes[finished.tenant]


def reported_outcomes() -> Outcomes:
    """Return the outcomes that an earlier try of the present activity has reported."""
    details = activity.info().heartbeat_details
    if not details:
        return {}
    reported = REPORTED.validate_python(details[0])
    return {(number, outcome.delivery): outcome for number, outcomes in reported.items() for outcome in outcomes}


def _can_be_joined(work: asyncio.Task[Any]) -> bool:
    if not work.done():
        return not work.cancelling()
    return not work.cancelled() and work.exception() is None


def _has_to_stop() -> bool:
    """Return whether the activity was cancelled because its worker stops, or because it has timed out."""
    details = activity.cancellation_details()
    return activity.is_worker_shutdown() or (details is not None and details.timed_out)


def _size(progress: BatchProgress[Any]) -> int:
    return sum(
        OUTCOME_BYTES
        + sys.getsizeof(outcome.response_excerpt)
        + sum(sys.getsizeof(name) + sys.getsizeof(value) for name, value in outcome.response_headers.items())
        for outcome in progress.outcomes.values()
    )
