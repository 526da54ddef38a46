"""Erase one event of a shared run: start a run with the other events, which sends nothing, and delete the shared run.

First the run that replaces it is started, then the rows of its events name that run, then the shared run is deleted. So
each event can be found at any time, and an interrupted request can be repeated. Several events of a run can be erased
at once: the second request finds the run that the first has started, and continues with it. An event that has left the
shared run for a run of its own is not in the new one.
"""

from collections.abc import Iterable, Sequence

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client

from hookkeeper import ids
from hookkeeper.messages.event import EventInput, EventState
from hookkeeper.messages.shared_run import SharedRunInput
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.temporal.error_translation import Unavailable, not_found_suppressed
from hookkeeper.temporal.shared_runs import SharedRun, final_states, find_shared_run, start_shared_run


class SharedRunErasure:
    """Raises Temporal's `RPCError`, RegistryUnavailable, and Unavailable if the run was replaced meanwhile."""

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
