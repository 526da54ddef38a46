"""Start the runs of events. Whatever happens, an event is in one run only.

Every event is first claimed for the run that it will be in (`hookkeeper.registry.claims`). An earlier claim leads to
the run that has the event. If that is a shared run that does not exist, because the process with the claim has died, an
empty run takes its id, so that no start of it can succeed any more; then the event is started as a new one.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial

from hookkeeper.messages.run_report import first_report
from hookkeeper.registry.claims import Claim, Claims
from hookkeeper.registry.index.buffer import IndexBuffer
from hookkeeper.services.outlasting_starts import OutlastingStarts
from hookkeeper.services.shared_starts import SharedStarts, start_own
from hookkeeper.services.start_limit import RecentTenants, StartLimit
from hookkeeper.services.start_queue import NewRun, NotStarted
from hookkeeper.temporal.gateway import Gateway, Started, check_digest
from hookkeeper.temporal.shared_runs import EventInRun
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

    def __init__(self, gateway: Gateway, claims: Claims, index: IndexBuffer, max_events_per_run: int) -> None:
        self._gateway = gateway
        self._claims = claims
        self._index = index
        self._shares = max_events_per_run > 1
        active = RecentTenants()
        self._shared = SharedStarts(gateway, claims, index, max_events_per_run, active)
        self._own_limit = StartLimit(MAX_CONCURRENT_STARTS, active)
        self._outlasting = OutlastingStarts()

    async def aclose(self) -> None:
        """Stop the starts that go on without a request. They may have taken effect."""
        await self._outlasting.aclose()

    async def start(self, run: NewRun, *, may_share: bool = False) -> Started:
        """Start a run for the event, or return the one that has it, once Temporal has stored it.

        The id decides: another event with this id and the same digest is the same event; with another digest, it raises
        `Conflict`. Raises `QueueFull`.
        """
        if run.expected == "slow":
            self._shared.limit.note_trouble(run.event.tenant)
        may_share = may_share and self._shares and run.is_plain()
        refused = None
        if run not in self._outlasting:
            answer = await (self._shared.start(run) if may_share else self._start_alone(run))
            if isinstance(answer, Started):
                return answer
            refused = answer.shared_run
        return await self._outlasting.start(run, partial(self._start_known, run, refused, may_share=may_share))

    async def _start_alone(self, run: NewRun) -> Started | NotStarted:
        """Start the event's own run, unless its id was claimed before.

        An id that the client gave is claimed also if nothing is shared here: other processes may share.
        """
        if (self._shares or run.has_own_id) and await self._earlier_claim(run):
            return NotStarted()
        return await self._start_own(run)

    async def _start_known(self, run: NewRun, refused: str | None, *, may_share: bool) -> Started:
        """Return the run of an event that was claimed before, or start one if no run has it, and none will.

        `refused`: Temporal has refused a start of this shared run with the event, because the run exists.
        """
        missed: set[str] = set()
        """Shared runs that lack the event. The index can name one again, if the event's claim is lost."""
        while (claim := await self._earlier_claim(run)) is not None and (shared_run := claim.shared_run) is not None:
            if shared_run in missed:
                break
            is_ours = shared_run == refused
            if found := await self._find_or_block(claim, shared_run, is_patient=not is_ours):
                check_digest(*run.key, run.digest, found.digest)
                if is_ours and found.workflow_id == shared_run:
                    self._index.put(first_report(run.event, found.state, found.run_id, run.digest, shared_run))
                return Started(found.workflow_id, found.run_id, found.state, duplicate=not is_ours)
            missed.add(shared_run)
            if is_ours or not may_share:
                await self._claims.move([run.key], shared_run, None)
                continue
            # After an outage, many events come again at the same moment: they share runs again, which is cheaper.
            may_share = False
            await self._claims.release([run.key], shared_run)
            event = run.event.model_copy(update={"accepted_at": utc_now()})  # so that other processes wait for the run
            answer = await self._shared.start(replace(run, event=event))
            if isinstance(answer, Started):
                return answer
            refused = answer.shared_run
        return await self._start_own(run)

    async def _start_own(self, run: NewRun) -> Started:
        async with self._own_limit.slot(run.event.tenant, run.activities):
            with self._own_limit.timed():
                return await start_own(self._gateway, self._index, run)

    async def _earlier_claim(self, run: NewRun) -> Claim | None:
        """Claim the event for its own run; return the claim that was there before."""
        given = [run.key] if run.has_own_id else ()
        return (await self._claims.claim([run.claim(None)], given)).get(run.key)

    async def _find_or_block(self, claim: Claim, shared_run: str, *, is_patient: bool) -> EventInRun | None:
        """Return the event in its shared run; None if it is not there, and will not be.

        If there is no such run, its id is taken, so that it cannot be started any more. `is_patient`: wait before that,
        because another process may be starting it.
        """
        await self._shared.wait_for_start(shared_run)
        begin = utc_now()
        while True:
            if found := await self._gateway.shared_runs.event_in(shared_run, *claim.key):
                return found
            now = utc_now()
            if not is_patient or max(now - begin, now - claim.accepted_at) > START_TIME:
                break
            await asyncio.sleep(LOOK_INTERVAL)
        if await self._gateway.shared_runs.block(shared_run):
            return None
        return await self._gateway.shared_runs.event_in(shared_run, *claim.key)
