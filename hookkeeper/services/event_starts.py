"""Start the runs of events. Whatever happens, an event is in one run only.

Every event gets its row first, which names the run that it will be in (`hookkeeper.registry.event_rows`). A row that is
there already leads to the run that has the event. If that is a shared run that does not exist, because the process that
was to start it has died, an empty run with its id is started, and the row moves to another run. Temporal starts an id
once: either the late start is refused, or it was first, and has the event. No clock decides that.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from hookkeeper.asyncio_tasks import stop
from hookkeeper.limits import TenantLimit
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.registry.index.writing import AcceptedEvent, Key
from hookkeeper.services.shared_starts import SharedStarts, start_own
from hookkeeper.services.start_limit import RecentTenants, StartLimit
from hookkeeper.services.start_queue import DELIVERY_BYTES, NewRun
from hookkeeper.temporal.events.gateway import Gateway
from hookkeeper.temporal.events.own_runs import EventSnapshot
from hookkeeper.temporal.server.error_translation import Unavailable
from hookkeeper.times import utc_now

MAX_CONCURRENT_STARTS = 32
"""Own runs that a process starts at the same time, half of them of one tenant. Excess starts wait here, tenant by
tenant, so that a flood of one tenant does not delay others in Temporal."""
START_TIME = timedelta(seconds=3)
"""A shared run that does not exist so long after its events came is replaced. A wrong clock costs runs only."""
LOOK_INTERVAL = 0.1
"""Seconds until another look for a shared run that another process may be starting."""
MAX_STARTS = 500
"""Starts and kept answers of a process, half of them of one tenant. Excess starts end with their requests."""
BYTES_PER_START = 32 * 1024
"""An event with more bytes counts as several."""
MAX_SECONDS = 30.0
"""Seconds for a start."""
KEPT_SECONDS = 30.0
"""For which an answer is kept that no request has waited for."""

Start = Callable[[], Coroutine[Any, Any, EventSnapshot]]


class EventStarts:
    """Starts runs, one for each event. Methods raise the errors of the registry and of Temporal.

    After Unavailable and RegistryUnavailable the outcome is not known: started again, it is one event.
    """

    def __init__(self, gateway: Gateway, rows: EventRows, max_events_per_run: int) -> None:
        self._gateway = gateway
        self._rows = rows
        self._shares = max_events_per_run > 1
        active = RecentTenants()
        self._shared = SharedStarts(gateway, rows, max_events_per_run, active)
        self._own_limit = StartLimit(MAX_CONCURRENT_STARTS, active)
        self._outlasting = OutlastingStarts()

    async def aclose(self) -> None:
        """Stop the starts that go on without a request. They may have taken effect."""
        await self._outlasting.aclose()

    async def start(self, run: NewRun, *, may_share: bool = False) -> EventSnapshot:
        """Start a run for the event, or return the one that has it, once Temporal has stored it.

        The id decides: another event with this id and the same digest is the same event; with another digest, it raises
        `Conflict`.
        """
        if run.expected == "slow":
            self._shared.limit.note_trouble(run.event.tenant)
        may_share = may_share and self._shares and run.is_plain()
        if run not in self._outlasting:
            started = await (self._shared.start(run) if may_share else self._start_alone(run))
            if started is not None:
                return started
        return await self._outlasting.start(run, partial(self._start_known, run, may_share=may_share))

    async def _start_alone(self, run: NewRun) -> EventSnapshot | None:
        """Start the event's own run; None if its id was accepted before."""
        if not (run.has_own_id or run.is_ordered):
            started, _ = await asyncio.gather(self._start_own(run), self._rows.add(run.acceptance(None)))
            return started
        if not run.has_own_id:  # ordered: it takes its place in the line once its start may begin
            async with self._own_limit.slot(run.event.tenant, run.activities):
                await self._earlier(run)
                run.has_place()
                return await self._start_in_slot(run, is_new=True)
        earlier = await self._earlier(run)
        run.has_place()
        return None if earlier else await self._start_own(run, is_new=True)

    async def _start_known(self, run: NewRun, *, may_share: bool) -> EventSnapshot:
        """Return the run of an event that was accepted before, or start one if no run has it.

        The event keeps the time at which it was accepted first. Its rows are then those of this start: its webhooks may
        have changed.
        """
        while earlier := await self._earlier(run):
            run = run.instead_of(earlier)
            if found := await self._find(run, earlier.shared_run):
                return found
            if may_share and earlier.shared_run:
                # After an outage, many events come again at the same moment: they share runs again, which is cheaper.
                may_share = False
                if started := await self._shared.start(run):
                    return started
        return await self._start_own(run)

    async def _start_own(self, run: NewRun, *, is_new: bool = False) -> EventSnapshot:
        async with self._own_limit.slot(run.event.tenant, run.activities):
            return await self._start_in_slot(run, is_new=is_new)

    async def _start_in_slot(self, run: NewRun, *, is_new: bool) -> EventSnapshot:
        with self._own_limit.timed():
            return await start_own(self._gateway, self._rows, run, is_new=is_new)

    async def _earlier(self, run: NewRun) -> AcceptedEvent | None:
        """Add the event's row for its own run; return the row that was there before, unless it is replaced."""
        return (await self._rows.accept([run.acceptance(None)])).get(run.key)

    async def _find(self, run: NewRun, shared_run: str | None) -> EventSnapshot | None:
        """Return the event in the run of its row; None if it is not there, and no shared run can have it any more.

        Another process may be starting the shared run, so this waits for some time. Raises `Conflict`.
        """
        known = partial(self._gateway.known, *run.key, run.event.digest)
        if shared_run is None:
            return await known()
        await self._shared.wait_for_start(shared_run)
        while not (found := await known()):
            if utc_now() - run.event.accepted_at > START_TIME:
                return None if await self._gateway.start_shared(shared_run, ()) else await known()
            await asyncio.sleep(LOOK_INTERVAL)
        return found


class OutlastingStarts:
    """Starts of events whose ids have rows already. Each event has one at a time.

    They outlast their requests: while Temporal is slow, the next request with the same event finds the answer.
    """

    def __init__(self) -> None:
        self._limit = TenantLimit(MAX_STARTS)
        self._tasks: dict[tuple[Key, str], asyncio.Task[EventSnapshot]] = {}
        """By event and digest."""

    def __contains__(self, run: NewRun) -> bool:
        """Return whether the start of this event is under way, or its answer is kept."""
        return (run.key, run.event.digest) in self._tasks

    async def start(self, run: NewRun, start: Start) -> EventSnapshot:
        """Return the answer of the event's start, or of `start` if it has none. Raises its errors, and Unavailable."""
        task = self._tasks.get((run.key, run.event.digest)) or self._begin(run, start)
        if task is None:
            return await start()
        started = await asyncio.shield(task)
        is_first = self._forget(run, task)
        return started if is_first else replace(started, duplicate=True)

    async def aclose(self) -> None:
        """Stop those that are under way."""
        await asyncio.gather(*map(stop, self._tasks.values()))

    def _begin(self, run: NewRun, start: Start) -> asyncio.Task[EventSnapshot] | None:
        if not self._limit.acquire_now(run.event.tenant, _slots(run)):
            return None
        task = self._tasks[run.key, run.event.digest] = asyncio.create_task(_in_time(start))
        task.add_done_callback(partial(self._end, run))
        return task

    def _end(self, run: NewRun, task: asyncio.Task[EventSnapshot]) -> None:
        if task.cancelled() or task.exception():
            self._forget(run, task)
        else:
            asyncio.get_running_loop().call_later(KEPT_SECONDS, self._forget, run, task)

    def _forget(self, run: NewRun, task: asyncio.Task[EventSnapshot]) -> bool:
        """Return whether it was known until now."""
        key = run.key, run.event.digest
        if self._tasks.get(key) is not task:
            return False
        del self._tasks[key]
        self._limit.release(run.event.tenant, _slots(run))
        return True


def _slots(run: NewRun) -> int:
    return 1 + (run.size + DELIVERY_BYTES * len(run.event.deliveries)) // BYTES_PER_START


async def _in_time(start: Start) -> EventSnapshot:
    try:
        async with asyncio.timeout(MAX_SECONDS):
            return await start()
    except TimeoutError:
        raise Unavailable("the registry and Temporal together took too long") from None
