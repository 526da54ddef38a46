"""The runs of events: start one, find the one that has an event, and mend what Temporal has lost or ended by itself.

The row of an event names its run before it is started, so a start can be repeated at any time.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import structlog
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.exceptions import WorkflowAlreadyStartedError

from hookkeeper import ids, metrics
from hookkeeper.messages.event import FINAL, OPEN, EventInput, EventState
from hookkeeper.messages.partition import parts_of
from hookkeeper.messages.rows import EventRow
from hookkeeper.messages.run_report import RunReport, row_of
from hookkeeper.messages.shared_run import SharedRunInput
from hookkeeper.registry.events.rows import EventRows
from hookkeeper.temporal.events import run_state
from hookkeeper.temporal.events.event_start import start_run
from hookkeeper.temporal.events.lines import LineCalls
from hookkeeper.temporal.events.own_runs import read_own
from hookkeeper.temporal.events.shared_runs import find_shared_run, start_shared_run, state_of
from hookkeeper.temporal.server.error_translation import (
    NOT_FOUND_MESSAGES,
    Unavailable,
    UnknownEvent,
    translated_errors,
)
from hookkeeper.temporal.server.readiness import Readiness
from hookkeeper.temporal.server.visibility import read_all
from hookkeeper.times import utc_now

CUT_SHORT = (WorkflowExecutionStatus.TERMINATED, WorkflowExecutionStatus.TIMED_OUT)
DELETION_INTERVAL = 0.05
"""Seconds until the next start of a run whose id is taken by one that the server has just deleted."""
log = structlog.get_logger("hookkeeper.events")


class RunState(NamedTuple):
    """A run of an event."""

    run: WorkflowExecutionDescription
    state: EventState | None
    """As the run has it; None if the event goes on in another run."""


class EventRuns:
    """One for the process. Methods raise `Unavailable`, and RegistryUnavailable where they read rows."""

    def __init__(
        self, client: Client, task_queue: str, rows: EventRows, readiness: Readiness, lines: LineCalls
    ) -> None:
        self._client = client
        self._task_queue = task_queue
        self._rows = rows
        self._readiness = readiness
        self._lines = lines

    async def start(self, event: EventInput) -> str:
        """Start the run of an event, unless it has one; return the run's id once Temporal has stored it."""
        while True:
            with suppress(WorkflowAlreadyStartedError), self._readiness.noting_start():
                async with translated_errors(not_found=Unavailable):
                    return await start_run(self._client, self._task_queue, event)
            if run_id := await self._of_own_id(event):
                return run_id
            await asyncio.sleep(DELETION_INTERVAL)

    async def start_shared(self, workflow_id: str, events: Sequence[EventInput]) -> str | None:
        """Start a shared run, and return its run id once Temporal has stored it; None if a run with this id exists."""
        with self._readiness.noting_start():
            async with translated_errors(not_found=Unavailable):
                return await start_shared_run(
                    self._client, self._task_queue, workflow_id, SharedRunInput(events=tuple(events))
                )

    async def start_stored(self, group: Sequence[EventRow]) -> None:
        """Start the run of an event, or the shared run of several, from their rows; note the run there."""
        shared_run = group[0].shared_run
        if shared_run is None:
            run_id: str | None = await self.start(group[0].event)
        elif not (run_id := await self.start_shared(shared_run, [row.event for row in group])):
            async with translated_errors():
                found = await run_state.find_run(self._client, shared_run)
            run_id = found.run_id if found else None
        if run_id:
            await self._rows.inputs.note_run(group, run_id)

    async def find(self, row: EventRow, part: int = 1) -> WorkflowExecutionDescription | None:
        """Return the run that has a part of an event's deliveries: the latest of its own, or a shared one; None if
        Temporal has none. Raises Temporal's `RPCError`.
        """
        if row.parts > 1:
            return await run_state.find_run(self._client, ids.run_of(*row.name, part))
        shared = await run_state.find_run(self._client, row.shared_run) if row.shared_run else None
        if shared and shared.status == WorkflowExecutionStatus.RUNNING:
            return shared
        return await run_state.find_own_run(self._client, *row.name, row.accepted_at) or shared

    async def states(self, tenant: str, event_id: str) -> list[RunState]:
        """Return the runs of an event, each with the state that it has itself. Raises UnknownEvent."""
        if (row := await self._rows.inputs.find(tenant, event_id)) is None:
            raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])
        async with translated_errors():
            runs = await read_all(range(1, row.parts + 1), lambda part: self.find(row, part))
            found = [run for run in runs if run is not None]
            states = await read_all(found, lambda run: self._state_of(run, row.event))
        return [RunState(run, state) for run, state in zip(found, states, strict=True)]

    async def repair(self, tenant: str, event_id: str) -> bool:
        """Start those runs of an open event that Temporal does not have, from its rows, and record the ends of those
        that have closed without a record; return whether there were any.
        """
        row = await self._rows.inputs.find(tenant, event_id)
        if row is None or row.finished_at is not None:
            return False
        async with translated_errors(not_found=Unavailable):
            if row.is_unstarted and row.parts == 1 and await self.find(row) is None:
                run = row.shared_run
                await self.start_stored(await self._rows.inputs.of_shared_run(run) if run else [row])
                return True
            open_parts = sorted({delivery.part for delivery in row.deliveries if delivery.status not in FINAL})
            return any([await self._repair(row, part) for part in open_parts])

    async def _repair(self, row: EventRow, part: int) -> bool:
        run = await self.find(row, part)
        if run is None:
            log.warning("an event had no run, and is started again", tenant=row.tenant, event_id=row.id)
            await self._start_lost(row, part)
            return True
        if run.status != WorkflowExecutionStatus.RUNNING:
            return await self._record_end(run, row, part)
        if part == 1 and not row.run_id:
            await self._rows.inputs.note_run([row], run.run_id)
        return False

    async def _start_lost(self, row: EventRow, part: int) -> None:
        """Start a lost run of an event, which goes on as its rows say."""
        if (snapshot := await self._rows.read(*row.name, part)) is None:
            return
        state = snapshot.state
        event = snapshot.event.model_copy(
            update={"deliveries": state.deliveries, "deliver_at": state.deliver_at, "parts": row.parts}
        )
        if row.parts == 1:
            await self.start(event)
        else:
            with suppress(WorkflowAlreadyStartedError):
                await start_run(self._client, self._task_queue, event, part=part)
        if row.shared_run:
            await self._rows.move([row.name], row.shared_run, None)

    async def _record_end(self, run: WorkflowExecutionDescription, row: EventRow, part: int) -> bool:
        """Record how a closed run has left its deliveries."""
        state = await self._end_of(run, row, part)
        if state is None or state.status in OPEN:
            return False
        end = state.finished_at or run.close_time or utc_now()
        event = row_of(state, max(end, row.as_of), run.run_id, row.event)._replace(
            finished_at=end,
            digest=row.digest,
            shared_run=run.id if ids.is_shared_run(run.id) else None,
            parts=row.parts,
            apart=ids.is_apart(run.id),
        )
        await self._lines.call(await self._rows.write([RunReport(event, state.deliveries, part)]))
        return True

    async def _end_of(self, run: WorkflowExecutionDescription, row: EventRow, part: int) -> EventState | None:
        """Return the state in which a closed run has left an event: as it says itself, if the registry is older. One
        that was terminated has recorded all its steps, and its open deliveries are cancelled.
        """
        if run.status in CUT_SHORT:
            snapshot = await self._rows.read(*row.name, part)
            return run_state.cut_short(snapshot.state) if snapshot else None
        return await self._state_of(run, row.event)

    async def _state_of(self, run: WorkflowExecutionDescription, event: EventInput) -> EventState | None:
        """Return the state of an event as its run has it; None if it goes on in another run."""
        if not ids.is_shared_run(run.id):
            return (await read_own(self._client, run))[1]
        shared = await find_shared_run(self._client, run.id)
        return await state_of(shared, event) if shared else None

    async def _of_own_id(self, event: EventInput) -> str | None:
        """Return the id of the event's own run; start it apart if an earlier event has its id. None: try again."""
        async with translated_errors(not_found=Unavailable):
            key = event.tenant, event.id, event.accepted_at
            if own := await run_state.find_own_run(self._client, *key):
                return own.run_id
            earlier = await run_state.find_run(self._client, event.workflow_id)
            if earlier and parts_of(event)[0].parts == 1:  # siblings are named after their event: they wait
                with suppress(WorkflowAlreadyStartedError):
                    run_id = await start_run(self._client, self._task_queue, event, apart=True)
                    metrics.ID_CLASHES.inc(earlier.status == WorkflowExecutionStatus.RUNNING)
                    return run_id
        return None
