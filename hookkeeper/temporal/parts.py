"""The client side of an event that goes in parts: read them as one event, and let each obey.

A part counts as it is in the present run of the event: one that nothing had to be delivered of any more has no run
there, and is as the event's run was given it.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids
from hookkeeper.messages.event import EventInput, EventState
from hookkeeper.partition import is_open, merged, part_input, partition
from hookkeeper.temporal import child_history, reading

Description = WorkflowExecutionDescription
SHORTEST = 7
"""Events of an event's run of which a part is over: started, a workflow task of three, a part's beginning and end."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The latest run of an event that goes in parts."""

    handle: WorkflowHandle[Any, Any]
    run: Description
    event: EventInput

    @property
    def is_open(self) -> bool:
        return self.run.status == WorkflowExecutionStatus.RUNNING


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an event, in the present run of the event."""

    n: int
    given: EventInput
    """What the event's run was given of it."""
    number: int = 0
    """Run number of its latest run; 0 where it has none."""
    handle: WorkflowHandle[Any, Any] | None = None
    status: WorkflowExecutionStatus | None = None
    is_unread: bool = False
    """No worker has begun it."""
    kept: EventState | None = None
    """How its run ended, where that is deleted: the retention of a part is over before that of the whole."""

    @property
    def is_open(self) -> bool:
        return self.status == WorkflowExecutionStatus.RUNNING

    @property
    def is_to_come(self) -> bool:
        """Its run has still to be started."""
        return not self.number and is_open(self.given.deliveries)


@dataclass(frozen=True, slots=True)
class Whole:
    """What an event's latest run was given, and how the event is."""

    event: EventInput
    state: EventState
    run_number: int
    """The highest of that run and its parts."""


async def read(client: Client, handle: WorkflowHandle[Any, Any], run: Description) -> Whole:
    """Read an event, in parts or not."""
    number = run.typed_search_attributes.get(ids.RUN_NUMBER, 1)
    if run.workflow_type != ids.LARGE_EVENT:
        if reading.is_unread(run):
            event = await reading.started_with(client, handle)
            return Whole(event, reading.as_started(event), number)
        event, state = await asyncio.gather(
            reading.started_with(client, handle), reading.state_of(client, handle, run.status)
        )
        return Whole(event, state, number)
    parent = Parent(handle, run, await reading.started_with(client, handle))
    parts = await parts_of(client, parent)
    states = await asyncio.gather(*(state_of(client, parent, part) for part in parts))
    state = merged(parent.event, states, run.close_time)
    return Whole(parent.event, state, max(number, *(part.number for part in parts)))


async def holder_of(client: Client, tenant: str, event_id: str, delivery: str) -> WorkflowHandle[Any, Any]:
    """Give the run that has the delivery: the event's, or a part's."""
    handle = client.get_workflow_handle(ids.workflow_id(tenant, event_id))
    if (await handle.describe()).workflow_type != ids.LARGE_EVENT:
        return handle
    event = await reading.started_with(client, handle)
    for n, deliveries in enumerate(partition(event.deliveries), start=1):
        if any(each.id == delivery for each in deliveries):
            return client.get_workflow_handle(ids.part_id(tenant, event_id, n))
    return handle


async def parts_of(client: Client, parent: Parent) -> list[Part]:
    """Give all parts."""
    given = [part_input(parent.event, deliveries) for deliveries in partition(parent.event.deliveries)]
    parts = await asyncio.gather(*(_part(client, parent, n, each) for n, each in enumerate(given, start=1)))
    if parent.run.history_length < SHORTEST or not any(part.is_to_come for part in parts):
        return parts
    ends = await child_history.ends_of_parts(client, parent.handle)
    return [_with(ends.get(part.n), part) if part.is_to_come else part for part in parts]


async def state_of(client: Client, parent: Parent, part: Part) -> EventState:
    """Give the state of a part."""
    if part.kept:
        return part.kept
    if part.handle and not part.is_unread:
        return await reading.state_of(client, part.handle, part.status)
    given = await reading.started_with(client, part.handle) if part.handle else part.given
    state = reading.as_started(given)
    return state if parent.is_open else reading.cut_short(state)


def _with(end: child_history.End | None, part: Part) -> Part:
    if end is None:
        return part
    state = end.state or reading.cut_short(reading.at_start(part.given, scheduled=False))
    return replace(part, number=end.number, kept=state)


async def _part(client: Client, parent: Parent, n: int, given: EventInput) -> Part:
    part_id = ids.part_id(given.tenant, given.id, n)
    try:
        run = await client.get_workflow_handle(part_id).describe()
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return Part(n, given)
    if run.parent_run_id != parent.run.run_id:
        return Part(n, given)
    number = run.typed_search_attributes.get(ids.RUN_NUMBER, 1)
    handle = client.get_workflow_handle(part_id, run_id=run.run_id)
    return Part(n, given, number, handle, run.status, reading.is_unread(run))
