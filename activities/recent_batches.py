"""The batches that this process runs, and those that it has finished lately.

Temporal retries an activity that has not been heard of for ten seconds. If it was Temporal that was unreachable, this
worker knows more than the heartbeats say: the next try joins the work that is still running, and returns a result that
is known. A try in another worker process knows the heartbeats only.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from temporalio import activity

from hookkeeper.outcomes import REST_OF_OUTCOME, Outcome

RETENTION_SECONDS = 3600.0
"""A finished batch is kept for this time: Temporal may be unreachable for as long."""
MAX_BYTES = 32 * 1024 * 1024
"""Of the outcomes of finished batches, approximately: some 10,000 of one outcome each. Above it, the tenant that has
most loses its oldest first."""

Result = TypeVar("Result")
Key = tuple[str, str]


class SharedBatch(Generic[Result]):
    """One batch, shared by all tries of its activity in this process."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        """By delivery."""
        self._work: asyncio.Task[Result] | None = None
        self._waiting = 0
        """Tries that wait for the work."""
        self._heartbeat: Callable[..., None] = activity.heartbeat

    def begin_try(self, earlier: Mapping[str, Outcome]) -> None:
        """Let the present try send the heartbeats; `earlier` are the outcomes in those of earlier tries."""
        self.outcomes.update({id_: outcome for id_, outcome in earlier.items() if id_ not in self.outcomes})
        self._heartbeat = partial(copy_context().run, activity.heartbeat)

    def heartbeat(self) -> None:
        """Report the outcomes to Temporal, as the latest try."""
        self._heartbeat(*self.outcomes.values())

    def join(
        self, work: Callable[[], Coroutine[Any, Any, Result]], when_done: Callable[[], None]
    ) -> asyncio.Task[Result]:
        """Return the work that is running or has succeeded; start it if there is none, or it failed."""
        if self._work is None or not _can_be_joined(self._work):
            self._work = asyncio.create_task(work())
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

    batch: SharedBatch[Result]
    tenant: str
    size: int
    until: float


class RecentBatches(Generic[Result]):
    """The batches that are running in this process, and the latest that are finished."""

    def __init__(self) -> None:
        self._running: dict[Key, SharedBatch[Result]] = {}
        self._finished: dict[Key, FinishedBatch[Result]] = {}
        """The oldest first."""
        self._bytes: Counter[str] = Counter()
        """Of finished batches, by tenant."""

    def join(
        self,
        tenant: str,
        earlier: Mapping[str, Outcome],
        work: Callable[[SharedBatch[Result]], Coroutine[Any, Any, Result]],
    ) -> tuple[SharedBatch[Result], asyncio.Task[Result]]:
        """Return the batch of the present activity and its work, which is started if it is not running."""
        info = activity.info()
        key = (info.workflow_run_id or "", info.activity_id)
        batch = self._known(key) or SharedBatch[Result]()
        batch.begin_try(earlier)
        task = batch.join(lambda: work(batch), lambda: self._finish(key, tenant))
        if not task.done():
            self._running[key] = batch
        return batch, task

    def _known(self, key: Key) -> SharedBatch[Result] | None:
        if key in self._running:
            return self._running[key]
        finished = self._finished.get(key)
        return finished.batch if finished and finished.until > time.monotonic() else None

    def _finish(self, key: Key, tenant: str) -> None:
        batch = self._running.get(key)
        if batch is None or batch.is_running:  # this work was cancelled, and has been started again since
            return
        del self._running[key]
        self._forget(key)
        self._finished[key] = FinishedBatch(batch, tenant, _size(batch), time.monotonic() + RETENTION_SECONDS)
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


def _can_be_joined(work: asyncio.Task[Any]) -> bool:
    if not work.done():
        return not work.cancelling()
    return not work.cancelled() and work.exception() is None


def _has_to_stop() -> bool:
    """Return whether the activity was cancelled because its worker stops, or because it has timed out."""
    details = activity.cancellation_details()
    return activity.is_worker_shutdown() or (details is not None and details.timed_out)


def _size(batch: SharedBatch[Any]) -> int:
    return sum(REST_OF_OUTCOME + sys.getsizeof(outcome.response_excerpt) for outcome in batch.outcomes.values())
