"""Find the run that has an event, and read the event there: its row names the run.

A run that closed by itself, or that no worker has started, is read from history, which needs no worker.

Parts are read in the current run of the event. A part with nothing left to deliver has no run there, and its state is
the one in the input of the event's run.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowHandle

from hookkeeper import ids, temporal_names
from hookkeeper.messages.event import EventInput, EventState
from hookkeeper.partition import is_open, merged, part_input, partition
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.registry.index.writing import AcceptedEvent
from hookkeeper.temporal import run_state
from hookkeeper.temporal.error_translation import not_found_suppressed
from hookkeeper.temporal.part_ends import PartEnd, ends_of_parts
from hookkeeper.temporal.shared_runs import InSharedRun, SharedRun, find_shared_run, listed_runs, read_in

MIN_EVENTS_WITH_END = 7
"""Events in the history of a large event's run with an ended part: its start, a workflow task of three, the part's
initiation, start and end."""


@dataclass(frozen=True, slots=True)
class LargeEventRun:
    """The latest run of a large event."""

    handle: WorkflowHandle[Any, Any]
    description: WorkflowExecutionDescription
    event: EventInput

    @property
    def is_open(self) -> bool:
        return self.description.status == WorkflowExecutionStatus.RUNNING


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an event, in the current run of the event."""

    n: int
    event: EventInput
    """The part of the input of the event's run."""
    run_number: int = 0
    """The number of its latest run; 0 if it has none."""
    handle: WorkflowHandle[Any, Any] | None = None
    status: WorkflowExecutionStatus | None = None
    is_unstarted: bool = False
    """No worker has started its run."""
    final_state: EventState | None = None
    """Set if its run is deleted: the retention of a part is over before that of the event."""

    @property
    def is_open(self) -> bool:
        return self.status == WorkflowExecutionStatus.RUNNING

    @property
    def has_no_run_yet(self) -> bool:
        return not self.run_number and is_open(self.event.deliveries)


@dataclass(frozen=True, slots=True)
class EventSnapshot:
    """An event: the input of its latest run, and its state."""

    workflow_id: str
    run_id: str
    run_number: int
    """The highest of its latest run and that run's parts."""
    event: EventInput
    state: EventState


class EventReader:
    """Reads events. One for the process. Methods raise Temporal's `RPCError`."""

    def __init__(self, client: Client, rows: EventRows) -> None:
        self._client = client
        self._rows = rows

    async def read(self, tenant: str, event_id: str) -> EventSnapshot | None:
        """Return an event and its state; None if no run has it."""
        with not_found_suppressed():  # deleted meanwhile
            found = await self.find(tenant, event_id)
            if isinstance(found, InSharedRun):
                return EventSnapshot(found.run.id, found.run.run_id, 1, found.event, found.state)
            return await read(self._client, found) if found else None
        return None

    async def find(
        self, tenant: str, event_id: str, *, at_once: bool = False
    ) -> WorkflowExecutionDescription | InSharedRun | None:
        """Return the latest run of its own of an event, or the shared run that has it; None if there is neither.

        Its row names a shared run, or none. Temporal lists the shared run of an event whose row is lost. `at_once`:
        the state in an open shared run is the first one, which needs no worker.
        """
        row = await self.row(tenant, event_id)
        named = await find_shared_run(self._client, row.shared_run) if row and row.shared_run else None
        if named and (found := await read_in(named, tenant, event_id, at_once=at_once)):
            return found
        if own := await self._own(tenant, event_id, row):
            return own
        for run in await listed_runs(self._client, tenant, event_id):
            if found := await read_in(run, tenant, event_id, at_once=at_once):
                return found
        return None

    async def shared_runs(self, tenant: str, event_id: str) -> list[SharedRun]:
        """Return the shared run that has an event, and those that it replaces and Temporal still has."""
        row = await self.row(tenant, event_id)
        named = await find_shared_run(self._client, row.shared_run) if row and row.shared_run else None
        found = [named, *await listed_runs(self._client, tenant, event_id)]
        return [*{run.run_id: run for run in found if run and run.event(tenant, event_id)}.values()]

    async def row(self, tenant: str, event_id: str) -> AcceptedEvent | None:
        """Return the row of an event; None if it has none, or the registry is away."""
        with suppress(RegistryUnavailable):
            return await self._rows.find(tenant, event_id)
        return None

    async def _own(self, tenant: str, event_id: str, row: AcceptedEvent | None) -> WorkflowExecutionDescription | None:
        """Return the latest run of its own of an event, not that of an earlier event whose row is gone."""
        if row is None:
            return await run_state.find_run(self._client, ids.workflow_id(tenant, event_id))
        return await run_state.find_own_run(self._client, *row.key, row.accepted_at, row.digest)


async def read(client: Client, description: WorkflowExecutionDescription) -> EventSnapshot:
    """Read an event, whose latest run is given."""
    handle = run_state.handle_of(client, description)
    event = await run_state.input_of(client, handle, EventInput)
    run_number = await run_state.number_of(description)
    if description.workflow_type == temporal_names.LARGE_EVENT:
        run = LargeEventRun(handle, description, event)
        parts = await parts_of(client, run)
        states = await asyncio.gather(*(part_state(client, run, part) for part in parts))
        state = merged(event, states, description.close_time)
        run_number = max(run_number, *(part.run_number for part in parts))
    elif run_state.is_unstarted(description):
        state = run_state.unstarted_state(event)
    else:
        state = await run_state.state_of(client, handle, description.status)
    return EventSnapshot(description.id, description.run_id, run_number, event, state)


async def run_with_delivery(client: Client, tenant: str, event_id: str, delivery: str) -> WorkflowHandle[Any, Any]:
    """Return the run that has the delivery: the event's, or a part's."""
    handle = client.get_workflow_handle(ids.workflow_id(tenant, event_id))
    if (await handle.describe()).workflow_type != temporal_names.LARGE_EVENT:
        return handle
    event = await run_state.input_of(client, handle, EventInput)
    for n, deliveries in enumerate(partition(event.deliveries), start=1):
        if delivery in {candidate.id for candidate in deliveries}:
            return client.get_workflow_handle(ids.part_id(tenant, event_id, n))
    return handle


async def parts_of(client: Client, run: LargeEventRun) -> list[Part]:
    """Return the parts of a large event in the order of their numbers, each with its latest run if there is one."""
    inputs = [part_input(run.event, deliveries) for deliveries in partition(run.event.deliveries)]
    parts = await asyncio.gather(*(_part(client, run, n, event) for n, event in enumerate(inputs, start=1)))
    if run.description.history_length < MIN_EVENTS_WITH_END or not any(part.has_no_run_yet for part in parts):
        return parts
    ends = await ends_of_parts(client, run.handle)
    return [_with_end(part, ends.get(part.n)) if part.has_no_run_yet else part for part in parts]


async def part_state(client: Client, run: LargeEventRun, part: Part) -> EventState:
    """Return the state of a part."""
    if part.final_state:
        return part.final_state
    if part.handle and not part.is_unstarted:
        return await run_state.state_of(client, part.handle, part.status)
    event = await run_state.input_of(client, part.handle, EventInput) if part.handle else part.event
    state = run_state.unstarted_state(event)
    return state if run.is_open else run_state.cut_short(state)


def _with_end(part: Part, end: PartEnd | None) -> Part:
    if end is None:
        return part
    state = end.state or run_state.cut_short(run_state.initial_state(part.event, scheduled=False))
    return replace(part, run_number=end.run_number, final_state=state)


async def _part(client: Client, run: LargeEventRun, n: int, event: EventInput) -> Part:
    part_id = ids.part_id(event.tenant, event.id, n)
    description = await run_state.find_run(client, part_id)
    if description is None or description.parent_run_id != run.description.run_id:
        return Part(n, event)
    return Part(
        n,
        event,
        run_number=await run_state.number_of(description),
        handle=run_state.handle_of(client, description),
        status=description.status,
        is_unstarted=run_state.is_unstarted(description),
    )
