"""Read an event from a run of its own, or from all of them if it has siblings.

A sibling without a run will be started by the first run, or was deleted. Then its rows say what became of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic_core import to_json
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError

from hookkeeper import ids
from hookkeeper.messages.event import FINAL, Acknowledgement, Delivery, EventInput, EventState, event_state
from hookkeeper.partition import parts_of
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.state_size import truncated
from hookkeeper.temporal.events import run_state
from hookkeeper.temporal.events.run_state import find_run, handle_of, input_of
from hookkeeper.temporal.server.visibility import read_all

RUNNING = WorkflowExecutionStatus.RUNNING
MAX_DELIVERIES_BYTES = 448 * 1024
"""Bytes of deliveries that are shown whole; the whole state stays under 512 KiB."""


@dataclass(frozen=True, slots=True)
class EventSnapshot:
    """An event: the input of its latest run, and its state."""

    workflow_id: str
    run_id: str
    run_number: int
    event: EventInput
    state: EventState
    duplicate: bool = False
    """There was a run with the same content when the event was posted."""
    acknowledged: Acknowledgement | None = None


async def read(client: Client, run: WorkflowExecutionDescription) -> EventSnapshot:
    """Read an event, or what a sibling has of it, from its latest run."""
    event = await input_of(client, handle_of(client, run), EventInput)
    return EventSnapshot(run.id, run.run_id, await run_state.number_of(run), event, await _state(client, run, event))


async def _state(client: Client, run: WorkflowExecutionDescription, event: EventInput | None = None) -> EventState:
    handle = handle_of(client, run)
    was_started = run.history_length > run_state.UNSTARTED_EVENTS + (run.status != RUNNING)
    if was_started:
        try:
            return await run_state.state_of(client, handle, run.status)
        except RPCError as error:
            if not run_state.took_no_step(error):
                raise
    if event is None:
        event = await input_of(client, handle, EventInput)
    state = run_state.unstarted_state(parts_of(event)[0])
    return state if run.status == RUNNING else run_state.cut_short(state)


class Siblings:
    """The runs of events that have several. Methods raise Temporal's `RPCError`, and RegistryUnavailable."""

    def __init__(self, client: Client, rows: EventRows) -> None:
        self._client = client
        self._rows = rows

    async def part_with(self, tenant: str, event_id: str, delivery: str) -> int | None:
        """Return the number of the run that has a delivery; None if the event has no such delivery."""
        row = await self._rows.find(tenant, event_id)
        return row and await self._rows.part_with(row, delivery)

    async def find(self, tenant: str, event_id: str, parts: int) -> list[WorkflowExecutionDescription | None]:
        """Return the latest run of each sibling."""
        return await read_all(
            range(1, parts + 1), lambda part: find_run(self._client, ids.run_of(tenant, event_id, part))
        )

    async def read(self, tenant: str, event_id: str, parts: int) -> EventSnapshot | None:
        """Return an event from all its runs; None if it has none."""
        runs = await self.find(tenant, event_id, parts)
        found = [run for run in runs if run is not None]
        if not found:
            return None
        first = await read(self._client, found[0])
        of_runs = [first.state, *await read_all(found[1:], lambda run: _state(self._client, run))]
        ends = [state.finished_at or run.close_time for run, state in zip(found, of_runs, strict=True)]
        states = {ids.part_of(run.id): state for run, state in zip(found, of_runs, strict=True)}
        if len(found) < parts:
            states = await self._without_runs(first.event) | states
        state = merged(
            first.event,
            [states[part] for part in sorted(states)],
            max(end for end in ends if end is not None) if all(ends) else None,
        )
        return EventSnapshot(ids.workflow_id(tenant, event_id), first.run_id, first.run_number, first.event, state)

    async def open_parts(self, tenant: str, event_id: str) -> list[int]:
        """Return the numbers of the siblings with an open delivery, by the rows."""
        row = await self._rows.find(tenant, event_id)
        stored = await self._rows.deliveries(EventKey(row.accepted_at, *row.key)) if row else ()
        return sorted({delivery.part for delivery in stored if delivery.status not in FINAL})

    async def _without_runs(self, event: EventInput) -> dict[int, EventState]:
        """Return the state of each sibling as its rows have it. `event`: the input of one of the runs."""
        stored = await self._rows.inputs.find(event.tenant, event.id)
        key = EventKey(event.accepted_at, event.tenant, event.id)
        rows = {delivery.id: delivery for delivery in await self._rows.deliveries(key)}
        parts: dict[int, list[Delivery]] = {}
        for given in stored.event.deliveries if stored else event.deliveries:
            if found := rows.get(given.id):
                parts.setdefault(found.part, []).append(found.of(given))
        return {
            part: run_state.unstarted_state(event.model_copy(update={"deliveries": tuple(deliveries)}))
            for part, deliveries in parts.items()
        }


def merged(event: EventInput, parts: Sequence[EventState], finished_at: datetime | None) -> EventState:
    """Return the event's state from those of its runs. Each is small enough; together they may not be."""
    deliveries = tuple(delivery for part in parts for delivery in part.deliveries)
    if len(to_json(deliveries)) > MAX_DELIVERIES_BYTES:
        deliveries = truncated(deliveries)
    waiting = [part.deliver_at for part in parts if part.status == "scheduled"]
    return event_state(
        event,
        deliveries,
        deliver_at=waiting[0] if waiting else parts[0].deliver_at,
        scheduled=bool(waiting) and all(part.status != "delivering" for part in parts),
        finished_at=finished_at,
    )
