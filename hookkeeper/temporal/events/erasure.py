"""Erase an event: its rows, then all that Temporal stores of it: all its runs, with data, state and history.

The server deletes in the background, once its queues have recorded that they are done with the run: by default every
30 s (`history.transferProcessorUpdateAckInterval`, `history.visibilityProcessorUpdateAckInterval`). Remains in free
pages, logs and backups of the server's database are the responsibility of that database.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus

from hookkeeper import ids
from hookkeeper.commands import Refused, UnknownDelivery
from hookkeeper.messages.event import EventInput, EventState
from hookkeeper.messages.partition import parts_of
from hookkeeper.messages.shared_run import SharedRunInput
from hookkeeper.registry.events.rows import EventRows
from hookkeeper.temporal.events.event_commands import EventCommands
from hookkeeper.temporal.events.event_runs import EventRuns
from hookkeeper.temporal.events.run_state import accepted_at_of, find_run, input_of
from hookkeeper.temporal.events.shared_runs import (
    SharedRun,
    final_states,
    find_shared_run,
    listed_runs,
    start_shared_run,
)
from hookkeeper.temporal.server.error_translation import (
    NOT_FOUND_MESSAGES,
    Unavailable,
    UnknownEvent,
    not_found_suppressed,
    translated_errors,
)
from hookkeeper.temporal.server.visibility import read_all

STILL_OPEN = "cannot erase: the event is still open, cancel it first"
WAITS = (0.05, 0.2, 0.5, 1.0, 2.0)
"""Seconds between tries to erase an event that was just cancelled."""
REDELIVERED = "erased, but the event was redelivered meanwhile: erase it again, and cancel it before if it is open"


class InFlight(Unavailable):
    """A request with the event is in flight, although all that waited is cancelled. Ask again in some seconds."""


@dataclass(frozen=True, slots=True)
class ClosedEvent:
    """All that Temporal stores of an event whose runs are closed."""

    tenant: str
    event_id: str
    runs: list[tuple[str, str]]
    """Workflow id and run id of each run of its own. Those of the first of several siblings come last."""
    shared_runs: list[SharedRun]
    """The runs that it shared. They come last of all: while one exists, the request can be repeated."""


class Erasure:
    """Raises the errors of `hookkeeper.temporal.server.error_translation`, RegistryUnavailable, and `Refused`."""

    def __init__(
        self,
        client: Client,
        task_queue: str,
        rows: EventRows,
        event_runs: EventRuns,
    ) -> None:
        self._client = client
        self._task_queue = task_queue
        self._event_runs = event_runs
        self._rows = rows
        self._shared_runs = SharedRunErasure(client, task_queue, rows)

    async def erase(self, tenant: str, event_id: str) -> int:
        """Erase an event, and return the number of its runs: 0 if only the registry has it, as after the restore of a
        backup.

        Temporal comes last: while it has the event, the request can be repeated. An event without a run gets one first:
        a start that is under way would send an erased event.
        """
        await self._event_runs.repair(tenant, event_id)
        async with translated_errors():
            event = await self.find(tenant, event_id)
        if event is None and await self._rows.find(tenant, event_id) is None:
            raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])
        await self._rows.remove(tenant, event_id)
        if event is None:
            return 0
        async with translated_errors():
            return await self.delete(event)

    async def find(self, tenant: str, event_id: str) -> ClosedEvent | None:
        """Return all runs of an event; None if there is none. Raises `Refused` if one is open."""
        row = await self._rows.find(tenant, event_id)
        parts = row.parts if row else await self._count_runs(tenant, event_id)
        siblings = await read_all(
            range(1, parts + 1), lambda part: find_run(self._client, ids.run_of(tenant, event_id, part))
        )
        latest = next((run for run in siblings if run is not None), None)
        shared_runs = await self.shared_runs(tenant, event_id, row.shared_run if row else None)
        if any(run.is_open for run in shared_runs):
            raise Refused(STILL_OPEN)
        accepted = {event.accepted_at for run in shared_runs if (event := run.event(tenant, event_id))}
        own = [ids.run_apart(tenant, event_id, accepted_at) for accepted_at in accepted]
        if latest is not None:
            accepted.add(await accepted_at_of(latest))
            own += [ids.run_of(tenant, event_id, part) for part in range(len(siblings), 0, -1)]
        if not accepted:
            return None
        runs = [run for id_ in own for run in await _runs(self._client, id_)]
        return ClosedEvent(tenant, event_id, runs, shared_runs)

    async def shared_runs(self, tenant: str, event_id: str, named: str | None) -> list[SharedRun]:
        """Return the shared run that the event's row names, and those that Temporal lists: it replaces them."""
        found = [await find_shared_run(self._client, named)] if named else []
        found += await listed_runs(self._client, self._task_queue, tenant, event_id)
        return [*{run.run_id: run for run in found if run and run.event(tenant, event_id)}.values()]

    async def _count_runs(self, tenant: str, event_id: str) -> int:
        """Return how many runs an event without a row has, by the input of the first one."""
        with not_found_suppressed():
            first = self._client.get_workflow_handle(ids.workflow_id(tenant, event_id))
            return parts_of(await input_of(self._client, first, EventInput))[0].parts
        return 1

    async def delete(self, event: ClosedEvent) -> int:
        """Delete all runs of an event, and return their number.

        Raises `Refused` if one was started meanwhile, which may have ended since, and RegistryUnavailable.
        """
        workflow_id = ids.workflow_id(event.tenant, event.event_id)
        for id_, run_id in (*await _firings(self._client, workflow_id), *event.runs):
            await delete_run(self._client, id_, run_id)
        await self._shared_runs.erase(event.shared_runs, event.tenant, event.event_id)
        for id_ in {workflow_id, *(id_ for id_, _ in event.runs)}:
            newest = await find_run(self._client, id_)
            if newest and (id_, newest.run_id) not in event.runs:
                raise Refused(REDELIVERED)
        return len(event.runs) + len(event.shared_runs)


async def erase_open(erasure: Erasure, commands: EventCommands, tenant: str, event_id: str) -> None:
    """Erase an event; cancel it before if it is open, and wait until its runs have closed. Idempotent.

    Raises UnknownEvent, and InFlight.
    """
    for wait in WAITS:
        try:
            await erasure.erase(tenant, event_id)
            return
        except Refused:
            with suppress(Refused, UnknownDelivery, UnknownEvent):
                await commands.send(tenant, event_id, "cancel", None)
            await asyncio.sleep(wait)
    raise InFlight("the event is still open")


class SharedRunErasure:
    """Erases one event of a shared run: starts a run with the other events, which sends nothing, and deletes the shared
    run.

    First the run that replaces it is started, then the rows of its events name that run, then the shared run is
    deleted. So each event can be found at any time, and an interrupted request can be repeated. Several events of a run
    can be erased at once: the second request finds the run that the first has started, and continues with it. An event
    that has left the shared run for a run of its own is not in the new one.

    Raises Temporal's `RPCError`, RegistryUnavailable, and Unavailable if the run was replaced meanwhile.
    """

    def __init__(self, client: Client, task_queue: str, rows: EventRows) -> None:
        self._client = client
        self._task_queue = task_queue
        self._rows = rows

    async def erase(self, runs: Iterable[SharedRun], tenant: str, event_id: str) -> None:
        """Erase an event from closed shared runs: from the latest, and from what an interrupted request has left."""
        for run in sorted(runs, key=lambda run: ids.replaced_shared_run(run.id)):
            latest: SharedRun | None = run
            while latest is not None and latest.event(tenant, event_id):
                latest = await self._replace(latest, tenant, event_id)

    async def _replace(self, run: SharedRun, tenant: str, event_id: str) -> SharedRun | None:
        """Replace a shared run by one without the event; return it, or None if no other event is left."""
        named = await self._named(run.events)
        if later := [name for name in named.values() if name and ids.is_later_shared_run(name, run.id)]:
            await delete_run(self._client, run.id, run.run_id)  # it was replaced before
            return await find_shared_run(self._client, max(later, key=ids.replaced_shared_run))
        erased = ids.workflow_id(tenant, event_id)
        others = [
            event for event in run.events if event.workflow_id != erased and named.get(event.workflow_id) == run.id
        ]
        states = await final_states(self._client, run, others)
        finished = [(event, state) for event in others if (state := states[event.workflow_id])]
        if finished:
            await self._start(run, finished)
        replacement = await find_shared_run(self._client, ids.shared_run_after(run.id))
        if replacement is not None:
            # The event itself is among them if the replacement was started to erase another one.
            await self._move(replacement.events, run.id, replacement.id, replacement.run_id)
        elif finished:
            raise Unavailable("the shared run was replaced meanwhile: try again")
        continued = [event for event in others if states[event.workflow_id] is None]
        await self._move(continued, run.id)
        await delete_run(self._client, run.id, run.run_id)
        return replacement

    async def _named(self, events: Sequence[EventInput]) -> dict[str, str | None]:
        """Return the shared runs that the rows of events name. An event without a row was erased."""
        rows = {event.workflow_id: await self._rows.find(event.tenant, event.id) for event in events}
        return {key: row.shared_run for key, row in rows.items() if row is not None}

    async def _move(
        self, events: Sequence[EventInput], from_run: str, to_run: str | None = None, run_id: str = ""
    ) -> None:
        await self._rows.move([(event.tenant, event.id) for event in events], from_run, to_run, run_id)

    async def _start(self, run: SharedRun, finished: list[tuple[EventInput, EventState]]) -> None:
        """Start the run that replaces this one, unless that was done before.

        The id is free again if the replacement was replaced and deleted: the present run is out of date then.
        """
        events, states = zip(*finished, strict=True)
        workflow_id = ids.shared_run_after(run.id)
        replacement = SharedRunInput(events=events, finished=states)
        run_id = await start_shared_run(self._client, self._task_queue, workflow_id, replacement)
        if run_id is not None and not {run.id, workflow_id} & {*(await self._named(events)).values()}:
            await delete_run(self._client, workflow_id, run_id)
            raise Unavailable("the shared run was replaced meanwhile: try again")


async def delete_run(client: Client, workflow_id: str, run_id: str) -> None:
    """Delete a run with its history, if it still exists."""
    request = DeleteWorkflowExecutionRequest(
        namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
    )
    with not_found_suppressed():  # visibility still lists runs that are deleted
        await client.workflow_service.delete_workflow_execution(request)


async def _firings(client: Client, workflow_id: str) -> list[tuple[str, str]]:
    """Return the runs by which a schedule made the event: their input has its data. Open ones are deleted too."""
    firing = ids.firing_of(*ids.event_of(workflow_id))
    if firing is None:
        return []
    return [(firing, run.run_id) async for run in client.list_workflows(f"WorkflowId = '{firing}'")]


async def _runs(client: Client, workflow_id: str) -> list[tuple[str, str]]:
    """Return all runs; raise `Refused` if one is open."""
    latest = await find_run(client, workflow_id)
    if latest and latest.status == WorkflowExecutionStatus.RUNNING:
        raise Refused(STILL_OPEN)
    # Visibility lags behind: it may not list the latest run yet.
    runs = {run.run_id async for run in client.list_workflows(f"WorkflowId = '{workflow_id}'")}
    return [(workflow_id, run_id) for run_id in sorted(runs | ({latest.run_id} if latest else set()))]
