"""Delete all that Temporal stores of an event: all its runs, with data, state and history.

The server deletes in the background, once its queues have recorded that they are done with the run: by default every
30 s (`history.transferProcessorUpdateAckInterval`, `history.visibilityProcessorUpdateAckInterval`). Remains in free
pages, logs and backups of the server's database are the responsibility of that database.
"""

from dataclasses import dataclass
from datetime import datetime

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus

from hookkeeper import ids, temporal_names
from hookkeeper.commands import Refused
from hookkeeper.messages.event import EventInput
from hookkeeper.partition import partition
from hookkeeper.temporal.error_translation import NOT_FOUND_MESSAGES, UnknownEvent
from hookkeeper.temporal.event_read import EventReader
from hookkeeper.temporal.run_state import accepted_at_of, find_run, handle_of, input_of
from hookkeeper.temporal.shared_run_erasure import SharedRunErasure, delete_run
from hookkeeper.temporal.shared_runs import SharedRun

STILL_OPEN = "cannot erase: the event is still open, cancel it first"
REDELIVERED = "erased, but the event was redelivered meanwhile: erase it again, and cancel it before if it is open"


@dataclass(frozen=True, slots=True)
class ClosedEvent:
    """All that Temporal stores of an event whose runs are closed."""

    tenant: str
    event_id: str
    accepted_at: datetime
    runs: list[tuple[str, str]]
    """Workflow id and run id of each run of its own. Those of parts come first."""
    shared_runs: list[SharedRun]
    """The runs that it shared. They come last of all: while one exists, the request can be repeated."""


class Erasure:
    """Methods raise Temporal's `RPCError`."""

    def __init__(self, client: Client, reader: EventReader, shared_run_erasure: SharedRunErasure) -> None:
        self._client = client
        self._reader = reader
        self._shared_run_erasure = shared_run_erasure

    async def find(self, tenant: str, event_id: str) -> ClosedEvent:
        """Return all runs of an event. Raises `Refused` if one is open, and UnknownEvent."""
        workflow_id = ids.workflow_id(tenant, event_id)
        latest = await find_run(self._client, workflow_id)
        shared_runs = await self._reader.shared_runs(tenant, event_id)
        if any(run.is_open for run in shared_runs):
            raise Refused(STILL_OPEN)
        accepted = {event.accepted_at for run in shared_runs if (event := run.event(tenant, event_id))}
        own = [ids.run_apart(tenant, event_id, accepted_at) for accepted_at in accepted]
        if latest is not None:
            accepted.add(await accepted_at_of(latest))
            is_large = latest.workflow_type == temporal_names.LARGE_EVENT
            own += [*(await _parts(self._client, latest) if is_large else []), workflow_id]
        if not accepted:
            raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])
        runs = [run for id_ in own for run in await _runs(self._client, id_)]
        return ClosedEvent(tenant, event_id, max(accepted), runs, shared_runs)

    async def erase(self, event: ClosedEvent) -> int:
        """Delete all runs of an event, and return their number.

        Raises `Refused` if one was started meanwhile, which may have ended since, and RegistryUnavailable.
        """
        workflow_id = ids.workflow_id(event.tenant, event.event_id)
        for id_, run_id in (*await _firings(self._client, workflow_id), *event.runs):
            await delete_run(self._client, id_, run_id)
        await self._shared_run_erasure.erase(event.shared_runs, event.tenant, event.event_id)
        newest = await find_run(self._client, workflow_id)
        if newest and (workflow_id, newest.run_id) not in event.runs:
            raise Refused(REDELIVERED)
        return len(event.runs) + len(event.shared_runs)


async def _parts(client: Client, run: WorkflowExecutionDescription) -> list[str]:
    event = await input_of(client, handle_of(client, run), EventInput)
    return [ids.part_id(event.tenant, event.id, n) for n, _ in enumerate(partition(event.deliveries), start=1)]


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
