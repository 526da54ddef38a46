"""Accept events, and start their runs.

An event is accepted once its row is committed, which has all that starts its run, and names the run that will have it.
The run is started afterwards, at once. If that fails, it is started from the row (`hookkeeper.services.look_after`).
Temporal starts an id once, so a start can be repeated.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from hookkeeper import ids
from hookkeeper.asyncio_tasks import stop
from hookkeeper.limits import TenantLimit
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.registry.index.writing import AcceptedEvent
from hookkeeper.services.shared_starts import SharedStarts
from hookkeeper.services.start_limit import RecentTenants, StartLimit
from hookkeeper.services.start_queue import NewRun
from hookkeeper.services.starting import starting
from hookkeeper.temporal.events.gateway import Gateway, check_digest
from hookkeeper.temporal.events.own_runs import EventSnapshot
from hookkeeper.temporal.events.run_state import unstarted_state

MAX_CONCURRENT_STARTS = 32
"""Own runs that a process starts at the same time, half of them of one tenant. Excess starts wait here, tenant by
tenant, so that a flood of one tenant does not delay others in Temporal."""
MAX_STARTS = 500
"""Starts of a process that wait or are under way, half of them of one tenant. Excess events are started from rows."""


class EventStarts:
    """One for the process. Methods raise RegistryUnavailable: the outcome is not known then; repeated, it is one
    event.
    """

    def __init__(self, gateway: Gateway, rows: EventRows, max_events_per_run: int) -> None:
        self._gateway = gateway
        self._rows = rows
        self._shares = max_events_per_run > 1
        active = RecentTenants()
        self._shared = SharedStarts(gateway, rows, max_events_per_run, active, self._start_own)
        self._limit = StartLimit(MAX_CONCURRENT_STARTS, active)
        self._waiting = TenantLimit(MAX_STARTS)
        self._tasks: set[asyncio.Task[bool]] = set()

    async def aclose(self) -> None:
        """Stop the starts that are under way. They may have taken effect."""
        await asyncio.gather(*map(stop, self._tasks), self._shared.aclose())

    async def settled(self) -> None:
        """Wait until no start is under way."""
        while tasks := self._tasks | self._shared.tasks:
            await asyncio.wait(tasks)

    async def accept(self, run: NewRun, *, may_share: bool = False) -> EventSnapshot:
        """Commit the event's row, and start its run afterwards; return the event.

        The id decides: another event with this id and the same digest is the same event; with another digest, it raises
        `Conflict`.
        """
        if run.expected == "slow":
            self._shared.limit.note_trouble(run.event.tenant)
        if may_share and self._shares and run.is_plain():
            answer = await self._shared.accept(run)
            if answer is not None:
                shared_run, earlier = answer
                return await self._known(earlier, run.event.digest) if earlier else _accepted(run, shared_run)
        return await self._accept_alone(run)

    async def _accept_alone(self, run: NewRun) -> EventSnapshot:
        acceptance = run.acceptance(None)
        earlier = (await self._rows.accept([acceptance])).get(run.key)
        run.has_place()
        if earlier and earlier != acceptance.row:  # it is the same if a transaction that took effect was repeated
            return await self._known(earlier, run.event.digest)
        self._begin(run, self._start_own(run))
        return _accepted(run, None)

    async def known(self, tenant: str, event_id: str, digest: str) -> EventSnapshot | None:
        """Return an event that was accepted before; None if there is none. Raises `Conflict` if its content differs."""
        earlier = await self._rows.find(tenant, event_id)
        return await self._known(earlier, digest) if earlier else None

    async def _known(self, earlier: AcceptedEvent, digest: str) -> EventSnapshot:
        check_digest(*earlier.key, digest, earlier.digest)
        found = await self._gateway.reader.from_rows(*earlier.key) or await self._gateway.read(*earlier.key)
        return replace(found, duplicate=True)

    def _begin(self, run: NewRun, start: Coroutine[Any, Any, bool]) -> None:
        """Start a run in the background, unless too many wait: its row is found later."""
        if not self._waiting.acquire_now(run.event.tenant):
            start.close()
            return
        task = asyncio.create_task(start)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._waiting.release(run.event.tenant))

    async def _start_own(self, run: NewRun) -> bool:
        """Start the event's own run; return whether Temporal has stored it."""
        async with self._limit.slot(run.event.tenant, run.activities):
            return await starting(self._gateway.start(run.event), 1, self._limit)


def _accepted(run: NewRun, shared_run: str | None) -> EventSnapshot:
    workflow_id = shared_run or ids.workflow_id(*run.key)
    return EventSnapshot(workflow_id, "", 1, run.event, unstarted_state(run.event))
