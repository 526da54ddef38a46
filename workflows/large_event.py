"""The run of an event with more than a hundred targets: it has a child run for each hundred, and ends as they do.

A part (`workflows.event_part`) has the input, the search attributes and the commands of an event's run. It waits for
`deliver_at` itself, so that all parts go out at that time, and each can be found, held or cancelled before. The parent
knows whether each part has ended and which search attributes it has; `hookkeeper.temporal.parts` reads the rest.

Parts are started one after another: each has the event's data (up to 1 MB), and all commands of one workflow task must
fit into 4 MB. Termination is immediate, so the parts are terminated too (`ParentClosePolicy.TERMINATE`): with a request
to cancel, a part that is stuck would stay open in no list. A cancellation is passed on as a cancellation.

This run never continues as new: a part adds a dozen history events, and a few for each change of its search attributes.
Redeliveries could still make the history too large: `again` is refused before that.

This code is permanent, like that of `workflows.event`.
"""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import (
    ApplicationError,
    ApplicationErrorCategory,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
)
from temporalio.workflow import ChildWorkflowHandle, ParentClosePolicy

from activities.finalize import ClosingActivities
from hookkeeper import ids
from hookkeeper.commands import Refused, RunIsClosing
from hookkeeper.messages.event import CancelledRun, EventInput, EventState, EventStatus, PartRestart
from hookkeeper.outcomes import Message
from hookkeeper.partition import part_input, partition
from hookkeeper.search_attributes import search_attributes
from workflows import timers
from workflows.activities import run_until_done
from workflows.event_part import EventPartWorkflow
from workflows.relay import Branch, Relay

LARGE_HISTORY = 25 * 1024 * 1024
"""Bytes after which no part is started again; Temporal ends a run at 50 MB."""

WORST_FIRST: tuple[EventStatus, ...] = ("delivering", "failed", "cancelled", "succeeded")
"""The first of these that a part has is the event's."""


class FannedOut(Message):
    """How the parts are. Their deliveries stand in their own runs: `event-<tenant>-<id>.1` and so on."""

    status: EventStatus
    deliveries: int
    failed: int
    parts: dict[int, EventStatus]


@workflow.defn(name=ids.LARGE_EVENT)
class LargeEventWorkflow(Relay):
    """One event on its way to very many targets, a hundred a part."""

    @workflow.init
    def __init__(self, event: EventInput) -> None:
        attributes = workflow.info().typed_search_attributes
        self._event = event
        self._branches = {n: Branch.of(deliveries) for n, deliveries in enumerate(partition(event.deliveries), start=1)}
        self._number = attributes.get(ids.RUN_NUMBER, 1)
        self._scheduled = attributes.get(ids.DELIVER_AT) is not None
        self._needs_attention = list(attributes.get(ids.NEEDS_ATTENTION, ()))
        self._starting = asyncio.Lock()
        self._fanned_out = False
        self._cancel_requested = False
        self._finished = False

    @workflow.run
    async def run(self, event: EventInput) -> FannedOut:
        """Start the parts, wait for their ends, end like them."""
        fanning_out = asyncio.create_task(self._fan_out())
        try:
            await workflow.wait_condition(self._is_over)
        except asyncio.CancelledError:
            self._cancel_requested = True
            self._cancel_parts()
            await workflow.wait_condition(self._is_over)
        await fanning_out
        return await self._close()

    # The story

    async def _fan_out(self) -> None:
        number = self._number
        await asyncio.sleep(0)  # a cancellation that was there before any worker is heard first
        for n, branch in self._branches.items():
            if branch.is_open and not branch.number:
                await self._start(n, part_input(self._event, branch.deliveries), number)
        self._fanned_out = True

    async def _start(self, n: int, event: EventInput, number: int) -> None:
        branch = self._branches[n]
        branch.status, branch.number, branch.handle = "delivering", number, None
        async with self._starting:
            branch.handle = await self._started(n, event, number)
        if branch.handle is None:
            return branch.end(None)
        asyncio.create_task(self._see_through(branch, branch.handle))  # noqa: RUF006 - a workflow's loop keeps its tasks
        if self._cancel_requested:
            branch.handle.cancel()
        unsaid, branch.unsaid = branch.unsaid, []
        for signal, argument in unsaid:
            await branch.say(signal, argument)
        return None

    async def _started(self, n: int, event: EventInput, number: int) -> ChildWorkflowHandle[Any, EventState] | None:
        """Start the run of a part; None where nobody wants it any more."""
        while not self._cancel_requested:
            try:
                return await workflow.start_child_workflow(
                    EventPartWorkflow.run,
                    event,
                    id=ids.part_id(event.tenant, event.id, n),
                    parent_close_policy=ParentClosePolicy.TERMINATE,
                    memo={"digest": workflow.memo_value("digest", default=""), "accepted_at": event.accepted_at},
                    search_attributes=search_attributes(event, number),
                    static_summary=f"{event.type} · {event.tenant} · part {n} of {len(self._branches)}",
                )
            except WorkflowAlreadyStartedError:
                # Of a parent that was terminated a moment ago, the parts end in the next one.
                await timers.sleep(timedelta(seconds=1), f"part {n} is not over yet")
        return None

    async def _see_through(self, branch: Branch, handle: ChildWorkflowHandle[Any, EventState]) -> None:
        try:
            await handle
        except ChildWorkflowError as error:
            branch.end(error.cause)
        else:
            branch.status = "succeeded"
            branch.note(())
        self._tell()

    def _cancel_parts(self) -> None:
        for branch in self._branches.values():
            if branch.is_open and branch.handle is not None:
                branch.handle.cancel()

    def _is_over(self) -> bool:
        ended = not any(branch.is_open for branch in self._branches.values())
        return ended and self._fanned_out and workflow.all_handlers_finished()

    # The end

    async def _close(self) -> FannedOut:
        self._finished = True
        result = self.state()
        if result.status == "succeeded":
            return result
        if result.status == "failed":
            raise ApplicationError(
                f"{result.failed} of {result.deliveries} deliveries failed",
                result,
                type="DeliveryFailed",
                non_retryable=True,
                category=ApplicationErrorCategory.BENIGN,
            )
        if not self._cancel_requested:
            await self._have_it_cancelled(result)
        raise asyncio.CancelledError

    async def _have_it_cancelled(self, result: FannedOut) -> None:
        """Ask for the cancellation that a signal or an update did not: only then can a run close as cancelled."""
        asked = asyncio.create_task(
            run_until_done(
                ClosingActivities.close_as_cancelled,
                CancelledRun(state=result.model_dump(mode="json"), request_cancel=True),
                start_to_close_timeout=timedelta(minutes=1),
                priority=Priority(fairness_key=self._event.tenant),
                summary="close as cancelled",
            )
        )
        try:
            await workflow.wait_condition(lambda: False)
        except asyncio.CancelledError:
            await workflow.wait_condition(asked.done)
        await asked

    # What can be asked

    @workflow.query(name=ids.STATE)
    def state(self) -> FannedOut:
        """Give how the parts are."""
        statuses = {branch.status for branch in self._branches.values()}
        status = next(each for each in WORST_FIRST if each in statuses)
        return FannedOut(
            status="scheduled" if status == "delivering" and self._scheduled else status,
            deliveries=len(self._event.deliveries),
            failed=sum(branch.failed for branch in self._branches.values()),
            parts={n: branch.status for n, branch in self._branches.items()},
        )

    @workflow.update(name=ids.RESTART_PART)
    async def again(self, again: PartRestart) -> None:
        """Start a part that is over once more."""
        branch = self._branches[again.part]
        await workflow.wait_condition(lambda: not branch.is_open)  # its end may not have come to us yet
        if branch.number != again.number:
            raise ApplicationError("somebody else was faster: look again", type=RunIsClosing.__name__)
        self._number += 1
        event = part_input(self._event, again.deliveries)
        if event.deliver_at:  # asked for by hand, it waits no longer
            event = event.model_copy(update={"deliver_at": min(event.deliver_at, workflow.now())})
        await self._start(again.part, event, self._number)

    @again.validator
    def _check_again(self, again: PartRestart) -> None:
        if self._finished:
            raise RunIsClosing
        if workflow.info().get_current_history_size() > LARGE_HISTORY:
            raise Refused("this event has been delivered again too often: wait until all of it is over")
