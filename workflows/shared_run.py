"""The run of several events that were accepted at the same moment: it makes their first attempts together.

One activity makes all of them. Each event that has not succeeded then gets a run of its own, with its state: whatever
is retried, held or cancelled is an `EventWorkflow`. So a shared run lives for one attempt, and its costs are those of
one run, however many events it has.

This code is permanent, like that of `workflows.event`.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import Priority, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from activities.runs import RunActivities
from hookkeeper import ids, task_queues, temporal_names
from hookkeeper.commands import RunIsClosing, UnknownDelivery, select
from hookkeeper.kinds import URL
from hookkeeper.messages.batch import DeliveryBatch, EventAttempts
from hookkeeper.messages.event import Delivery, EventInput, EventState, event_state
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.messages.shared_run import HandOver, SharedCommand, SharedRunInput, SharedRunResult
from hookkeeper.search_attributes import memo, run_summary, search_attributes
from workflows import summaries, timers
from workflows.activities import run_until_done
from workflows.batches import record_outcomes
from workflows.commands import APPLY
from workflows.delivery import DeliveryState
from workflows.dispatch import FIRST_HEARTBEAT_TIMEOUT, begin_attempts, make_attempts
from workflows.event import EventWorkflow
from workflows.record import SharedRunRecords

MAX_TRIES, MAX_WAIT = 4, timedelta(seconds=5)
"""Activities that a run has at most, as tenants can be at their limits, and the time between two. An overloaded tenant
would be overloaded more if each of its events got a run at once."""


class FirstAttempts:
    """The first attempts of one event: its deliveries, until they have succeeded or continue in a run of their own."""

    def __init__(self, event: EventInput, *, is_settled: bool) -> None:
        self.event = event
        self.deliveries = {record.id: DeliveryState(record) for record in event.deliveries}
        self.finished_at: datetime | None = None
        self.own_run: EventInput | None = None
        """The input of the event's own run, if it continues in one."""
        self.is_settled = is_settled
        """It has succeeded, or continues in its own run: commands go there."""
        self.is_elsewhere = False
        """Its own run has been started; or another one, because this one seemed to be lost."""

    @property
    def has_succeeded(self) -> bool:
        return all(delivery.record.status == "succeeded" for delivery in self.deliveries.values())

    @property
    def state(self) -> EventState:
        return event_state(self.event, self._snapshots(), deliver_at=None, finished_at=self.finished_at)

    def begin(self) -> EventAttempts | None:
        """Begin the first attempts; None if there are none: there are no deliveries, or a command came first."""
        new = [delivery for delivery in self.deliveries.values() if delivery.is_new]
        return begin_attempts(self.event, new, is_inline=True, is_first=True) if new else None

    def end(self, outcomes: Sequence[Outcome] | None) -> None:
        """Record the outcomes, or that no attempt was made."""
        if outcomes is not None:
            record_outcomes(self.deliveries, outcomes)
            return
        for delivery in self.deliveries.values():
            if delivery.in_flight:
                delivery.abandon_attempt()

    def leave(self) -> None:
        """Note that another run has the event."""
        self.is_settled = self.is_elsewhere = True

    def settle(self, now: datetime) -> None:
        """Finish the event if it has succeeded; otherwise, let it continue in its own run."""
        self.is_settled = True
        if self.has_succeeded:
            self.finished_at = now
        else:
            self.own_run = self.event.model_copy(update={"deliveries": self._snapshots()})

    def _snapshots(self) -> tuple[Delivery, ...]:
        return tuple(delivery.snapshot for delivery in self.deliveries.values())


@workflow.defn(name=temporal_names.SHARED_RUN)
class SharedRunWorkflow:
    """The first attempts of several events."""

    @workflow.init
    def __init__(self, run: SharedRunInput) -> None:
        self._events = {event.workflow_id: FirstAttempts(event, is_settled=bool(run.finished)) for event in run.events}
        self._records = SharedRunRecords()

    @workflow.run
    async def run(self, run: SharedRunInput) -> SharedRunResult:
        """Make the first attempts of all events; start a run for each that has not succeeded."""
        if run.finished:  # it replaces a run of which an event was erased
            return SharedRunResult(finished=run.finished)
        work = asyncio.create_task(self._deliver())
        if await timers.uninterrupted(
            lambda: work.done() and self._records.is_done and workflow.all_handlers_finished()
        ):
            workflow.logger.warning("cancellation ignored: cancel the events of this run instead")
        return await work

    async def _deliver(self) -> SharedRunResult:
        """Make the first attempts. Events whose tenants are at their limits wait a little; then their own runs wait."""
        waiting = list(self._events.values())
        for number in range(1, MAX_TRIES + 1):
            refused, retry_after = await self._attempt(waiting, is_rest=number > 1)
            is_last = not refused or number == MAX_TRIES
            await self._settle([event for event in waiting if is_last or event not in refused])
            if is_last:
                break
            waiting = refused
            await timers.sleep(min(retry_after, MAX_WAIT), f"{len(refused)} events wait for their tenants' limits")
        finished = tuple(event.state for event in self._events.values() if event.finished_at)
        return SharedRunResult(
            finished=finished, continued=tuple(key for key, event in self._events.items() if event.own_run)
        )

    async def _attempt(
        self, events: Sequence[FirstAttempts], *, is_rest: bool
    ) -> tuple[list[FirstAttempts], timedelta]:
        """Make the first attempts, and record their outcomes; return the events of tenants at their limits, and when
        these should have a free slot.
        """
        begun = [(event, attempts) for event in events if (attempts := event.begin())]
        if not begun:
            return [], timedelta()
        batch = DeliveryBatch(events=tuple(attempts for _, attempts in begun), is_shared=True, is_rest=is_rest)
        result = await make_attempts(
            URL,
            batch,
            is_quick=all(event.event.quick for event, _ in begun),
            heartbeat_timeout=FIRST_HEARTBEAT_TIMEOUT,
            priority=Priority(fairness_key=task_queues.tenant_or_several({event.tenant for event in batch.events})),
            summary=summaries.together_summary([event.id for event in batch.events], batch.targets),
        )
        refused = []
        for number, ((event, _), outcomes) in enumerate(zip(begun, result.outcomes, strict=True)):
            if number in result.moved:
                event.leave()
                continue
            event.end(outcomes)
            if outcomes is None:
                refused.append(event)
        return refused, timedelta(seconds=result.retry_after or 0)

    async def _settle(self, events: Sequence[FirstAttempts]) -> None:
        """Report the events, and start the runs of those that continue."""
        for event in events:
            if not event.is_elsewhere:
                event.settle(workflow.now())
                self._report(event)
        await asyncio.gather(*(self._continue(event, event.own_run) for event in events if event.own_run))

    async def _continue(self, event: FirstAttempts, own_run: EventInput) -> None:
        await self._start(own_run)
        event.leave()

    async def _start(self, event: EventInput) -> None:
        """Start the run of an event that continues. An open run with its id has the event already, or another event
        with the same id, which the registry has forgotten: then the run gets an id of its own.
        """
        try:
            await _start_own(event, event.workflow_id)
            return
        except WorkflowAlreadyStartedError:
            pass
        is_in_open_run = await run_until_done(
            RunActivities.is_in_open_run,
            HandOver(tenant=event.tenant, event_id=event.id, accepted_at=event.accepted_at),
            start_to_close_timeout=timedelta(seconds=20),
            priority=Priority(fairness_key=event.tenant),
            summary=f"compare {event.id} with the open run of its id",
        )
        if not is_in_open_run:
            with suppress(WorkflowAlreadyStartedError):  # this run was reset
                await _start_own(event, ids.run_apart(event.tenant, event.id, event.accepted_at))

    @workflow.query(name=temporal_names.STATE)
    def state(self, key: str) -> EventState | None:
        """Return the public state of an event, without its data; None if another run has it."""
        event = self._event(key)
        return None if event.is_elsewhere else event.state

    @workflow.update(name=temporal_names.COMMAND, description="Apply a command to one event.")
    async def command(self, command: SharedCommand) -> None:
        event = self._event(command.event)
        for delivery in self._select(command):
            APPLY[command.command](event.deliveries[delivery])
        self._report(event)
        await self._records.until_recorded()

    @command.validator
    def check_command(self, command: SharedCommand) -> None:
        self._select(command)

    def _select(self, command: SharedCommand) -> list[str]:
        """Return the ids of the deliveries that a command selects; raise if it makes no sense."""
        event = self._event(command.event)
        if event.is_settled:
            raise RunIsClosing
        return select(command.command, event.state.deliveries, command.delivery)

    def _report(self, event: FirstAttempts) -> None:
        self._records.put_state(event.event, event.state)

    def _event(self, key: str) -> FirstAttempts:
        try:
            return self._events[key]
        except KeyError:
            raise UnknownDelivery(f"this run has no event {key}") from None


async def _start_own(event: EventInput, workflow_id: str) -> None:
    """Start the own run of an event. Raises WorkflowAlreadyStartedError if a run with this id is open."""
    run = await workflow.start_child_workflow(
        EventWorkflow.run,
        event,
        id=workflow_id,
        memo=memo(event, 1),
        search_attributes=search_attributes(event, 1),
        static_summary=run_summary(event),
        priority=Priority(fairness_key=event.tenant),
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        parent_close_policy=ParentClosePolicy.ABANDON,
        cancellation_type=ChildWorkflowCancellationType.ABANDON,
    )
    # It may fail while this run is open. asyncio warns of an error that is never read.
    run.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
