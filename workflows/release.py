"""Release what a webhook held, once it is resumed or enabled: oldest first, whatever is killed meanwhile.

A release makes several passes: attempts that were in flight when the webhook was resumed are held a moment later, and
visibility lags behind. A delivery that even the last pass misses checks its webhook itself within the hour. A release
that is requested while it runs begins anew. It ends if the webhook is off again.

This code is permanent, like that of `workflows.event`.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority

from activities.release import ReleaseActivities
from hookkeeper import ids
from hookkeeper.messages.release import (
    HeldRuns,
    HeldSearch,
    ReleaseBatch,
    ReleaseInput,
    ReleaseProgress,
    ReleaseState,
)
from workflows import timers
from workflows.activities import run_until_done

HEARTBEAT_TIMEOUT = timedelta(seconds=10)
PASS_DELAYS = (0.0, 2.0, 10.0, 60.0)
"""Seconds before each pass."""
LONG_HISTORY = 2_000
"""Events of history after which a release continues as a new run."""


@workflow.defn(name=ids.RELEASE)
class ReleaseWorkflow:
    """The release of one webhook's held deliveries."""

    @workflow.init
    def __init__(self, release: ReleaseInput) -> None:
        self._webhook_id = release.webhook_id
        self._tenant = release.tenant
        self._passes = release.passes
        self._after = release.after
        self._released = release.released
        self._requested = release.requested

    @workflow.run
    async def run(self, release: ReleaseInput) -> ReleaseState:
        """Make all passes; fewer if the webhook is off again."""
        while self._requested or self._passes < len(PASS_DELAYS):
            if not self._requested:
                await self._wait_for_next_pass()
            if self._requested:
                self._requested, self._passes, self._after = False, 0, None
            self._passes = self._passes + 1 if await self._pass() else len(PASS_DELAYS)
        return self.state()

    @workflow.signal(name=ids.RESTART_RELEASE, description="Make all passes again, from now on.")
    def restart(self) -> None:
        self._requested = True

    @workflow.query(name=ids.STATE)
    def state(self) -> ReleaseState:
        """Return the number of released events."""
        return ReleaseState(webhook_id=self._webhook_id, released=self._released)

    async def _wait_for_next_pass(self) -> None:
        delay = PASS_DELAYS[self._passes]
        if not delay or self._after:
            return
        await timers.passes(timedelta(seconds=delay), lambda: self._requested, "wait for attempts in flight")

    async def _pass(self) -> bool:
        """Release all that is held; False if the webhook is off."""
        while True:
            held = await self._find()
            if held.off or not await self._release(held.runs):
                return False
            self._after = held.end
            if held.end is None:
                return True
            if workflow.info().get_current_history_length() > LONG_HISTORY:
                workflow.continue_as_new(self._carried_over())

    async def _find(self) -> HeldRuns:
        return await run_until_done(
            ReleaseActivities.find_held,
            HeldSearch(webhook_id=self._webhook_id, tenant=self._tenant, after=self._after),
            task_queue=ids.bulk_queue(workflow.info().task_queue),
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            priority=Priority(fairness_key=self._tenant),
            summary="find held events",
        )

    async def _release(self, runs: tuple[str, ...]) -> bool:
        """Release these runs, in as many batches as it takes; False if the webhook is off."""
        while runs:
            progress = await self._release_batch(runs)
            self._released += progress.released
            runs = runs[progress.completed :]
            if progress.off:
                return False
        return True

    async def _release_batch(self, runs: tuple[str, ...]) -> ReleaseProgress:
        return await run_until_done(
            ReleaseActivities.release_held,
            ReleaseBatch(webhook_id=self._webhook_id, tenant=self._tenant, runs=runs),
            task_queue=ids.bulk_queue(workflow.info().task_queue),
            start_to_close_timeout=timedelta(minutes=5),
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            priority=Priority(fairness_key=self._tenant),
            summary=f"release {len(runs)}",
        )

    def _carried_over(self) -> ReleaseInput:
        return ReleaseInput(
            webhook_id=self._webhook_id,
            tenant=self._tenant,
            passes=self._passes,
            after=self._after,
            released=self._released,
            requested=self._requested,
        )
