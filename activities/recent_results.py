"""What this process knows of the activities that were tried here lately: what is under way, and what has come of it.

Temporal tries an activity again when it has heard nothing of it for ten seconds. Where Temporal itself was away, this
worker knows more than the heartbeats say: the next try joins what is still under way, and answers with what is over.
A try that reaches another worker process knows the heartbeats only.
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

KEPT_FOR = 3600.0
"""Seconds that a finished activity is kept: Temporal may be away for so long."""
KEPT_BYTES = 32 * 1024 * 1024
"""Of the outcomes of finished activities, about; some 10,000 of one outcome each. The tenant that has most loses its
oldest first."""

Result = TypeVar("Result")
Key = tuple[str, str]


class Tries(Generic[Result]):
    """One activity, and what all its tries in this process share."""

    def __init__(self) -> None:
        self.known: dict[str, Outcome] = {}
        """By delivery."""
        self._work: asyncio.Task[Result] | None = None
        self._heartbeat: Callable[..., None] = activity.heartbeat

    def begin(self, earlier: Mapping[str, Outcome]) -> None:
        """Let the present try report for all; `earlier` is what the heartbeats of earlier ones say."""
        self.known.update({id_: outcome for id_, outcome in earlier.items() if id_ not in self.known})
        self._heartbeat = partial(copy_context().run, activity.heartbeat)

    def report(self) -> None:
        """Tell Temporal what is known, in the name of the latest try."""
        self._heartbeat(*self.known.values())

    def join(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> asyncio.Task[Result]:
        """Give what is under way or has succeeded; start it where nothing has, or it failed."""
        if self._work is None or (self._work.done() and not _has_succeeded(self._work)):
            self._work = asyncio.create_task(work())
        return self._work


@dataclass(frozen=True, slots=True)
class Kept(Generic[Result]):
    """A finished activity."""

    tries: Tries[Result]
    tenant: str
    size: int
    until: float


class Recent(Generic[Result]):
    """All activities that are under way in this process, and the latest that are over."""

    def __init__(self) -> None:
        self._under_way: dict[Key, Tries[Result]] = {}
        self._over: dict[Key, Kept[Result]] = {}
        """The oldest first."""
        self._bytes: Counter[str] = Counter()
        """Of what is over, by tenant."""

    def join(
        self,
        tenant: str,
        earlier: Mapping[str, Outcome],
        work: Callable[[Tries[Result]], Coroutine[Any, Any, Result]],
    ) -> tuple[Tries[Result], asyncio.Task[Result]]:
        """Give what is known of the present activity, and its work, which is started unless it is there."""
        info = activity.info()
        key = (info.workflow_run_id or "", info.activity_id)
        tries = self._known(key) or Tries[Result]()
        tries.begin(earlier)
        task = tries.join(lambda: work(tries))
        if not task.done() and key not in self._under_way:
            self._under_way[key] = tries
            task.add_done_callback(lambda _: self._finish(key, tenant))
        return tries, task

    def _known(self, key: Key) -> Tries[Result] | None:
        if key in self._under_way:
            return self._under_way[key]
        kept = self._over.get(key)
        return kept.tries if kept and kept.until > time.monotonic() else None

    def _finish(self, key: Key, tenant: str) -> None:
        tries = self._under_way.pop(key)
        self._forget(key)
        self._over[key] = Kept(tries, tenant, _size(tries), time.monotonic() + KEPT_FOR)
        self._bytes[tenant] += self._over[key].size
        self._make_room()

    def _make_room(self) -> None:
        while self._over and next(iter(self._over.values())).until <= time.monotonic():
            self._forget(next(iter(self._over)))
        while self._bytes.total() > KEPT_BYTES:
            ((largest, _),) = self._bytes.most_common(1)
            self._forget(next(key for key, kept in self._over.items() if kept.tenant == largest))

    def _forget(self, key: Key) -> None:
        kept = self._over.pop(key, None)
        if kept is None:
            return
        self._bytes[kept.tenant] -= kept.size
        if not self._bytes[kept.tenant]:
            del self._bytes[kept.tenant]


def _has_succeeded(work: asyncio.Task[Any]) -> bool:
    return not work.cancelled() and work.exception() is None


def _size(tries: Tries[Any]) -> int:
    return sum(REST_OF_OUTCOME + sys.getsizeof(outcome.response_excerpt) for outcome in tries.known.values())
