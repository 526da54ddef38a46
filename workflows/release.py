"""Release what a webhook held, once it is resumed or enabled: oldest first, also if processes are killed.

A release makes several passes: attempts that were in flight when the webhook was resumed are held a moment later. A
delivery that even the last pass misses checks its webhook itself within the hour. A release that is requested again
while it runs starts over. It ends if the webhook is paused or disabled again.

This code is permanent, like that of `workflows.event`.
"""

from datetime import timedelta

from temporalio import workflow

from activities.release import ReleaseActivities
from hookkeeper import temporal_names
from hookkeeper.messages.bulk_work import (
    HeldRuns,
    HeldSearch,
    ReleaseBatch,
    ReleaseProgress,
    ReleaseState,
)
from workflows import timers
from workflows.activities import run_bulk_step

PASS_DELAYS = (0.0, 2.0, 10.0, 60.0)
"""Seconds before each pass."""
LONG_HISTORY = 2_000
"""Events of history after which a release continues as a new run, between two plans."""
MAX_HISTORY = 4_000
"""Events after which it does so between two passes. Only hundreds of requests to start over lead there."""


@workflow.defn(name=temporal_names.RELEASE)
class ReleaseWorkflow:
    @workflow.init
    def __init__(self, state: ReleaseState) -> None:
        self._state = state

    @workflow.run
    async def run(self, state: ReleaseState) -> ReleaseState:
        """Make all passes; fewer if the webhook is off again."""
        while self._state.requested or self._state.passes < len(PASS_DELAYS):
            if not self._state.requested:
                await self._wait_for_next_pass()
            if self._state.requested:
                self._set(requested=False, passes=0, after=None)
            is_released = await self._pass()
            self._set(passes=self._state.passes + 1 if is_released else len(PASS_DELAYS))
            if self._state.requested and workflow.info().get_current_history_length() > MAX_HISTORY:
                workflow.continue_as_new(self._state)
        return self._state

    @workflow.signal(name=temporal_names.RESTART_RELEASE, description="Make all passes again, from now on.")
    def restart(self) -> None:
        self._set(requested=True)

    @workflow.query(name=temporal_names.STATE)
    def state(self) -> ReleaseState:
        """Return the state of the release."""
        return self._state

    async def _wait_for_next_pass(self) -> None:
        delay = PASS_DELAYS[self._state.passes]
        if delay and not self._state.after:
            await timers.passes(timedelta(seconds=delay), "wait for attempts in flight", lambda: self._state.requested)

    async def _pass(self) -> bool:
        """Release all that is held; False if the webhook is off."""
        while True:
            held = await self._find()
            if held.off or not await self._release(held.runs):
                return False
            self._set(after=held.end)
            if held.end is None:
                return True
            if workflow.info().get_current_history_length() > LONG_HISTORY:
                workflow.continue_as_new(self._state)

    async def _release(self, runs: tuple[str, ...]) -> bool:
        """Release these runs, in as many batches as it takes; False if the webhook is off."""
        while runs:
            batch = await self._release_batch(runs)
            self._set(released=self._state.released + batch.released)
            runs = runs[batch.completed :]
            if batch.off:
                return False
        return True

    async def _find(self) -> HeldRuns:
        state = self._state
        return await run_bulk_step(
            ReleaseActivities.find_held,
            HeldSearch(webhook_id=state.webhook_id, tenant=state.tenant, after=state.after),
            tenant=state.tenant,
            timeout=timedelta(minutes=10),
            summary="find held events",
        )

    async def _release_batch(self, runs: tuple[str, ...]) -> ReleaseProgress:
        state = self._state
        return await run_bulk_step(
            ReleaseActivities.release_held,
            ReleaseBatch(webhook_id=state.webhook_id, tenant=state.tenant, runs=runs),
            tenant=state.tenant,
            timeout=timedelta(minutes=5),
            summary=f"release {len(runs)}",
        )

    def _set(self, **changes: object) -> None:
        self._state = self._state.model_copy(update=changes)
