"""Find the run that has an event, and read the event there: its row names the run.

A run that closed by itself, or that no worker has started, is read from history, which needs no worker.
"""

from contextlib import suppress
from dataclasses import replace

from temporalio.client import Client, WorkflowExecutionDescription

from hookkeeper import ids
from hookkeeper.messages.event import Acknowledgement, EventInput, event_state
from hookkeeper.partition import parts_of
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.registry.index.writing import AcceptedEvent
from hookkeeper.temporal.events import run_state
from hookkeeper.temporal.events.own_runs import EventSnapshot, Siblings, read
from hookkeeper.temporal.events.shared_runs import InSharedRun, SharedRun, find_shared_run, listed_runs, read_in
from hookkeeper.temporal.server.error_translation import not_found_suppressed


class EventReader:
    """Reads events. One for the process. Methods raise Temporal's `RPCError`."""

    def __init__(self, client: Client, task_queue: str, rows: EventRows) -> None:
        self._client = client
        self._task_queue = task_queue
        self._rows = rows
        self.siblings = Siblings(client, rows)

    async def read(self, tenant: str, event_id: str) -> EventSnapshot | None:
        """Return an event and its state; None if no run has it."""
        with not_found_suppressed():  # deleted meanwhile
            row = await self.row(tenant, event_id)
            snapshot = await self._read(tenant, event_id, row)
            return snapshot and replace(snapshot, acknowledged=Acknowledgement.of(row.acknowledged if row else None))
        return None

    async def _read(self, tenant: str, event_id: str, row: AcceptedEvent | None) -> EventSnapshot | None:
        if (runs := await self._count_runs(tenant, event_id, row)) > 1:
            return await self.siblings.read(tenant, event_id, runs)
        found = await self._find(tenant, event_id, row)
        if isinstance(found, InSharedRun):
            return in_shared_run(found)
        return await read(self._client, found) if found else None

    async def from_rows(self, tenant: str, event_id: str, part: int | None = None) -> EventSnapshot | None:
        """Return an event, or a part of its deliveries, as its rows have it. Raises RegistryUnavailable."""
        if (stored := await self._rows.inputs.find(tenant, event_id)) is None:
            return None
        event, found = stored.event, await self._rows.deliveries(stored.key)
        rows = {delivery.id: delivery for delivery in found if part in (None, delivery.part)}
        deliveries = tuple(rows[given.id].of(given) for given in event.deliveries if given.id in rows)
        state = event_state(
            event,
            deliveries,
            deliver_at=stored.deliver_at,
            scheduled=stored.status == "scheduled",
            finished_at=stored.finished_at,
        )
        workflow_id = stored.shared_run or ids.workflow_id(tenant, event_id)
        acknowledged = Acknowledgement.of(stored.acknowledged)
        return EventSnapshot(workflow_id, stored.run_id, 1, event, state, acknowledged=acknowledged)

    async def find(self, tenant: str, event_id: str) -> WorkflowExecutionDescription | InSharedRun | None:
        """Return the latest run of its own of an event, or the shared run that has it; None if there is neither.

        Its row names a shared run, or none. Temporal lists the shared run of an event whose row is lost.
        """
        return await self._find(tenant, event_id, await self.row(tenant, event_id))

    async def _find(
        self, tenant: str, event_id: str, row: AcceptedEvent | None
    ) -> WorkflowExecutionDescription | InSharedRun | None:
        named = await find_shared_run(self._client, row.shared_run) if row and row.shared_run else None
        if named and (found := await read_in(named, tenant, event_id)):
            return found
        if own := await self._own(tenant, event_id, row):
            return own
        for run in await listed_runs(self._client, self._task_queue, tenant, event_id):
            if found := await read_in(run, tenant, event_id):
                return found
        return None

    async def count_runs(self, tenant: str, event_id: str) -> int:
        """Return how many runs the event's deliveries are divided among, by its row or the input of its first run."""
        return await self._count_runs(tenant, event_id, await self.row(tenant, event_id))

    async def _count_runs(self, tenant: str, event_id: str, row: AcceptedEvent | None) -> int:
        if row is not None:
            return row.parts
        with not_found_suppressed():
            first = self._client.get_workflow_handle(ids.workflow_id(tenant, event_id))
            return parts_of(await run_state.input_of(self._client, first, EventInput))[0].parts
        return 1

    async def shared_runs(self, tenant: str, event_id: str) -> list[SharedRun]:
        """Return the shared run that has an event, and those that it replaces and Temporal still has."""
        row = await self.row(tenant, event_id)
        named = await find_shared_run(self._client, row.shared_run) if row and row.shared_run else None
        found = [named, *await listed_runs(self._client, self._task_queue, tenant, event_id)]
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


def in_shared_run(found: InSharedRun) -> EventSnapshot:
    """Return an event as its shared run has it, which is its first run."""
    return EventSnapshot(found.run.id, found.run.run_id, 1, found.event, found.state)
