"""The run of one event: wait until it is time, deliver to all at once, see each delivery through, tell who wants to
know, close.

This code is permanent: open runs replay it with every later version. Each change of its commands goes through
`workflow.patched`, and the histories in tests/workflows/histories/ must replay.
"""

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import ActivityError, ApplicationError, ApplicationErrorCategory

from activities.finalize import ClosingActivities
from hookkeeper import ids
from hookkeeper.messages.event import AWAITING_BUDGET, CancelledRun, EventInput, EventState, event_status, fit
from workflows import summaries, timers
from workflows.activities import run_until_done
from workflows.controls import Controls, RoundUnderWay
from workflows.dispatch import start_round
from workflows.progress import Progress

LONG_HISTORY = 10_000
"""Events after which a run goes on as a new one; Temporal ends a run at 51,200."""
MAX_CONCURRENT_RETRIES = 8
"""Retries that one event has under way at once. Without a limit, an event with 60 endpoints that hang would add 60 to
Temporal's load at the same moment, and delay the deliveries of others."""


@workflow.defn(name=ids.EVENT)
class EventWorkflow(Controls):
    """One event on its way to all its targets. Its history is the delivery log."""

    @workflow.init
    def __init__(self, event: EventInput) -> None:
        self._event = event
        room = AWAITING_BUDGET // max(1, len(event.deliveries))
        self._deliveries = {delivery.id: Progress.of(delivery, room) for delivery in event.deliveries}
        self._deliver_at = event.deliver_at
        self._finished_at: datetime | None = None
        self._rounds = []
        self._alerts = {}
        self._needs_attention = list(workflow.info().typed_search_attributes.get(ids.NEEDS_ATTENTION, ()))
        self._held = list(workflow.info().typed_search_attributes.get(ids.HELD, ()))
        self._cancel_requested = False
        self._time_has_come = workflow.info().typed_search_attributes.get(ids.DELIVER_AT) is None

    @workflow.run
    async def run(self, event: EventInput) -> EventState:
        """Deliver the event; return its final state, or fail or cancel with it."""
        delivering = asyncio.create_task(self._deliver())
        try:
            await workflow.wait_condition(delivering.done)
        except asyncio.CancelledError:
            self._cancel_requested = True
            self._apply_if_sensible("cancel", None)
            self._stop_alerts()
            await workflow.wait_condition(delivering.done)
        await delivering
        if not self._is_over():
            workflow.continue_as_new(self._carried_over())
        return await self._close()

    async def _deliver(self) -> None:
        await self._until_deliver_at()
        self._tell_what_was_left()
        standing = [self._stand_in_lane(each) for each in self._deliveries.values() if each.delivery.ordered]
        await asyncio.gather(*(self._deliver_together(each) for each in self._groups()), *standing)
        await workflow.wait_condition(workflow.all_handlers_finished)

    # The story

    async def _until_deliver_at(self) -> None:
        while self._is_scheduled() and not self._is_over():
            await self._until_moved_or(self._deliver_at)
        if workflow.info().typed_search_attributes.get(ids.DELIVER_AT):
            workflow.upsert_search_attributes([ids.DELIVER_AT.value_unset()])

    async def _until_moved_or(self, when: datetime | None) -> None:
        assert when is not None
        has_passed = await timers.passes(
            timers.remaining(when),
            lambda: self._deliver_at != when or not self._is_scheduled() or self._is_over(),
            summaries.deliver_at_summary(when),
        )
        self._time_has_come |= has_passed and self._deliver_at == when

    def _groups(self) -> list[list[Progress]]:
        """Give what goes out in one round: all webhooks with neither a rate nor an order; each of the others, each
        email and each notification alone.

        A worker that is killed can forget the last outcomes of a round. A webhook that comes twice has the same
        `webhook-id`; an email that comes twice has been read twice.
        """
        together = [each for each in self._deliveries.values() if each.goes_with_others]
        return [together, *([each] for each in self._deliveries.values() if not each.goes_with_others)]

    async def _deliver_together(self, group: list[Progress]) -> None:
        """Attempt all at once, then see each through; no group waits for another, but in a lane."""
        if group and group[0].delivery.ordered:
            await self._until_turn(group[0])
        fresh = [each for each in group if each.is_fresh]
        if fresh:
            await self._attempt(fresh, first_round=True)
        await asyncio.gather(*(self._see_through(each) for each in group))

    async def _see_through(self, progress: Progress) -> None:
        """Wait, attempt, record, until nothing of the event is open: a final delivery can be opened again."""
        while not self._is_over() and not self._history_is_long():
            if not progress.is_due:
                await self._until_touched(progress)
            elif progress.is_sent and not progress.forced:
                progress.stop_awaiting()
            elif progress.held and not progress.forced:
                self._end_hold_or_try_again(progress)
            elif self._has_to_wait(progress):
                await self._until_free(progress)
            else:
                await self._attempt([progress])

    def _has_to_wait(self, progress: Progress) -> bool:
        """Say whether as many attempts are under way as one event may have at once.

        A rate has its own queue and can take hours: what has one neither waits here nor counts.
        """
        if progress.forced or progress.delivery.rate is not None:
            return False
        under_way = (round_ for round_ in self._rounds if round_.deliveries[0].delivery.rate is None)
        return sum(1 for _ in under_way) >= MAX_CONCURRENT_RETRIES

    async def _until_free(self, progress: Progress) -> None:
        seen = progress.touched
        await workflow.wait_condition(
            lambda: not self._has_to_wait(progress) or progress.touched != seen or self._is_over()
        )

    async def _until_touched(self, progress: Progress) -> None:
        """Wait until a time of the delivery has passed, or something has happened to it."""
        seen = progress.touched
        if self._event.max_hold is not None:
            progress.limit_hold(workflow.now() + timedelta(seconds=self._event.max_hold))
        lengths = {name: timers.remaining(when) for name, when in progress.times.items()}
        progress.passed |= await timers.first_of(
            {
                name: (length, summaries.wait_summary(progress.delivery, name, length))
                for name, length in lengths.items()
            },
            lambda: progress.touched != seen or self._is_over() or self._history_is_long(),
        )

    def _end_hold_or_try_again(self, progress: Progress) -> None:
        if "held_until" in progress.passed:
            progress.end_hold()
            self._tell(progress)
        else:
            progress.try_again()

    async def _attempt(self, deliveries: list[Progress], first_round: bool = False) -> None:
        """Make one attempt of each at once and record what it came to."""
        round_ = RoundUnderWay(deliveries, start_round(self._event, deliveries, first_round))
        self._rounds.append(round_)
        try:
            result = await round_.result
        except (ActivityError, asyncio.CancelledError):
            if not round_.stopped:
                raise
            for each in deliveries:
                each.abandon()
        else:
            for outcome in result.outcomes:
                jitter = workflow.random().random()
                self._deliveries[outcome.delivery].finish(outcome, workflow.now(), jitter)
            self._look_again_at(deliveries)
        finally:
            self._rounds.remove(round_)
        self._tell(*deliveries)

    def _look_again_at(self, deliveries: list[Progress]) -> None:
        """Let what its webhook holds look whether it still has to: whoever resumes it can have missed this run."""
        for each in deliveries:
            if each.is_held_by_webhook:
                each.look_again(workflow.now())

    # The end

    async def _close(self) -> EventState:
        self._finished_at = workflow.now()
        state = self.state()
        if state.status == "succeeded":
            return state
        if state.status == "failed":
            failed = sum(each.status == "failed" for each in state.deliveries)
            raise ApplicationError(
                f"{failed} of {len(state.deliveries)} deliveries failed",
                state,
                type="DeliveryFailed",
                non_retryable=True,
                category=ApplicationErrorCategory.BENIGN,
            )
        await self._close_as_cancelled(state)
        raise asyncio.CancelledError

    async def _close_as_cancelled(self, state: EventState) -> None:
        closing = CancelledRun(state=state.model_dump(mode="json"), request_cancel=not self._cancel_requested)
        kept = asyncio.create_task(
            run_until_done(
                ClosingActivities.close_as_cancelled,
                closing,
                start_to_close_timeout=timedelta(seconds=10),
                priority=Priority(fairness_key=self._event.tenant),
                summary="keep the final state, close as cancelled",
            )
        )
        try:
            # The cancellation that the activity requests arrives here.
            await workflow.wait_condition(lambda: self._cancel_requested and kept.done())
        except asyncio.CancelledError:
            await workflow.wait_condition(kept.done)
        await kept

    # What can be asked

    @workflow.query(name=ids.STATE)
    def state(self) -> EventState:
        """Give the whole public state but the event's data."""
        event = self._event
        deliveries = fit(tuple(each.record for each in self._deliveries.values()))
        return EventState(
            id=event.id,
            type=event.type,
            tenant=event.tenant,
            timestamp=event.timestamp,
            status=event_status(deliveries, scheduled=self._is_scheduled()),
            accepted_at=event.accepted_at,
            deliver_at=self._deliver_at,
            finished_at=self._finished_at,
            deliveries=deliveries,
        )

    def _is_over(self) -> bool:
        return all(each.is_final for each in self._deliveries.values()) and self._all_are_told()

    def _history_is_long(self) -> bool:
        return workflow.info().get_current_history_length() > LONG_HISTORY

    def _carried_over(self) -> EventInput:
        deliveries = fit(tuple(each.record for each in self._deliveries.values()))
        return self._event.model_copy(
            update={"deliveries": deliveries, "deliver_at": self._deliver_at, "untold": self._untold()}
        )
