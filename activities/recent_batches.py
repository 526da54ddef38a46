"""The batches that this process runs, and those that it has finished within the last hour.

Temporal retries an activity that has not been heard of for ten seconds. If it was Temporal that was unreachable, this
worker knows more than the heartbeats say: the next try joins the work that is still running, and returns a result that
is known. A try in another worker process knows the heartbeats only.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from typing import Any

from cachetools import TTLCache
from pydantic import TypeAdapter
from temporalio import activity

from hookkeeper.messages.batch import BatchResult
from hookkeeper.messages.outcomes import Outcome

RETENTION_SECONDS = 3600.0
"""A batch is kept for this time: Temporal may be unreachable for as long."""
MAX_OUTCOMES = 4000
"""Attempts of the batches that are kept: those of some busy seconds, in at most 32 MB. The oldest are dropped."""

Key = tuple[str, str]
OutcomeKey = tuple[int, str]
"""The place of an event in its batch, and the delivery."""
Outcomes = Mapping[OutcomeKey, Outcome]
REPORTED = TypeAdapter(dict[int, tuple[Outcome, ...]])
"""The detail of a heartbeat: the outcomes by the place of their event."""


class BatchProgress:
    """The outcomes and the work of an activity that makes attempts, for all its tries in this process."""

    def __init__(self, targets: int, heartbeat_delay: timedelta) -> None:
        self.targets = targets
        self.outcomes: dict[OutcomeKey, Outcome] = {}
        self._heartbeat_delay = heartbeat_delay.total_seconds()
        """Seconds from an outcome to the heartbeat that reports it, with all others until then: each has every one."""
        self._work: asyncio.Task[BatchResult] | None = None
        self._waiting = 0
        """Tries that wait for the work."""
        self._heartbeat: Callable[..., None] = lambda *details: None  # a local activity has none
        self._next_report: asyncio.TimerHandle | None = None

    def add(self, key: OutcomeKey, outcome: Outcome) -> None:
        """Add an outcome. It is reported to Temporal soon, unless the activity ends before."""
        self.outcomes[key] = outcome
        if self._next_report is None:
            self._next_report = asyncio.get_running_loop().call_later(self._heartbeat_delay, self.heartbeat)

    def heartbeat(self) -> None:
        """Report the outcomes to Temporal, as the latest try."""
        self._cancel_report()
        self._heartbeat(*self.details())

    def details(self) -> Sequence[object]:
        """Return the details of a heartbeat."""
        by_event: dict[int, list[Outcome]] = {}
        for (number, _), outcome in self.outcomes.items():
            by_event.setdefault(number, []).append(outcome)
        return (by_event,) if by_event else ()

    async def begin(self, work: "Work", seconds: float) -> BatchResult | None:
        """Start the work unless it is running, or has succeeded; return its result. None: another try has to join it,
        because it takes longer, or has failed after an attempt.
        """
        working = self._working(work)
        await asyncio.wait([working], timeout=seconds)
        has_to_be_joined = self.outcomes and not _can_be_joined(working)
        return working.result() if working.done() and not has_to_be_joined else None

    async def share(self, work: "Work") -> BatchResult:
        """Return the result of the work, which all tries share: it is started unless it is running, or has succeeded.

        The present try sends the heartbeats. If it has to stop, and no other waits, it cancels the work. If it is
        cancelled for another reason, it still waits: what was sent is recorded, not dropped.
        """
        self.outcomes |= {**reported_outcomes(), **self.outcomes}
        self._heartbeat = partial(copy_context().run, activity.heartbeat)
        working = self._working(work)
        self._waiting += 1
        try:
            while True:
                try:
                    return await asyncio.shield(working)
                except asyncio.CancelledError:
                    if working.cancelled():
                        raise
                    if _has_to_stop():
                        if self._waiting == 1:
                            working.cancel()
                        raise
        finally:
            self._waiting -= 1

    def _working(self, work: "Work") -> asyncio.Task[BatchResult]:
        """Return the work of all tries; start it if it cannot be joined."""
        if self._work is None or not _can_be_joined(self._work):
            self._work = asyncio.create_task(work(self))
            self._work.add_done_callback(lambda _: self._cancel_report())
        return self._work

    def _cancel_report(self) -> None:
        """Send no heartbeat for the outcomes that were added: one has been sent, or the result reports them."""
        if self._next_report is not None:
            self._next_report.cancel()
            self._next_report = None


Work = Callable[[BatchProgress], Coroutine[Any, Any, BatchResult]]


class RecentBatches:
    """The batches of this process, by run and activity."""

    def __init__(self, heartbeat_delay: timedelta) -> None:
        self._heartbeat_delay = heartbeat_delay
        self._known: TTLCache[Key, BatchProgress] = TTLCache(
            MAX_OUTCOMES, RETENTION_SECONDS, getsizeof=lambda progress: progress.targets
        )

    def of_this_activity(self, targets: int, begun_by: str = "") -> BatchProgress:
        """Return the progress of the present activity, with `targets` attempts, or of the one that began them."""
        info = activity.info()
        key = (info.workflow_run_id or "", begun_by or info.activity_id)
        progress = self._known.get(key)
        if progress is None:
            progress = self._known[key] = BatchProgress(min(targets, MAX_OUTCOMES), self._heartbeat_delay)
        return progress


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
