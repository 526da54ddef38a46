"""Accept events, and start their runs.

An event is accepted once its row is committed, which has all that starts its run, and names the run that will have it.
The run is started afterwards, at once. If that fails, it is started from the row
(`hookkeeper.services.starts.look_after`). Temporal starts an id once, so a start can be repeated.
"""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import Any

from hookkeeper.asyncio_tasks import stop
from hookkeeper.messages.rows import EventRow
from hookkeeper.registry.events.rows import EventRows, EventSnapshot
from hookkeeper.services.starts.limit import RecentTenants, StartLimit
from hookkeeper.services.starts.queue import NewRun
from hookkeeper.services.starts.shared_starts import SharedStarts
from hookkeeper.services.starts.starting import Outage, starting
from hookkeeper.temporal.events.run_state import unstarted_state
from hookkeeper.temporal.gateway import Gateway, check_digest
from hookkeeper.temporal.server.error_translation import Unavailable
from hookkeeper.tenant_limits import STARTS, STARTS_IN_TROUBLE


class EventStarts:
    """One for the process. Methods raise RegistryUnavailable: the outcome is not known then; repeated, it is one
    event.
    """

    def __init__(self, gateway: Gateway, rows: EventRows, max_events_per_run: int) -> None:
        self._gateway = gateway
        self._rows = rows
        self._shares = max_events_per_run > 1
        active = RecentTenants()
        self._outage = Outage()
        self._in_trouble = StartLimit(STARTS_IN_TROUBLE.total, active, only_in_trouble=True)
        self._shared, self._slow = (
            SharedStarts(gateway, rows, max_events_per_run, self._in_trouble, self._outage, self._start_own)
            for _ in range(2)
        )
        """Events of webhooks that fail or are slow have starts of their own: no other event waits for those."""
        self._limit = StartLimit(STARTS.total, active)
        self._waiting = STARTS.limit()
        self._tasks: set[asyncio.Task[bool]] = set()

    async def aclose(self) -> None:
        """Stop the starts that are under way. They may have taken effect."""
        await asyncio.gather(*map(stop, self._under_way()))

    async def settled(self) -> None:
        """Wait until no start is under way."""
        while tasks := self._under_way():
            await asyncio.wait(tasks)

    def _under_way(self) -> set[asyncio.Task[Any]]:
        return {*self._tasks, *self._shared.tasks, *self._slow.tasks}

    async def accept(self, run: NewRun, *, may_share: bool = False) -> EventSnapshot:
        """Commit the event's row, and start its run afterwards; return the event.

        The id decides: another event with this id and the same digest is the same event; with another digest, it raises
        `Conflict`.
        """
        shared = self._slow if run.expected == "slow" else self._shared
        if run.expected == "slow":
            self._in_trouble.note_trouble(run.event.tenant)
        if may_share and self._shares and run.is_plain():
            answer = await shared.accept(run)
            if answer is not None:
                row, earlier = answer
                return await self._known(earlier, run.event.digest) if earlier else _accepted(run, row)
        return await self._accept_alone(run)

    async def _accept_alone(self, run: NewRun) -> EventSnapshot:
        """Accept an event that has its own run. It waits for the starts of its tenant before it, unless Temporal is
        away: a tenant that is faster than its runs are started would fill Temporal, and the registry.
        """
        report = run.report(None)
        async with AsyncExitStack() as slot:
            has_slot = not self._outage.is_on and await self._outage.unless_on(
                slot.enter_async_context(self._slot(run))
            )
            earlier = (await self._rows.accept([report])).get(run.name)
            run.has_place()
            if earlier:
                return await self._known(earlier, run.event.digest)
            self._begin(run, slot if has_slot else None)
        return _accepted(run, report.event)

    async def known(self, tenant: str, event_id: str, digest: str) -> EventSnapshot | None:
        """Return an event that was accepted before; None if there is none. Raises `Conflict` if its content differs."""
        earlier = await self._rows.find(tenant, event_id)
        return await self._known(earlier, digest) if earlier else None

    async def _known(self, earlier: EventRow, digest: str) -> EventSnapshot:
        check_digest(*earlier.name, digest, earlier.digest)
        if (found := await self._rows.read(*earlier.name)) is None:
            raise Unavailable("the registry was restored, and lacks this event's data until `hookkeeper reindex`")
        return replace(found, duplicate=True)

    def _begin(self, run: NewRun, slot: AsyncExitStack | None) -> None:
        """Start a run in the background, unless too many wait: its row is found later."""
        if not self._waiting.acquire_now(run.event.tenant):
            return
        task = asyncio.create_task(self._start_in(slot.pop_all(), run) if slot else self._start_own(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._waiting.release(run.event.tenant))

    async def _start_in(self, slot: AsyncExitStack, run: NewRun) -> bool:
        """Start the event's own run in a slot that it may have; return whether Temporal has stored it."""
        async with slot:
            start = asyncio.create_task(starting(self._gateway.runs.start(run.event), 1, self._limit))
            try:
                if not self._outage.is_on:
                    await self._outage.watch(start)
                is_stored = await start
            finally:
                await stop(start)
        if is_stored:
            self._outage.end()
        return is_stored

    async def _start_own(self, run: NewRun) -> bool:
        """Start the own run of an event that could have shared one."""
        async with AsyncExitStack() as slot:
            await slot.enter_async_context(self._slot(run))
            return await self._start_in(slot.pop_all(), run)

    def _slot(self, run: NewRun) -> AbstractAsyncContextManager[None]:
        return self._limit.slot(run.event.tenant, run.activities)


def _accepted(run: NewRun, row: EventRow) -> EventSnapshot:
    return EventSnapshot(row, run.event, unstarted_state(run.event))
