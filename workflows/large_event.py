"""The run of an event with more than a hundred targets: it has a child run for each hundred, and closes as they do.

A part (`workflows.event_part`) has the input, the search attributes and the commands of an event's run. It waits for
`deliver_at` itself, so that all parts are delivered at that time, and each can be found, held or cancelled before. The
parent knows the status of each part, and whether it needs attention; `hookkeeper.temporal.event_read` reads the rest.

Parts are started one after another: each has the event's data (up to 1 MB), and all commands of one workflow task must
fit into 4 MB. Termination is immediate, so the parts are terminated too (`ParentClosePolicy.TERMINATE`): with a request
to cancel, a part that is stuck would stay open and be listed nowhere. A cancellation is passed on as a cancellation.

This run never continues as new: a part adds a dozen history events, and a few for each report.
Redeliveries could still make the history too large: `restart_part` is refused before that.

This code is permanent, like that of `workflows.event`.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError, WorkflowAlreadyStartedError
from temporalio.workflow import ChildWorkflowHandle, ParentClosePolicy

from hookkeeper import error_types, ids, temporal_names
from hookkeeper.commands import Refused, RunIsClosing
from hookkeeper.messages import Message
from hookkeeper.messages.event import DeliveryReceipt, EventInput, EventState, EventStatus, PartRestart
from hookkeeper.partition import part_input, partition
from hookkeeper.search_attributes import memo as run_memo
from hookkeeper.search_attributes import run_summary, search_attributes
from workflows import closing, memo, timers
from workflows.commands import signal_handler
from workflows.event_part import EventPartWorkflow
from workflows.record import EventRecords
from workflows.relay import PartReport, PartState, Relay

MAX_HISTORY_BYTES = 25 * 1024 * 1024
"""Bytes of history after which no part is started again; Temporal ends a run at 50 MB."""

WORST_FIRST: tuple[EventStatus, ...] = ("delivering", "failed", "cancelled", "succeeded")
"""The first of these that a part has is the event's."""


class LargeEventState(Message):
    """The status of the parts. Their deliveries are in their own runs: `event-<tenant>-<id>.1` and so on."""

    status: EventStatus
    deliveries: int
    failed: int
    parts: dict[int, EventStatus]


@workflow.defn(name=temporal_names.LARGE_EVENT)
class LargeEventWorkflow:
    """One event with very many targets, a hundred a part."""

    @workflow.init
    def __init__(self, event: EventInput) -> None:
        self._event = event
        self._parts = {n: PartState.of(deliveries) for n, deliveries in enumerate(partition(event.deliveries), start=1)}
        self._number = memo.run_number()
        self.commands = Relay(self._parts, is_scheduled=event.deliver_at is not None and self._number == 1)
        self._records = EventRecords(event)
        self._deliver_at = event.deliver_at
        self._starting = asyncio.Lock()
        self._all_started = False
        self._cancel_requested = False
        self._is_closed = False

    @workflow.run
    async def run(self, event: EventInput) -> LargeEventState:
        """Start the parts, wait until they are closed, close like them."""
        starting = asyncio.create_task(self._start_all())
        try:
            await workflow.wait_condition(self._is_over)
        except asyncio.CancelledError:
            self._cancel_requested = True
            self._cancel_parts()
            await workflow.wait_condition(self._is_over)
        await starting
        return await self._close()

    async def _start_all(self) -> None:
        number = self._number
        self._report()
        await asyncio.sleep(0)  # handles a cancellation first that came before any worker
        for n, part in self._parts.items():
            if part.is_open and not part.number:
                await self._start(n, part_input(self._event, part.deliveries), number)
        self._all_started = True

    async def _start(self, n: int, event: EventInput, number: int) -> None:
        part = self._parts[n]
        part.status, part.number, part.handle = "delivering", number, None
        part.count_failures(event.deliveries)
        async with self._starting:
            part.handle = await self._started(n, event, number)
        if part.handle is None:
            return part.end(None)
        asyncio.create_task(self._wait_for(part, part.handle))  # noqa: RUF006 - a workflow's loop keeps its tasks
        if self._cancel_requested:
            part.handle.cancel()
        return await part.send_pending_signals()

    async def _started(self, n: int, event: EventInput, number: int) -> ChildWorkflowHandle[Any, EventState] | None:
        """Start the run of a part; None if the event is cancelled first."""
        while not self._cancel_requested:
            try:
                return await workflow.start_child_workflow(
                    EventPartWorkflow.run,
                    event,
                    id=ids.part_id(event.tenant, event.id, n),
                    parent_close_policy=ParentClosePolicy.TERMINATE,
                    memo=run_memo(event, number),
                    search_attributes=search_attributes(event, number),
                    static_summary=f"{run_summary(event)} · part {n} of {len(self._parts)}",
                )
            except WorkflowAlreadyStartedError:
                # The parts of a parent that has just been terminated close a moment later.
                await timers.sleep(timedelta(seconds=1), f"part {n} is not closed yet")
        return None

    async def _wait_for(self, part: PartState, handle: ChildWorkflowHandle[Any, EventState]) -> None:
        try:
            await handle
        except ChildWorkflowError as error:
            part.end(error.cause)
        else:
            part.succeed()
        self._report()

    def _report(self, finished_at: datetime | None = None) -> None:
        """Record the event; its parts record the deliveries."""
        self._records.put_deliveries(
            (),
            status=self.state().status,
            needs_attention=self.commands.needs_attention,
            deliver_at=self._deliver_at,
            finished_at=finished_at,
        )

    def _cancel_parts(self) -> None:
        for part in self._parts.values():
            if part.is_open and part.handle is not None:
                part.handle.cancel()

    def _is_over(self) -> bool:
        is_any_open = any(part.is_open for part in self._parts.values())
        return not is_any_open and self._all_started and workflow.all_handlers_finished()

    async def _close(self) -> LargeEventState:
        self._is_closed = True
        self._report(workflow.now())
        self._cancel_requested |= await timers.uninterrupted(lambda: self._records.is_done)
        state = self.state()
        if state.status == "succeeded":
            return state
        if state.status == "failed":
            raise closing.deliveries_failed(state.failed, state.deliveries, state)
        if not self._cancel_requested:
            await closing.prepare_cancelled(self._event.tenant, state, is_cancel_requested=False)
        raise asyncio.CancelledError

    @workflow.query(name=temporal_names.STATE)
    def state(self) -> LargeEventState:
        """Return the status of the event and of its parts."""
        statuses = {part.status for part in self._parts.values()}
        status = next(status for status in WORST_FIRST if status in statuses)
        return LargeEventState(
            status="scheduled" if status == "delivering" and self.commands.is_scheduled else status,
            deliveries=len(self._event.deliveries),
            failed=sum(part.failed for part in self._parts.values()),
            parts={n: part.status for n, part in self._parts.items()},
        )

    # Signals are passed on to the parts; the API sends its updates to the parts.

    signal_cancel = signal_handler("cancel")
    signal_retry = signal_handler("retry")
    signal_hold = signal_handler("hold")
    signal_release = signal_handler("release")

    @workflow.signal(
        name=temporal_names.RELEASE_WEBHOOK,
        description="Release what is held because this webhook was paused or disabled.",
    )
    async def release_webhook(self, webhook_id: str) -> None:
        await self.commands.pass_on(
            temporal_names.RELEASE_WEBHOOK, webhook_id, lambda delivery: delivery.webhook_id == webhook_id
        )

    @workflow.signal(name=temporal_names.RECEIPT, description="A mail provider's report about an email.")
    async def receipt(self, report: DeliveryReceipt) -> None:
        await self.commands.pass_on(temporal_names.RECEIPT, report, lambda delivery: delivery.id == report.delivery)

    @workflow.signal(name=temporal_names.REPORT_PART, description="What a part shows.")
    def report_part(self, report: PartReport) -> None:
        self.commands.add_report(report)
        self._deliver_at = report.deliver_at or self._deliver_at
        self._report()

    @workflow.update(name=temporal_names.RESTART_PART, description="Start a closed part again.")
    async def restart_part(self, restart: PartRestart) -> None:
        part = self._parts[restart.part]
        await workflow.wait_condition(lambda: not part.is_open)  # its close may not have been seen here yet
        if part.number != restart.number:
            raise ApplicationError("this part has been started again: retry", type=error_types.RUN_IS_CLOSING)
        self._number += 1
        event = part_input(self._event, restart.deliveries)
        if event.deliver_at:  # by request, it is delivered now
            event = event.model_copy(update={"deliver_at": min(event.deliver_at, workflow.now())})
        await self._start(restart.part, event, self._number)

    @restart_part.validator
    def check_restart_part(self, restart: PartRestart) -> None:
        if self._is_closed:
            raise RunIsClosing
        if workflow.info().get_current_history_size() > MAX_HISTORY_BYTES:
            raise Refused("this event has been redelivered too often: wait until it is finished")
