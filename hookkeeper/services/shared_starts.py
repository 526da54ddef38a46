"""Accept events that may share a run, in groups: one alone has its own; those that come meanwhile share the next."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from hookkeeper import ids
from hookkeeper.asyncio_tasks import stop
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.registry.index.writing import AcceptedEvent, Key
from hookkeeper.services.start_limit import RecentTenants, StartLimit
from hookkeeper.services.start_queue import NewRun, StartQueue
from hookkeeper.services.starting import starting
from hookkeeper.temporal.events.gateway import Gateway

MAX_CONCURRENT_GROUPS = 3
MAX_CONCURRENT_EVENTS = 1000
"""Events of tenants in trouble that wait or are being started, half of them of one tenant. Excess events wait.
Those of other tenants have no limit: the more of them wait, the fewer runs they take."""
PACE = 1 / 15
"""Seconds between two starts, unless as many events wait as can share a run. A run costs some 50 ms of CPU time in all
processes, however many events it has: with a start for each event, fifty events a second would fill two cores."""
TIMER_RESOLUTION = 0.001
"""Seconds by which a timer may end too early."""
SLOW_START = 0.1
"""Seconds. While a start is under way, another one begins with as many events as can share a run, or after this time.
The fewer starts, the more events share each."""
STUCK = 0.5
"""Seconds for a start, after which Temporal is away: until a start succeeds, none is waited for."""
AWAY_PACE = 1 / 30
"""Seconds between two groups while Temporal is away: they are only committed, and no request waits for long."""
MAX_STARTS = 20
"""Starts of a process that are under way while Temporal is away. Further events are started from their rows."""


class Answer(NamedTuple):
    """What became of an event: the shared run that it is in, and the event that was accepted with its id before."""

    shared_run: str | None
    earlier: AcceptedEvent | None


class SharedStarts:
    """Commits the rows of a group together, and starts its run afterwards."""

    def __init__(
        self,
        gateway: Gateway,
        rows: EventRows,
        max_events_per_run: int,
        active: RecentTenants,
        start_own: Callable[[NewRun], Awaitable[bool]],
    ) -> None:
        self._gateway = gateway
        self._rows = rows
        self._start_own = start_own
        self._queue = StartQueue(max_events_per_run)
        self.limit = StartLimit(MAX_CONCURRENT_EVENTS, active, only_in_trouble=True)
        self._answers: dict[NewRun, asyncio.Future[Answer]] = {}
        """Those of all events that wait, or are being accepted, for as long as their requests."""
        self._known: dict[Key, asyncio.Future[Answer]] = {}
        self._groups: set[asyncio.Task[None]] = set()
        """Groups that are being accepted, or whose starts are waited for."""
        self._starts: set[asyncio.Task[bool]] = set()
        self._is_away = False
        self._latest_start = float("-inf")

    async def aclose(self) -> None:
        """Stop the starts that are under way."""
        await asyncio.gather(*map(stop, self.tasks))

    @property
    def tasks(self) -> set[asyncio.Task[Any]]:
        """What is under way."""
        return {*self._groups, *self._starts}

    async def accept(self, run: NewRun) -> Answer | None:
        """Accept the event, alone or with others that wait; None if one with its id is being accepted."""
        if (same := self._known.get(run.key)) is not None:
            await asyncio.wait([same])
            return None
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._known[run.key] = self._answers[run] = answer
        try:
            async with self.limit.slot(run.event.tenant, run.activities):
                self._queue.put(run)
                self._start_groups()
                return await answer
        except asyncio.CancelledError:
            answer.cancel()
            self._queue.remove(run)
            raise
        finally:
            del self._known[run.key], self._answers[run]

    def _start_groups(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue and self._may_start(loop.time()):
            group = self._queue.take()
            if not group:
                return
            self._latest_start = loop.time()
            for seconds in (AWAY_PACE, PACE, SLOW_START):
                loop.call_later(seconds, self._start_groups)
            task = asyncio.create_task(self._start_group(group, ids.shared_run_id() if len(group) > 1 else None))
            self._groups.add(task)
            task.add_done_callback(partial(self._end_group, group))

    def _may_start(self, now: float) -> bool:
        """Return whether a start may begin: an event that comes alone starts at once."""
        is_due = self._queue.is_full or now - self._latest_start >= self._wait - TIMER_RESOLUTION
        return is_due and (self._is_away or len(self._groups) < MAX_CONCURRENT_GROUPS)

    @property
    def _wait(self) -> float:
        if self._is_away:
            return AWAY_PACE
        return SLOW_START if self._groups else PACE

    def _end_group(self, group: Sequence[NewRun], task: asyncio.Task[None]) -> None:
        self._groups.discard(task)
        self._queue.end(group)
        self._start_groups()

    def _resolve(self, run: NewRun, answer: Answer) -> None:
        if run in self._answers and not self._answers[run].done():
            self._answers[run].set_result(answer)

    async def _start_group(self, group: Sequence[NewRun], shared_run: str | None) -> None:
        acceptances = [run.acceptance(shared_run) for run in group]
        try:
            earlier = await self._rows.accept(acceptances)
        except Exception as error:  # noqa: BLE001 - each request raises it
            for run in group:
                if run in self._answers and not self._answers[run].done():
                    self._answers[run].set_exception(error)
            return
        known = {each.key for each in acceptances if each.key in earlier and earlier[each.key] != each.row}
        for run in group:
            self._resolve(run, Answer(shared_run, earlier[run.key] if run.key in known else None))
        new = [run for run in group if run.key not in known]
        if new and len(self._starts) < MAX_STARTS:
            await self._start(new, shared_run)

    async def _start(self, group: Sequence[NewRun], shared_run: str | None) -> None:
        """Start the run of a group, and wait for it unless Temporal is away."""
        start = asyncio.create_task(self._start_run(group, shared_run))
        self._starts.add(start)
        start.add_done_callback(self._starts.discard)
        if self._is_away:
            return
        try:
            async with asyncio.timeout(STUCK):
                self._is_away = not await asyncio.shield(start)
        except TimeoutError:
            self._is_away = True

    async def _start_run(self, group: Sequence[NewRun], shared_run: str | None) -> bool:
        """Return whether Temporal has stored the run."""
        if shared_run is None:
            is_stored = await self._start_own(group[0])
        else:
            start = self._gateway.start_shared(shared_run, [run.event for run in group])
            is_stored = await starting(start, len(group), self.limit)
        self._is_away = self._is_away and not is_stored
        return is_stored
