"""The client side of runs: start, read, command. Ordered queues, schedules, releases and recoveries have a part each.

Raises the errors of `hookkeeper.temporal.error_translation`, and `Refused` and `UnknownDelivery` of
`hookkeeper.commands` as the run does.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy
from temporalio.converter import PayloadCodec
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids
from hookkeeper.commands import Refused, reopen
from hookkeeper.messages.event import Command, EventInput, EventState, Heard, Receipt
from hookkeeper.temporal import backlog, erasure, listing, parts, reading, starting
from hookkeeper.temporal.command_dispatcher import CommandDispatcher
from hookkeeper.temporal.delivery_log import DeliveryLog
from hookkeeper.temporal.error_translation import Conflict, QueueFull, Unavailable, reaching_temporal
from hookkeeper.temporal.listing import Row, Search
from hookkeeper.temporal.ordered_queues import OrderedQueues
from hookkeeper.temporal.readiness import Readiness
from hookkeeper.temporal.recoveries import Recoveries
from hookkeeper.temporal.releases import Releases
from hookkeeper.temporal.schedules import Schedules
from hookkeeper.times import utc_now


@dataclass(frozen=True, slots=True)
class Run:
    """An event and how its latest run is doing."""

    workflow_id: str
    run_id: str
    event: EventInput
    state: EventState


@dataclass(frozen=True, slots=True)
class Started:
    """What became of a request to start a run. `duplicate`: the run was there already, with the same content."""

    workflow_id: str
    run_id: str
    state: EventState
    duplicate: bool


class Gateway:
    """All that the API knows of Temporal. One for the process."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue
        self._readiness = Readiness(client, task_queue)
        self.ordered_queues = OrderedQueues(client, task_queue)
        self.schedules = Schedules(client, task_queue)
        self.releases = Releases(client, task_queue)
        self.recoveries = Recoveries(client, task_queue)
        self.delivery_log = DeliveryLog(client)

    @property
    def namespace(self) -> str:
        return self._client.namespace

    @property
    def payload_codec(self) -> PayloadCodec | None:
        """What encrypts all payloads, if anything does."""
        return self._client.data_converter.payload_codec

    async def ping(self) -> None:
        """Return when Temporal answers; raise `Unavailable` otherwise."""
        async with reaching_temporal():
            await self._client.service_client.check_health()

    async def readiness(self) -> str:
        """Say who keeps the rates of webhooks; raise `NamespaceUnprepared` where the namespace lacks something."""
        return await self._readiness.check()

    async def waiting(self) -> int:
        """Say how much waits for a worker."""
        async with reaching_temporal():
            return await backlog.waiting(self._client, self._task_queue)

    async def start(self, event: EventInput, digest: str) -> Started:
        """Start the run of an event; return once Temporal has it for good.

        The id decides: a second start with the same `digest` answers with the run that is there, another digest
        raises `Conflict`. Where a lane of its webhooks is full, raises `QueueFull`.
        """
        workflow_id = ids.workflow_id(event.tenant, event.id)
        async with reaching_temporal(not_found=Unavailable):
            try:
                event = await self.ordered_queues.enqueue_event(event)
                run_id = await self._start(event, digest, WorkflowIDReusePolicy.REJECT_DUPLICATE)
            except WorkflowAlreadyStartedError:
                return await self._started_before(workflow_id, digest)
            except QueueFull:
                if known := await self.known(event.tenant, event.id, digest):
                    return known
                raise
        return Started(workflow_id, run_id, reading.as_started(event), duplicate=False)

    async def known(self, tenant: str, event_id: str, digest: str) -> Started | None:
        """Give the run of an event that was accepted before, or None; raise `Conflict` where its content is another."""
        async with reaching_temporal():
            try:
                return await self._started_before(ids.workflow_id(tenant, event_id), digest)
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
                return None

    async def read(self, tenant: str, event_id: str) -> Run:
        """Give the event and its whole state.

        A run that closed by itself, or that no worker has begun, is read from history and needs no worker; one that
        was terminated is asked.
        """
        async with reaching_temporal():
            handle, run = await self._latest(tenant, event_id)
            whole = await parts.read(self._client, handle, run)
            return Run(handle.id, run.run_id, whole.event, whole.state)

    async def command(self, tenant: str, event_id: str, command: Command, delivery: str | None) -> None:
        """Make the run obey; raise `Refused` or `UnknownDelivery` where the command makes no sense.

        A retry or redelivery of a closed run starts a new run under the same workflow id.
        """
        steering = CommandDispatcher(self._client, command, delivery)
        async with reaching_temporal():
            while True:
                handle, run = await self._latest(tenant, event_id)
                if run.status == WorkflowExecutionStatus.RUNNING:
                    if await steering.over(handle, run):
                        return
                elif steering.is_obeyed:  # by other parts than those that ended before they were asked
                    return
                elif command not in ("retry", "redeliver"):
                    whole = await parts.read(self._client, handle, run)
                    raise Refused(f"cannot {command}: the event has already {_ended(whole.state)}")
                elif await self._start_again(handle, run, command, delivery):
                    return
                await asyncio.sleep(0.05)  # the run closed, or was started again, under our hands: look again

    async def reschedule(self, tenant: str, event_id: str, deliver_at: datetime) -> None:
        """Move a scheduled event to another time."""
        steering = CommandDispatcher(self._client, "reschedule", deliver_at=deliver_at)
        async with reaching_temporal():
            while True:
                handle, run = await self._latest(tenant, event_id)
                if run.status != WorkflowExecutionStatus.RUNNING:
                    raise Refused("the event is not scheduled: its delivery is over")
                if await steering.over(handle, run):
                    return
                await asyncio.sleep(0.05)

    async def record(self, tenant: str, event_id: str, delivery: str, receipt: Receipt) -> bool:
        """Tell the event's run what a mail provider said; False where no run is open any more to hear it."""
        async with reaching_temporal():
            try:
                handle = await parts.holder_of(self._client, tenant, event_id, delivery)
                await handle.signal(ids.RECEIPT, Heard(delivery=delivery, receipt=receipt))
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
                return False
        return True

    async def erase(self, tenant: str, event_id: str) -> int:
        """Have all runs of a finished event deleted, and give their number; raise `Refused` while one is open."""
        async with reaching_temporal():
            return await erasure.erase(self._client, ids.workflow_id(tenant, event_id))

    async def find(self, search: Search, limit: int, cursor: str | None) -> tuple[list[Row], str | None]:
        """Give one page of events and the cursor of the next; raise `BadCursor`."""
        async with reaching_temporal():
            return await listing.find(self._client, search, limit, cursor)

    # Starting

    async def _start(self, event: EventInput, digest: str, reuse: WorkflowIDReusePolicy, run_number: int = 1) -> str:
        return await starting.start(self._client, self._task_queue, event, digest, reuse, run_number)

    async def _started_before(self, workflow_id: str, digest: str) -> Started:
        handle, run = await self._describe(workflow_id)
        if await run.memo_value("digest", default="") != digest:
            tenant, event_id = ids.event_of(workflow_id)
            raise Conflict(f"an event with id {event_id} and other content was accepted before for tenant {tenant}")
        if run.status == WorkflowExecutionStatus.RUNNING:  # it needs no worker to say that it was accepted
            event = await reading.started_with(self._client, handle)
            state = reading.at_start(event, scheduled=run.typed_search_attributes.get(ids.DELIVER_AT) is not None)
            return Started(handle.id, run.run_id, state, duplicate=True)
        whole = await parts.read(self._client, handle, run)
        return Started(handle.id, run.run_id, whole.state, duplicate=True)

    async def _start_again(
        self,
        handle: WorkflowHandle[Any, Any],
        run: WorkflowExecutionDescription,
        command: Command,
        delivery: str | None,
    ) -> bool:
        """Start a new run for what `command` selects; False where somebody else just did."""
        whole, digest = await asyncio.gather(
            parts.read(self._client, handle, run), run.memo_value("digest", default="")
        )
        event, state = whole.event, whole.state
        deliveries = reopen(command, state.deliveries, delivery)
        # Asked for by hand, it waits no longer for a time that was still to come when it was cancelled.
        deliver_at = min(state.deliver_at, utc_now()) if state.deliver_at else None
        again = event.model_copy(update={"deliveries": deliveries, "deliver_at": deliver_at})
        try:
            await self._start(again, digest, WorkflowIDReusePolicy.ALLOW_DUPLICATE, whole.run_number + 1)
        except WorkflowAlreadyStartedError:
            return False
        return True

    # Asking

    async def _latest(
        self, tenant: str, event_id: str
    ) -> tuple[WorkflowHandle[Any, Any], WorkflowExecutionDescription]:
        return await self._describe(ids.workflow_id(tenant, event_id))

    async def _describe(self, workflow_id: str) -> tuple[WorkflowHandle[Any, Any], WorkflowExecutionDescription]:
        run = await self._client.get_workflow_handle(workflow_id).describe()
        return self._client.get_workflow_handle(workflow_id, run_id=run.run_id), run


def _ended(state: EventState) -> str:
    return {"succeeded": "succeeded", "failed": "failed"}.get(state.status, "been cancelled")
