"""Start the siblings of an event's first run. Its history has their targets: with a command for each, the event's data
would be in it once for each sibling.
"""

from contextlib import suppress

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities.memory_budget import WorkerMemory
from activities.tenant_concurrency import TenantConcurrency
from hookkeeper import ids
from hookkeeper.messages.event import EventInput, NewSiblings
from hookkeeper.partition import parts_of
from hookkeeper.temporal.event_start import start_run
from hookkeeper.temporal.run_state import input_of
from hookkeeper.temporal.visibility import read_all


class SiblingActivities:
    """Raise ApplicationError if the tenant has no free slot, and Temporal's `RPCError`; both are retried."""

    def __init__(self, temporal: Client, concurrency: TenantConcurrency, memory: WorkerMemory) -> None:
        self._temporal = temporal
        self._concurrency = concurrency
        self._memory = memory

    @activity.defn
    async def start_siblings(self, siblings: NewSiblings) -> None:
        """Start the runs of all further targets. Idempotent: one that was ever started is not started again."""
        info = activity.info()
        assert info.workflow_id is not None
        tenant, _ = ids.event_of(info.workflow_id)
        with self._concurrency.slot(tenant):
            this_run = self._temporal.get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
            event = await input_of(self._temporal, this_run, EventInput)
            with self._memory.event_data(tenant, [event.data]):
                await read_all(
                    list(enumerate(parts_of(event), start=1))[1:],
                    lambda numbered: self._start(*numbered, info.task_queue, siblings.digest),
                )

    async def _start(self, part: int, event: EventInput, task_queue: str, digest: str) -> None:
        with suppress(WorkflowAlreadyStartedError):
            await start_run(self._temporal, task_queue, event, digest, part=part)
