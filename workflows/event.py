"""The run of one event: wait until its time, make the first attempts together, retry each delivery until it is final,
close.

An event with more than a hundred targets has several such runs. The API starts the first one with all targets; it
delivers to the first hundred, and starts its siblings with the others. From then on, no run waits for another one.

This code is permanent: open runs replay it with every later version. Each change of its commands goes through
`workflow.patched`, and the histories in tests/workflows/histories/ must replay.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.runs import RunActivities
from hookkeeper import error_types, temporal_names
from hookkeeper.commands import Refused, RunIsClosing
from hookkeeper.messages.event import (
    CancelledRun,
    Delivery,
    DeliveryReceipt,
    EventInput,
    EventState,
    NewSiblings,
    event_state,
    event_status,
)
from hookkeeper.messages.partition import parts_of
from hookkeeper.state_size import AWAITING_BUDGET, truncated
from hookkeeper.statuses import EventStatus
from workflows import summaries, timers
from workflows.activities import run_until_done
from workflows.batches import Batches, first_batches, record_outcomes
from workflows.commands import Commands, signal_handler, update_handler
from workflows.deliver_at import DeliverAt
from workflows.delivery import DeliveryState
from workflows.record import EventRecords
from workflows.turns import Turns
from workflows.visibility import SearchAttributes, run_number

MAX_HISTORY_EVENTS = 2_000
"""Events after which a run continues as new. A worker replays them in half a second. Each update is two events or more,
so a run never reaches the 2,000 updates after which Temporal accepts no further one."""


@workflow.defn(name=temporal_names.EVENT)
class EventWorkflow:
    """One event and its deliveries. Its history is the delivery log."""

    @workflow.init
    def __init__(self, event: EventInput) -> None:
        event, *siblings = parts_of(event)
        tracked_bytes = AWAITING_BUDGET // max(1, len(event.deliveries))
        self._event = event
        self._has_to_start_siblings = bool(siblings)
        self._deliveries = {record.id: DeliveryState(record, tracked_bytes) for record in event.deliveries}
        self._search_attributes = SearchAttributes(self._deliveries.values())
        self._records = EventRecords(event)
        self._deliver_at = DeliverAt(event.deliver_at, self._search_attributes)
        self._batches = Batches(event)
        self._turns = Turns(event, self._deliveries.values(), self._recorded, self._has_to_continue_as_new)
        self.commands = Commands(
            self._deliveries, self._deliver_at, self._batches, self._report, self._records.until_recorded
        )
        self._cancel_requested = False
        self._finished_at: datetime | None = None

    @workflow.run
    async def run(self, event: EventInput) -> EventState:
        """Deliver the event; return its final state, or fail or cancel with it."""
        delivering = asyncio.create_task(self._work())
        await self._until(delivering.done)
        await delivering
        if not self._is_over():
            await self._until(lambda: self._records.is_done and workflow.all_handlers_finished())
        if not self._is_over():
            workflow.continue_as_new(self._carried_over())
        return await self._close()

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition. Cancel the deliveries if the run is cancelled meanwhile."""
        try:
            await workflow.wait_condition(condition)
        except asyncio.CancelledError:
            self._cancel_requested = True
            await self.commands.signal("cancel", None)
            await workflow.wait_condition(condition)

    async def _work(self) -> None:
        await asyncio.gather(self._start_siblings(), self._deliver())
        await workflow.wait_condition(workflow.all_handlers_finished)

    async def _start_siblings(self) -> None:
        """Start a run for each further hundred targets. The activity reads them from this run's input."""
        if self._has_to_start_siblings:
            await run_until_done(
                RunActivities.start_siblings,
                NewSiblings(tenant=self._event.tenant),
                start_to_close_timeout=timedelta(minutes=2),
                priority=Priority(fairness_key=self._event.tenant),
                summary=f"start {self._event.parts - 1} runs for further targets",
            )

    async def _deliver(self) -> None:
        """Wait until the event's time, then make all deliveries at once."""
        if not self._is_start_recorded():
            self._record(self._deliveries.values())
        await self._deliver_at.wait(self._is_over)
        if self._event.deliver_at:
            self._record(())
        batches = [self._deliver_batch(batch) for batch in first_batches(self._deliveries.values())]
        await asyncio.gather(*batches, *self._turns.take())

    async def _deliver_batch(self, batch: Sequence[DeliveryState]) -> None:
        """Make the first attempts together, then continue each delivery by itself.

        For a degraded webhook, also the first attempt waits until few enough others are in flight.
        """
        if batch and batch[0].record.ordered:
            await self._turns.wait(batch[0])
        new = [delivery for delivery in batch if delivery.is_new and not delivery.record.degraded]
        if new:
            await self._attempt(new, is_first=True)
        await asyncio.gather(*(self._continue_until_over(delivery) for delivery in batch))

    async def _continue_until_over(self, delivery: DeliveryState) -> None:
        """Do what is due, until the whole event is over: a final delivery can be reopened until then."""
        while not self._is_over() and not self._has_to_continue_as_new():
            if not delivery.is_due:
                await self._wait_until_due(delivery)
            elif delivery.is_sent and not delivery.forced:
                delivery.stop_tracking()
                self._report([delivery])
            elif delivery.held and not delivery.forced:
                self._end_hold_or_recheck(delivery)
            elif self._batches.is_full_for(delivery):
                await self._wait_for_free_slot(delivery)
            else:
                await self._attempt([delivery])

    async def _wait_until_due(self, delivery: DeliveryState) -> None:
        """Wait until a time of the delivery has come, or something has happened to it."""
        revision = delivery.revision
        if self._event.max_hold is not None:
            delivery.limit_hold(workflow.now() + timedelta(seconds=self._event.max_hold))
        delivery.fired_timers |= await timers.first_of(
            delivery.due_times,
            lambda name, length: summaries.wait_summary(delivery.record, name, length),
            lambda: delivery.revision != revision or self._is_over() or self._has_to_continue_as_new(),
        )

    async def _wait_for_free_slot(self, delivery: DeliveryState) -> None:
        revision = delivery.revision
        await workflow.wait_condition(
            lambda: not self._batches.is_full_for(delivery) or delivery.revision != revision or self._is_over()
        )

    def _end_hold_or_recheck(self, delivery: DeliveryState) -> None:
        if "held_until" in delivery.fired_timers:
            delivery.end_hold()
            self._report([delivery])
        else:
            delivery.recheck()

    async def _attempt(self, deliveries: Sequence[DeliveryState], *, is_first: bool = False) -> None:
        """Make one attempt of each delivery in a batch, and record the outcomes."""
        outcomes = await self._batches.run(deliveries, is_first=is_first)
        if outcomes is None:
            for delivery in deliveries:
                delivery.abandon_attempt()
        else:
            record_outcomes(self._deliveries, outcomes)
        self._report(deliveries)

    def _report(self, deliveries: Sequence[DeliveryState]) -> None:
        """Report changed deliveries: in the event's rows, and its search attributes."""
        if not self._is_over():  # otherwise the run closes now, and records that
            self._record(deliveries)
            self._search_attributes.update()

    def _is_start_recorded(self) -> bool:
        """Return whether the rows have this run already: the service that accepts an event writes those of its first
        run.
        """
        info = workflow.info()
        is_later = info.parent is not None or info.continued_run_id is not None or run_number() > 1
        return not is_later and all(delivery.is_new or delivery.is_queued for delivery in self._deliveries.values())

    def _record(self, deliveries: Iterable[DeliveryState]) -> None:
        snapshots = []
        for delivery in deliveries:
            snapshots.append(delivery.snapshot)
            delivery.leave_line()
        self._records.put_deliveries(
            snapshots,
            status=self._status(),
            needs_attention=any(delivery.needs_attention for delivery in self._deliveries.values()),
            deliver_at=self._deliver_at.time,
            finished_at=self._finished_at,
        )

    async def _close(self) -> EventState:
        self.commands.close()
        self._finished_at = workflow.now()
        self._record(self._deliveries.values())
        await self._until_recorded()
        state = self.state()
        if state.status in ("succeeded", "no_webhook"):
            return state
        if state.status == "failed":
            raise _deliveries_failed(state)
        await self._prepare_cancelled(state)
        raise asyncio.CancelledError

    async def _recorded(self, deliveries: Iterable[DeliveryState]) -> None:
        """Record deliveries, and wait until they are."""
        self._record(deliveries)
        await workflow.wait_condition(lambda: self._records.is_done)

    async def _prepare_cancelled(self, state: EventState) -> None:
        """Keep the final state in history, and request the run's cancellation unless it was: only then can a run close
        as cancelled.
        """
        is_requested = self._cancel_requested
        closing = asyncio.create_task(
            run_until_done(
                RunActivities.close_as_cancelled,
                CancelledRun(state=state.model_dump(mode="json"), request_cancel=not is_requested),
                start_to_close_timeout=timedelta(seconds=10),
                priority=Priority(fairness_key=self._event.tenant),
                summary="keep the final state, close as cancelled",
            )
        )
        try:
            # The cancellation that the activity requests arrives here.
            await workflow.wait_condition(lambda: is_requested and closing.done())
        except asyncio.CancelledError:
            await workflow.wait_condition(closing.done)
        await closing

    async def _until_recorded(self) -> None:
        self._cancel_requested |= await timers.uninterrupted(lambda: self._records.is_done)

    def _status(self) -> EventStatus:
        records = tuple(delivery.record for delivery in self._deliveries.values())
        return event_status(records, scheduled=self._deliver_at.is_pending)

    def _is_over(self) -> bool:
        return all(delivery.is_final for delivery in self._deliveries.values())

    def _has_to_continue_as_new(self) -> bool:
        return workflow.info().get_current_history_length() > MAX_HISTORY_EVENTS

    def _carried_over(self) -> EventInput:
        return self._event.model_copy(update={"deliveries": self._snapshots(), "deliver_at": self._deliver_at.time})

    def _snapshots(self) -> tuple[Delivery, ...]:
        return truncated([delivery.snapshot for delivery in self._deliveries.values()])

    @workflow.query(name=temporal_names.STATE)
    def state(self) -> EventState:
        """Return the public state, without the event's data."""
        return event_state(
            self._event,
            self._snapshots(),
            deliver_at=self._deliver_at.time,
            scheduled=self._deliver_at.is_pending,
            finished_at=self._finished_at,
        )

    # Commands: a signal and an update each

    signal_cancel, cancel = signal_handler("cancel"), update_handler("cancel")
    signal_retry, retry = signal_handler("retry"), update_handler("retry")
    signal_hold, hold = signal_handler("hold"), update_handler("hold")
    signal_release, release = signal_handler("release"), update_handler("release")
    redeliver = update_handler("redeliver")

    @workflow.update(name=temporal_names.RESCHEDULE, description="Move a scheduled event to another time.")
    async def reschedule(self, deliver_at: datetime) -> None:
        self._deliver_at.move(deliver_at)
        self._record(())
        await self._records.until_recorded()

    @reschedule.validator
    def check_reschedule(self, deliver_at: datetime) -> None:
        if self._is_over():
            raise RunIsClosing
        if deliver_at.tzinfo is None:
            raise Refused("the time has no time zone")
        if not self._deliver_at.is_pending:
            raise Refused("the event is not scheduled: its delivery has begun")

    # Signals of other runs, and of the API

    @workflow.signal(
        name=temporal_names.RELEASE_WEBHOOK,
        description="Release what is held because this webhook was paused or disabled.",
    )
    def release_webhook(self, webhook_id: str) -> None:
        self.commands.release_webhook(webhook_id)

    @workflow.signal(
        name=temporal_names.TURN, description="It may be the turn of the delivery to this ordered webhook."
    )
    def turn(self, webhook_id: str) -> None:
        self._turns.call(webhook_id)

    @workflow.signal(name=temporal_names.RECEIPT, description="A mail provider's report about an email.")
    def receipt(self, report: DeliveryReceipt) -> None:
        if delivery := self.commands.add_receipt(report):
            self._report([delivery])


def _deliveries_failed(state: EventState) -> ApplicationError:
    """Return the error with which a run fails: it keeps the final state, as Completed does with its result."""
    failed = sum(delivery.status == "failed" for delivery in state.deliveries)
    return ApplicationError(
        f"{failed} of {len(state.deliveries)} deliveries failed",
        state,
        type=error_types.DELIVERIES_FAILED,
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN,
    )
