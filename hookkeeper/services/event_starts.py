"""Start the runs of events. Whatever happens, an event is in one run only.

Every event gets its row first, which names the run that it will be in (`hookkeeper.registry.event_rows`). A row that is
there already leads to the run that has the event. If that is a shared run that does not exist, because the process that
was to start it has died, the row moves to another run; a late start of the shared run sends nothing then
(`activities.delivery_batch`).
"""

import asyncio
from datetime import timedelta
from functools import partial

from hookkeeper.registry.event_rows import EventRows
from hookkeeper.registry.index.writing import AcceptedEvent
from hookkeeper.services.outlasting_starts import OutlastingStarts
from hookkeeper.services.shared_starts import SharedStarts, start_own
from hookkeeper.services.start_limit import RecentTenants, StartLimit
from hookkeeper.services.start_queue import NewRun, NotStarted
from hookkeeper.temporal.gateway import Gateway, Started, check_digest
from hookkeeper.times import utc_now

MAX_CONCURRENT_STARTS = 32
"""Own runs that a process starts at the same time, half of them of one tenant. Excess starts wait here, tenant by
tenant, so that a flood of one tenant does not delay others in Temporal."""
START_TIME = timedelta(seconds=3)
"""A shared run that does not exist so long after its events came is replaced."""
LOOK_INTERVAL = 0.1
"""Seconds until another look for a shared run that another process may be starting."""


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

    async def start(self, run: NewRun, *, may_share: bool = False) -> Started:
        """Start a run for the event, or return the one that has it, once Temporal has stored it.

        The id decides: another event with this id and the same digest is the same event; with another digest, it raises
        `Conflict`.
        """
        if run.expected == "slow":
            self._shared.limit.note_trouble(run.event.tenant)
        may_share = may_share and self._shares and run.is_plain()
        if run not in self._outlasting:
            answer = await (self._shared.start(run) if may_share else self._start_alone(run))
            if isinstance(answer, Started):
                return answer
        return await self._outlasting.start(run, partial(self._start_known, run, may_share=may_share))

    async def _start_alone(self, run: NewRun) -> Started | NotStarted:
        """Start the event's own run, unless its id was accepted before."""
        if not (run.has_own_id or run.is_ordered):
            started, _ = await asyncio.gather(self._start_own(run), self._rows.write([run.acceptance(None).report]))
            return started
        earlier = await self._earlier(run)
        run.has_place()
        return NotStarted() if earlier else await self._start_own(run, is_new=True)

    async def _start_known(self, run: NewRun, *, may_share: bool) -> Started:
        """Return the run of an event that was accepted before, or start one if no run has it.

        The event keeps the time at which it was accepted first.
        """
        while earlier := await self._earlier(run):
            run = run.accepted_at(earlier.accepted_at)
            if earlier.shared_run is None:
                break
            if found := await self._find(run, earlier.shared_run):
                return found
            if not may_share:
                await self._rows.move([run.key], earlier.shared_run, None)
                continue
            # After an outage, many events come again at the same moment: they share runs again, which is cheaper.
            may_share = False
            answer = await self._shared.start(run, instead_of=earlier.shared_run)
            if isinstance(answer, Started):
                return answer
        return await self._start_own(run)

    async def _start_own(self, run: NewRun, *, is_new: bool = False) -> Started:
        async with self._own_limit.slot(run.event.tenant, run.activities):
            with self._own_limit.timed():
                return await start_own(self._gateway, self._rows, run, is_new=is_new)

    async def _earlier(self, run: NewRun) -> AcceptedEvent | None:
        """Add the event's row for its own run; return the row that was there before."""
        return (await self._rows.accept([run.acceptance(None)])).get(run.key)

    async def _find(self, run: NewRun, shared_run: str) -> Started | None:
        """Return the event in the shared run of its row; None if it is not there.

        Another process may be starting the run, so this waits for some time. Raises `Conflict`.
        """
        await self._shared.wait_for_start(shared_run)
        while True:
            if found := await self._gateway.shared_runs.event_in(shared_run, *run.key):
                check_digest(*run.key, run.digest, found.digest)
                return Started(found.workflow_id, found.run_id, found.state, duplicate=True)
            if utc_now() - run.event.accepted_at > START_TIME:
                return None
            await asyncio.sleep(LOOK_INTERVAL)
