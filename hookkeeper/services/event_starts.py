"""Start the runs of events. Whatever happens, an event is in one run only.

Every event is first claimed for the run that it will be in (`hookkeeper.registry.claims`). An earlier claim leads to
the run that has the event. If that is a shared run that does not exist, because the process with the claim has died, an
empty run takes its id, so that no start of it can succeed any more; then the event is started as a new one.
"""

import asyncio
from datetime import timedelta

from hookkeeper.messages.run_report import first_report
from hookkeeper.registry.claims import Claim, Claims
from hookkeeper.registry.index.buffer import IndexBuffer
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

    async def start(self, run: NewRun, *, may_share: bool = False) -> Started:
        """Start a run for the event, or return the one that has it, once Temporal has stored it.

        The id decides: another event with this id and the same digest is the same event; with another digest, it raises
        `Conflict`. Raises `QueueFull`.
        """
        if run.expected == "slow":
            self._shared.limit.note_trouble(run.event.tenant)
        if not (self._shares and may_share and run.is_plain()):
            return await self._start_alone(run)
        answer = await self._shared.start(run)
        if isinstance(answer, NotStarted) and await self._release_stale_claim(run, answer.shared_run):
            answer = await self._shared.start(run)
        return answer if isinstance(answer, Started) else await self._start_alone(run, answer.shared_run)

    async def _release_stale_claim(self, run: NewRun, refused: str | None) -> bool:
        """Remove the event's claim if its shared run does not have it, and will not; return whether it did so.

        After an outage, many events come again at the same moment: they share runs again, which is cheaper.
        """
        claim = await self._claims.find(*run.key)
        if claim is None or claim.shared_run is None or claim.shared_run == refused:
            return False
        if await self._find_or_block(claim, claim.shared_run, is_patient=True):
            return False
        await self._claims.release([run.key], claim.shared_run)
        return True

    async def _start_alone(self, run: NewRun, refused: str | None = None) -> Started:
        """Start the event's own run, unless a shared one has it.

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
            await self._claims.move([run.key], shared_run, None)
        async with self._own_limit.slot(run.event.tenant, run.activities):
            with self._own_limit.timed():
                return await start_own(self._gateway, self._index, run)

    async def _earlier_claim(self, run: NewRun) -> Claim | None:
        """Claim the event for its own run; return the claim that was there before.

        An id that the client gave is claimed also if nothing is shared here: other processes may share.
        """
        if not (self._shares or run.has_own_id):
            return None
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
