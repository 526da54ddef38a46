"""A run's places in ordered queues (`workflows.ordered_queue`): each delivery waits for its turn, then lets others go.

Its place was taken before the run was started, or, where the event had to wait for its time, is taken now.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import FailureError

from activities.ordered_queue import OrderedQueueActivities
from hookkeeper import ids
from hookkeeper.messages.ordered_queue import QueuePosition
from workflows.activities import run_until_done
from workflows.progress import Progress
from workflows.telling import Telling

LONG_WAIT = timedelta(hours=1)
"""After this a delivery takes its place again, which changes nothing where it still has it: the lane may have been
terminated."""


class Places(Telling):
    """The part of `EventWorkflow` that stands in lanes."""

    @workflow.signal(name=ids.GRANT, description="The delivery of this ordered webhook may go on.")
    async def signal_grant(self, webhook_id: str) -> None:
        progress = self._deliveries.get(webhook_id)
        # An event that has still to wait for its time takes a place of its own then.
        if progress is None or not progress.holds_others_up or self._is_scheduled():
            await self._let_others_go(webhook_id)
        elif progress.waits_for_turn:
            progress.take_turn()

    async def _until_turn(self, progress: Progress) -> None:
        """Wait until an attempt may be made, or a person wants one, or none is wanted any more."""
        await workflow.wait_condition(lambda: not progress.waits_for_turn or progress.forced or self._history_is_long())

    async def _stand_in_lane(self, progress: Progress) -> None:
        """Keep the place of an ordered delivery for as long as others have to wait for it."""
        webhook_id = progress.delivery.webhook_id
        while progress.holds_others_up and not self._history_is_long():
            if not progress.waits_for_turn:
                await workflow.wait_condition(lambda: not progress.holds_others_up or self._history_is_long())
            elif not progress.delivery.has_place or await self._has_waited_long(progress):
                await self._take_place(progress)
        if not progress.holds_others_up:
            await self._let_others_go(webhook_id)
            progress.leave_lane()

    async def _has_waited_long(self, progress: Progress) -> bool:
        try:
            await workflow.wait_condition(
                lambda: not progress.waits_for_turn or self._history_is_long(),
                timeout=LONG_WAIT,
                timeout_summary="wait for its turn",
            )
        except TimeoutError:
            return progress.waits_for_turn
        return False

    async def _take_place(self, progress: Progress) -> None:
        webhook_id = progress.delivery.webhook_id
        await run_until_done(
            OrderedQueueActivities.enqueue,
            QueuePosition(webhook_id=webhook_id, tenant=self._event.tenant, place=self._own_place()),
            start_to_close_timeout=timedelta(seconds=10),
            priority=Priority(fairness_key=self._event.tenant),
            summary=f"take a place in the lane of {webhook_id}",
        )
        progress.enqueue()

    async def _let_others_go(self, webhook_id: str) -> None:
        """Tell the lane; one that is not there any more has nobody who waits."""
        try:
            await workflow.get_external_workflow_handle(ids.ordered_queue_id(webhook_id)).signal(
                ids.DONE, self._own_place()
            )
        except FailureError as error:
            workflow.logger.info("the lane of %s does not hear: %r", webhook_id, error)

    def _own_place(self) -> str:
        return ids.position_of(self._event.tenant, workflow.info().workflow_id)

    def _is_scheduled(self) -> bool:
        """Say whether the event waits for its time: `Controls` knows."""
        raise NotImplementedError

    def _history_is_long(self) -> bool:
        """Say whether the run has to go on as a new one: `EventWorkflow` knows."""
        raise NotImplementedError
