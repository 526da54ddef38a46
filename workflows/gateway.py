"""The client side of runs: start, ask, command. With `listing`, the only code outside a worker that speaks to Temporal.

Raises what `workflows.reaching` names, and `Refused` and `UnknownDelivery` of `workflows.commands` as the run would.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.converter import PayloadCodec
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from times import utc_now
from workflows import erasing, listing, names, reading
from workflows.commands import Refused, RunIsClosing, UnknownDelivery, select
from workflows.event import EventWorkflow
from workflows.listing import Row, Search
from workflows.models import Command, EventInput, EventState, Heard, Receipt
from workflows.progress import reopened
from workflows.reaching import Conflict, Unavailable, reaching_temporal


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
    event: EventInput
    state: EventState
    duplicate: bool


class Gateway:
    """All that the API knows of Temporal. One for the process."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

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

    async def start(self, event: EventInput, digest: str) -> Started:
        """Start the run of an event; return once Temporal has it for good.

        The id decides: a second start with the same `digest` answers with the run that is there, another digest
        raises `Conflict`.
        """
        workflow_id = names.workflow_id(event.tenant, event.id)
        async with reaching_temporal(not_found=Unavailable):
            try:
                run_id = await self._start(event, digest, WorkflowIDReusePolicy.REJECT_DUPLICATE)
            except WorkflowAlreadyStartedError:
                return await self._started_before(workflow_id, digest)
        scheduled = event.deliver_at is not None and event.deliver_at > utc_now()
        return Started(workflow_id, run_id, event, reading.at_start(event, scheduled), duplicate=False)

    async def known(self, tenant: str, event_id: str, digest: str) -> Started | None:
        """Give the run of an event that was accepted before, or None; raise `Conflict` where its content is another."""
        async with reaching_temporal():
            try:
                return await self._started_before(names.workflow_id(tenant, event_id), digest)
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
                return None

    async def read(self, tenant: str, event_id: str) -> Run:
        """Give the event and its whole state. A closed run is read from history and needs no worker."""
        async with reaching_temporal():
            handle, run = await self._latest(tenant, event_id)
            event, state = await asyncio.gather(
                reading.started_with(self._client, handle), reading.state_of(self._client, handle, run.status)
            )
            return Run(handle.id, run.run_id, event, state)

    async def command(self, tenant: str, event_id: str, command: Command, delivery: str | None) -> None:
        """Make the run obey; raise `Refused` or `UnknownDelivery` where the command makes no sense.

        A retry or redelivery of a closed run starts a new run under the same workflow id.
        """
        async with reaching_temporal():
            while True:
                handle, run = await self._latest(tenant, event_id)
                if run.status == WorkflowExecutionStatus.RUNNING:
                    if await self._update(handle, command, delivery):
                        return
                elif command not in ("retry", "redeliver"):
                    state = await reading.state_of(self._client, handle, run.status)
                    raise Refused(f"cannot {command}: the event has already {_ended(state)}")
                elif await self._start_again(handle, run, command, delivery):
                    return
                await asyncio.sleep(0.05)  # the run closed, or was started again, under our hands: look again

    async def reschedule(self, tenant: str, event_id: str, deliver_at: datetime) -> None:
        """Move a scheduled event to another time."""
        async with reaching_temporal():
            handle, run = await self._latest(tenant, event_id)
            if run.status == WorkflowExecutionStatus.RUNNING and await self._update(handle, "reschedule", deliver_at):
                return
            raise Refused("the event is not scheduled: its delivery is over")

    async def record(self, tenant: str, event_id: str, delivery: str, receipt: Receipt) -> bool:
        """Tell the event's run what a mail provider said; False where no run is open any more to hear it."""
        handle = self._client.get_workflow_handle(names.workflow_id(tenant, event_id))
        async with reaching_temporal():
            try:
                await handle.signal("receipt", Heard(delivery=delivery, receipt=receipt))
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
                return False
        return True

    async def erase(self, tenant: str, event_id: str) -> int:
        """Have all runs of a finished event deleted, and give their number; raise `Refused` while one is open."""
        async with reaching_temporal():
            return await erasing.erase(self._client, names.workflow_id(tenant, event_id))

    async def find(self, search: Search, limit: int, cursor: str | None) -> tuple[list[Row], str | None]:
        """Give one page of events and the cursor of the next; raise `BadCursor`."""
        async with reaching_temporal():
            return await listing.find(self._client, search, limit, cursor)

    # Starting

    async def _start(self, event: EventInput, digest: str, reuse: WorkflowIDReusePolicy, run_number: int = 1) -> str:
        handle = await self._client.start_workflow(
            EventWorkflow.run,
            event,
            id=names.workflow_id(event.tenant, event.id),
            task_queue=self._task_queue,
            id_reuse_policy=reuse,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            memo={"digest": digest, "accepted_at": event.accepted_at},
            search_attributes=_search_attributes(event, run_number),
            static_summary=f"{event.type} · {event.tenant}",
        )
        assert handle.result_run_id is not None
        return handle.result_run_id

    async def _started_before(self, workflow_id: str, digest: str) -> Started:
        handle, run = await self._describe(workflow_id)
        if await run.memo_value("digest", default="") != digest:
            tenant, event_id = names.event_of(workflow_id)
            raise Conflict(f"an event with id {event_id} and other content was accepted before for tenant {tenant}")
        event = await reading.started_with(self._client, handle)
        if run.status == WorkflowExecutionStatus.RUNNING:  # it needs no worker to say that it was accepted
            state = reading.at_start(event, scheduled=run.typed_search_attributes.get(names.DELIVER_AT) is not None)
        else:
            state = await reading.state_of(self._client, handle, run.status)
        return Started(handle.id, run.run_id, event, state, duplicate=True)

    async def _start_again(
        self,
        handle: WorkflowHandle[Any, Any],
        run: WorkflowExecutionDescription,
        command: Command,
        delivery: str | None,
    ) -> bool:
        """Start a new run for what `command` selects; False where somebody else just did."""
        event, state, digest = await asyncio.gather(
            reading.started_with(self._client, handle),
            reading.state_of(self._client, handle, run.status),
            run.memo_value("digest", default=""),
        )
        chosen = set(select(command, state.deliveries, delivery))
        deliveries = tuple(reopened(each) if each.id in chosen else each for each in state.deliveries)
        number = run.typed_search_attributes.get(names.RUN_NUMBER, 1) + 1
        # Asked for by hand, it waits no longer for a time that was still to come when it was cancelled.
        deliver_at = min(state.deliver_at, utc_now()) if state.deliver_at else None
        again = event.model_copy(update={"deliveries": deliveries, "deliver_at": deliver_at})
        try:
            await self._start(again, digest, WorkflowIDReusePolicy.ALLOW_DUPLICATE, number)
        except WorkflowAlreadyStartedError:
            return False
        return True

    # Asking

    async def _latest(
        self, tenant: str, event_id: str
    ) -> tuple[WorkflowHandle[Any, Any], WorkflowExecutionDescription]:
        return await self._describe(names.workflow_id(tenant, event_id))

    async def _describe(self, workflow_id: str) -> tuple[WorkflowHandle[Any, Any], WorkflowExecutionDescription]:
        run = await self._client.get_workflow_handle(workflow_id).describe()
        return self._client.get_workflow_handle(workflow_id, run_id=run.run_id), run

    async def _update(self, handle: WorkflowHandle[Any, Any], name: str, argument: object) -> bool:
        """Send an update; False when the run has closed or moved on meanwhile."""
        try:
            await handle.execute_update(name, argument)
        except WorkflowUpdateFailedError as error:
            if isinstance(error.cause, ApplicationError) and error.cause.type == RunIsClosing.__name__:
                return False
            _raise_refusal(error)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True


def _search_attributes(event: EventInput, run_number: int) -> TypedSearchAttributes:
    webhooks = names.listed(each.webhook_id for each in event.deliveries)
    trouble = names.listed(each.webhook_id for each in event.deliveries if each.status in ("held", "failed"))
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(names.TENANT, event.tenant),
        SearchAttributePair(names.EVENT_TYPE, event.type),
    ]
    if webhooks:
        pairs.append(SearchAttributePair(names.WEBHOOKS, webhooks))
    if trouble:
        pairs.append(SearchAttributePair(names.TROUBLE, trouble))
    if event.deliver_at and run_number == 1:
        pairs.append(SearchAttributePair(names.DELIVER_AT, event.deliver_at))
    if run_number > 1:
        pairs.append(SearchAttributePair(names.RUN_NUMBER, run_number))
    return TypedSearchAttributes(pairs)


def _raise_refusal(error: WorkflowUpdateFailedError) -> NoReturn:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        if cause.type == Refused.__name__:
            raise Refused(cause.message) from error
        if cause.type == UnknownDelivery.__name__:
            raise UnknownDelivery(cause.message) from error
    raise error


def _ended(state: EventState) -> str:
    return {"succeeded": "succeeded", "failed": "failed"}.get(state.status, "been cancelled")
