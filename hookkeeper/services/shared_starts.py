"""Start events that may share a run: one alone has its own run at once; those that come meanwhile share the next."""

import asyncio
from collections.abc import Sequence

from hookkeeper import ids
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.registry.index.writing import Key
from hookkeeper.services.start_limit import RecentTenants, StartLimit
from hookkeeper.services.start_queue import NewRun, StartQueue
from hookkeeper.temporal.events.gateway import Gateway
from hookkeeper.temporal.events.own_runs import EventSnapshot
from hookkeeper.temporal.events.run_state import unstarted_state
from hookkeeper.temporal.server.error_translation import Conflict, NamespaceUnprepared, RequestTooLarge

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


class SharedStarts:
    """Starts events in groups. A group's start goes on for as long as the request of one of its events."""

    def __init__(self, gateway: Gateway, rows: EventRows, max_events_per_run: int, active: RecentTenants) -> None:
        self._gateway = gateway
        self._rows = rows
        self._queue = StartQueue(max_events_per_run)
        self.limit = StartLimit(MAX_CONCURRENT_EVENTS, active, only_in_trouble=True)
        self._answers: dict[NewRun, asyncio.Future[EventSnapshot | None]] = {}
        """Those of all events that wait, or are being started, for as long as their requests."""
        self._known: dict[Key, asyncio.Future[EventSnapshot | None]] = {}
        self._groups: dict[asyncio.Task[None], list[NewRun]] = {}
        self._latest_start = float("-inf")
        self._starting: dict[str, asyncio.Task[None]] = {}
        """The groups whose shared runs are being started, by the ids of these."""

    async def start(self, run: NewRun) -> EventSnapshot | None:
        """Start the event, alone or with others that wait; None if its id was accepted before, or a run with others
        would be too large.
        """
        if (same := self._known.get(run.key)) is not None:
            await asyncio.wait([same])
            return None
        answer: asyncio.Future[EventSnapshot | None] = asyncio.get_running_loop().create_future()
        self._known[run.key] = self._answers[run] = answer
        try:
            async with self.limit.slot(run.event.tenant, run.activities):
                self._queue.put(run)
                self._start_groups()
                return await answer
        except asyncio.CancelledError:
            answer.cancel()
            self._queue.remove(run)
            self._stop_abandoned()
            raise
        finally:
            del self._known[run.key], self._answers[run]

    async def wait_for_start(self, shared_run: str) -> None:
        """Wait while this process is starting the shared run."""
        if (group := self._starting.get(shared_run)) is not None:
            await asyncio.wait([group])

    def _start_groups(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue and self._may_start(loop.time()):
            group = self._queue.take()
            if not group:
                return
            self._latest_start = loop.time()
            for seconds in (PACE, SLOW_START):
                loop.call_later(seconds, self._start_groups)
            shared_run = ids.shared_run_id() if len(group) > 1 else None
            task = asyncio.create_task(self._start_group(group, shared_run))
            self._groups[task] = group
            if shared_run is not None:
                self._starting[shared_run] = task
            task.add_done_callback(self._end_group)

    def _may_start(self, now: float) -> bool:
        """Return whether a start may begin: an event that comes alone starts at once."""
        wait = SLOW_START if self._groups else PACE
        is_due = self._queue.is_full or now - self._latest_start >= wait - TIMER_RESOLUTION
        return is_due and len(self._groups) < MAX_CONCURRENT_GROUPS

    def _end_group(self, task: asyncio.Task[None]) -> None:
        self._queue.end(self._groups.pop(task))
        self._starting = {run: group for run, group in self._starting.items() if group is not task}
        self._start_groups()

    def _stop_abandoned(self) -> None:
        """Cancel the starts whose requests have all ended. They may have taken effect."""
        for task, group in self._groups.items():
            if not any(self._is_awaited(run) for run in group):
                task.cancel()

    def _is_awaited(self, run: NewRun) -> bool:
        """Return whether a request waits for the answer."""
        return run in self._answers and not self._answers[run].done()

    def _resolve(self, run: NewRun, started: EventSnapshot | None) -> None:
        if self._is_awaited(run):
            self._answers[run].set_result(started)

    async def _start_group(self, group: Sequence[NewRun], shared_run: str | None) -> None:
        try:
            if shared_run is None and not group[0].has_own_id:
                self._resolve(group[0], await self._start_generated(group[0]))
                return
            earlier = await self._rows.accept([run.acceptance(shared_run) for run in group])
            for run in group:
                if run.key in earlier:
                    self._resolve(run, None)
            new = [run for run in group if run.key not in earlier]
            if shared_run is None:
                for run in new:
                    with self.limit.timed():
                        self._resolve(run, await start_own(self._gateway, self._rows, run, is_new=not run.earlier))
            elif new:
                await self._start_shared(new, shared_run)
        except Exception as error:  # noqa: BLE001 - each request raises it
            for run in group:
                if self._is_awaited(run):
                    self._answers[run].set_exception(error)

    async def _start_generated(self, run: NewRun) -> EventSnapshot:
        """Start an event whose id was generated for it. No other start has the id, so its row need not come first.

        If the row fails, the run may exist without it. So the event may not share a run when it comes again.
        """
        with self.limit.timed():
            started, _ = await asyncio.gather(self._gateway.start(run.event), self._rows.add(run.acceptance(None)))
        return started

    async def _start_shared(self, group: Sequence[NewRun], shared_run: str) -> None:
        run_id = None
        try:
            with self.limit.timed(len(group)):
                run_id = await self._gateway.start_shared(shared_run, [run.event for run in group])
        except RequestTooLarge:
            await self._rows.move([run.key for run in group], shared_run, None)
        for run in group:  # without a run, it is too large, or another process has blocked its id
            started = run_id and EventSnapshot(shared_run, run_id, 1, run.event, unstarted_state(run.event))
            self._resolve(run, started or None)


async def start_own(gateway: Gateway, rows: EventRows, run: NewRun, *, is_new: bool) -> EventSnapshot:
    """Start the event's own run.

    If Temporal has a run of the id that the registry has lost, a new row (`is_new`) is removed: it is not of that run.
    So is the row, with its places in lines, if Temporal takes no such run.
    """
    try:
        started = await gateway.start(run.event)
    except (Conflict, RequestTooLarge, NamespaceUnprepared) as error:
        if is_new or not isinstance(error, Conflict):
            await rows.remove(*run.key)
        raise
    if is_new and started.duplicate and started.event.accepted_at != run.event.accepted_at:
        await rows.remove(*run.key)
    return started
