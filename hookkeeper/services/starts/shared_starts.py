"""Accept events that may share a run, in groups: one alone has its own; those that come meanwhile share the next."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from hookkeeper import ids
from hookkeeper.messages.rows import EventRow
from hookkeeper.registry.events.rows import EventRows
from hookkeeper.registry.events.writing import Name
from hookkeeper.services.starts.limit import StartLimit
from hookkeeper.services.starts.queue import NewRun, StartQueue
from hookkeeper.services.starts.starting import Outage, starting
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.tenant_limits import STARTS

MAX_CONCURRENT_GROUPS = 3
PACE = 1 / 15
"""Seconds between two starts, unless as many events wait as can share a run, and no start is under way. A run costs
some 50 ms of CPU time in all processes, however many events it has: with a start for each event, fifty events a second
would fill two cores."""
WHILE_STARTING = 1.5
"""Times this pace while a start is under way: the fewer starts, the more events share each, and the fewer events of a
busy tenant are ahead of others in Temporal."""
WHILE_AWAY = 0.5
"""Times this pace while Temporal is away: groups are only committed, and no request waits for long."""
TIMER_RESOLUTION = 0.001
"""Seconds by which a timer may end too early."""

Answer = tuple[EventRow, EventRow | None]
"""The row of an event, and that of the event that was accepted with its id before."""


class SharedStarts:
    """Commits the rows of a group together, and starts its run afterwards."""

    def __init__(
        self,
        gateway: Gateway,
        rows: EventRows,
        max_events_per_run: int,
        limit: StartLimit,
        outage: Outage,
        start_own: Callable[[NewRun], Awaitable[bool]],
    ) -> None:
        self._gateway = gateway
        self._rows = rows
        self._outage = outage
        self._start_own = start_own
        self._queue = StartQueue(max_events_per_run)
        self._limit = limit
        self._answers: dict[NewRun, asyncio.Future[Answer]] = {}
        """Answers to all events that wait, or are being accepted, for as long as their requests."""
        self._known: dict[Name, asyncio.Future[Answer]] = {}
        self._groups: set[asyncio.Task[None]] = set()
        """Groups that are being accepted, or whose starts are waited for."""
        self._starts: set[asyncio.Task[bool]] = set()
        self._latest_start = float("-inf")

    @property
    def tasks(self) -> set[asyncio.Task[Any]]:
        """What is under way."""
        return {*self._groups, *self._starts}

    async def accept(self, run: NewRun) -> Answer | None:
        """Accept the event, alone or with others that wait; None if one with its id is being accepted."""
        if (same := self._known.get(run.name)) is not None:
            await asyncio.wait([same])
            return None
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._known[run.name] = self._answers[run] = answer
        try:
            async with self._limit.slot(run.event.tenant, run.activities):
                self._queue.put(run)
                self._start_groups()
                return await answer
        except asyncio.CancelledError:
            answer.cancel()
            self._queue.remove(run)
            raise
        finally:
            del self._known[run.name], self._answers[run]

    def _start_groups(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue and self._may_start(loop.time()):
            group = self._queue.take()
            if not group:
                return
            self._latest_start = loop.time()
            for times in (WHILE_AWAY, 1, WHILE_STARTING):
                loop.call_later(times * PACE, self._start_groups)
            task = asyncio.create_task(self._start_group(group, ids.shared_run_id() if len(group) > 1 else None))
            self._groups.add(task)
            task.add_done_callback(partial(self._end_group, group))

    def _may_start(self, now: float) -> bool:
        """Return whether a start may begin: an event that comes alone starts at once."""
        has_paused = now - self._latest_start >= self._wait - TIMER_RESOLUTION
        is_due = has_paused or (self._queue.is_full and not self._groups)
        return is_due and (self._outage.is_on or len(self._groups) < MAX_CONCURRENT_GROUPS)

    @property
    def _wait(self) -> float:
        if self._outage.is_on:
            return WHILE_AWAY * PACE
        return WHILE_STARTING * PACE if self._groups else PACE

    def _end_group(self, group: Sequence[NewRun], task: asyncio.Task[None]) -> None:
        self._groups.discard(task)
        self._queue.end(group)
        self._start_groups()

    def _resolve(self, run: NewRun, answer: Answer) -> None:
        if run in self._answers and not self._answers[run].done():
            self._answers[run].set_result(answer)

    async def _start_group(self, group: Sequence[NewRun], shared_run: str | None) -> None:
        reports = [run.report(shared_run) for run in group]
        try:
            known = await self._rows.accept(reports)
        except Exception as error:  # noqa: BLE001 - each request raises it
            for run in group:
                if run in self._answers and not self._answers[run].done():
                    self._answers[run].set_exception(error)
            return
        for run, report in zip(group, reports, strict=True):
            self._resolve(run, (report.event, known.get(run.name)))
        new = [run for run in group if run.name not in known]
        if new and len(self._starts) < STARTS.total:
            await self._start(new, shared_run)

    async def _start(self, group: Sequence[NewRun], shared_run: str | None) -> None:
        """Start the run of a group, and wait for it unless Temporal is away."""
        start = asyncio.create_task(self._start_run(group, shared_run))
        self._starts.add(start)
        start.add_done_callback(self._starts.discard)
        if self._outage.is_on:
            return
        if shared_run is None:  # it waits for its tenant's starts, and then watches its own
            await self._outage.unless_on(asyncio.shield(start))
        else:
            await self._outage.watch(start)

    async def _start_run(self, group: Sequence[NewRun], shared_run: str | None) -> bool:
        """Return whether Temporal has stored the run."""
        if shared_run is None:
            return await self._start_own(group[0])
        start = self._gateway.runs.start_shared(shared_run, [run.event for run in group])
        is_stored = await starting(start, len(group), self._limit)
        if is_stored:
            self._outage.end()
        return is_stored
