"""Shared runs: start them, and find the one that has an event.

The id of a shared run is chosen before it is started, and written into the rows of its events.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from hookkeeper import ids, task_queues, temporal_names
from hookkeeper.messages.event import EventInput, EventState
from hookkeeper.messages.shared_run import SharedEvent, SharedRunInput
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.search_attributes import shared_search_attributes, shared_summary
from hookkeeper.temporal import event_read
from hookkeeper.temporal.error_translation import Unavailable, translated_errors
from hookkeeper.temporal.event_read import EventSnapshot
from hookkeeper.temporal.run_state import find_own_run, find_run, handle_of, input_of
from hookkeeper.temporal.shared_read import (
    SharedRun,
    find_shared_run,
    finished_in,
    first_state,
    listed_runs,
    state_in,
    state_of,
)


@dataclass(frozen=True, slots=True)
class EventInRun:
    """An event that a shared run has."""

    workflow_id: str
    run_id: str
    digest: str
    state: EventState


class SharedRuns:
    """All shared runs. One for the process."""

    def __init__(self, client: Client, task_queue: str, rows: EventRows) -> None:
        self._client = client
        self._task_queue = task_queue
        self._rows = rows

    async def start(self, workflow_id: str, events: Sequence[SharedEvent]) -> str:
        """Start a shared run, and return its run id once Temporal has stored it.

        Raises `Unavailable` and `RequestTooLarge`.
        """
        async with translated_errors(not_found=Unavailable):
            run = SharedRunInput(events=tuple(events))
            run_id = await start_shared_run(self._client, self._task_queue, workflow_id, run)
            assert run_id is not None, "its id is new"
            return run_id

    async def event_in(self, workflow_id: str, tenant: str, event_id: str) -> EventInRun | None:
        """Return an event of a shared run; None if there is no such run, it lacks the event, or the event's own run
        was deleted.

        While the event is open, its state is the first one of its latest run, which needs no worker. Each step has a
        time limit, so that slow ones succeed.
        """
        async with translated_errors():
            run = await find_shared_run(self._client, workflow_id)
            if run is None or (shared := run.event(tenant, event_id)) is None:
                return None
            if run.is_open:
                return EventInRun(run.id, run.run_id, shared.digest, first_state(shared.event))
        key = tenant, event_id, shared.event.accepted_at, shared.digest
        async with translated_errors():
            own, finished = await asyncio.gather(find_own_run(self._client, *key), finished_in(run))
            if own is not None:
                return EventInRun(own.id, own.run_id, shared.digest, await _state_of(self._client, own))
            state = await state_of(run, shared.event) if finished is None else state_in(finished, shared.event)
            return EventInRun(run.id, run.run_id, shared.digest, state) if state else None

    async def named(self, tenant: str, event_id: str) -> EventInRun | None:
        """Return an event as `event_in` does, of the run in its row; None if it has none, or the registry is away."""
        with suppress(RegistryUnavailable):
            row = await self._rows.find(tenant, event_id)
            if row is not None and row.shared_run is not None:
                return await self.event_in(row.shared_run, tenant, event_id)
        return None

    async def find_own(self, tenant: str, event_id: str) -> WorkflowExecutionDescription | None:
        """Return the latest run of its own of an event, not that of an earlier event whose row is gone.

        Raises Temporal's `RPCError`.
        """
        run = await find_run(self._client, ids.workflow_id(tenant, event_id))
        if run is not None:
            with suppress(RegistryUnavailable):
                row = await self._rows.find(tenant, event_id)
                if row is not None:
                    return await find_own_run(self._client, *row.key, row.accepted_at, row.digest)
        return run

    async def find(self, tenant: str, event_id: str) -> SharedRun | None:
        """Return the shared run that has an event: the one in its row, or the latest that Temporal lists with it.

        Raises Temporal's `RPCError`.
        """
        with suppress(RegistryUnavailable):
            row = await self._rows.find(tenant, event_id)
            run = await find_shared_run(self._client, row.shared_run) if row and row.shared_run else None
            if run is not None and run.event(tenant, event_id):
                return run
        return next(iter(await listed_runs(self._client, tenant, event_id)), None)

    async def find_all(self, tenant: str, event_id: str) -> list[SharedRun]:
        """Return the shared run that has an event, and those that it replaces and Temporal still has.

        Raises Temporal's `RPCError`.
        """
        found = [await self.find(tenant, event_id), *await listed_runs(self._client, tenant, event_id)]
        return list({run.run_id: run for run in found if run is not None}.values())

    async def read(self, tenant: str, event_id: str) -> EventSnapshot | None:
        """Return an event as a shared run has it; None if none has it, or it continues in a run of its own.

        Raises Temporal's `RPCError`.
        """
        run = await self.find(tenant, event_id)
        if run is None or (shared := run.event(tenant, event_id)) is None:
            return None
        state = await state_of(run, shared.event)
        return EventSnapshot(run.id, run.run_id, 1, shared.event, state) if state else None


async def start_shared_run(client: Client, task_queue: str, workflow_id: str, run: SharedRunInput) -> str | None:
    """Start a shared run, and return its run id; None if a run with this id exists. Raises Temporal's `RPCError`."""
    tenants = {shared.event.tenant for shared in run.events}
    with suppress(WorkflowAlreadyStartedError):
        handle = await client.start_workflow(
            temporal_names.SHARED_RUN,
            run,
            id=workflow_id,
            task_queue=task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            memo={temporal_names.EVENT_COUNT: len(run.events)},
            search_attributes=shared_search_attributes(run.events),
            static_summary=shared_summary(run.events),
            priority=Priority(fairness_key=task_queues.tenant_or_several(tenants)),
        )
        return handle.result_run_id
    return None


async def _state_of(client: Client, run: WorkflowExecutionDescription) -> EventState:
    if run.status == WorkflowExecutionStatus.RUNNING:
        return first_state(await input_of(client, handle_of(client, run), EventInput))
    return (await event_read.read(client, run)).state
