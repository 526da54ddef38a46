"""The run that lets go what a webhook held, once that is resumed or enabled: oldest first, however often all is killed.

It makes several passes. What was on its way to be held while the webhook was resumed comes to rest a moment later, and
lists of runs follow what happens at some distance. What even the last pass misses looks at its webhook itself, within
the hour. Asked again while it runs, it begins anew; it ends where the webhook is off again.

This code is for ever, as that of `workflows.event` is.
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

HEARTBEAT = timedelta(seconds=10)
PAUSES = (0.0, 2.0, 10.0, 60.0)
"""Seconds before each pass."""
LONG_HISTORY = 2_000
"""Events after which it goes on as a new run."""


@workflow.defn(name=ids.RELEASE)
class ReleaseWorkflow:
    """One webhook's held deliveries on their way."""

    @workflow.init
    def __init__(self, release: ReleaseInput) -> None:
        self._webhook_id = release.webhook_id
        self._tenant = release.tenant
        self._passes = release.passes
        self._after = release.after
        self._released = release.released
        self._asked = release.asked

    @workflow.run
    async def run(self, release: ReleaseInput) -> ReleaseState:
        """Make all passes; fewer where the webhook is off again."""
        while self._asked or self._passes < len(PAUSES):
            if not self._asked:
                await self._until_next_pass()
            if self._asked:
                self._asked, self._passes, self._after = False, 0, None
            self._passes = self._passes + 1 if await self._pass() else len(PAUSES)
        return self.state()

    @workflow.signal(name=ids.RELEASE_AGAIN, description="Make all passes, from now on.")
    def again(self) -> None:
        self._asked = True

    @workflow.query(name=ids.STATE)
    def state(self) -> ReleaseState:
        """Give what was released so far."""
        return ReleaseState(webhook_id=self._webhook_id, released=self._released)

    async def _until_next_pass(self) -> None:
        pause = PAUSES[self._passes]
        if not pause or self._after:
            return
        await timers.passes(timedelta(seconds=pause), lambda: self._asked, "what is still being held comes to rest")

    async def _pass(self) -> bool:
        """Release all that is held; False where the webhook is off."""
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
            ReleaseActivities.find,
            HeldSearch(webhook_id=self._webhook_id, tenant=self._tenant, after=self._after),
            task_queue=ids.bulk_queue(workflow.info().task_queue),
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=HEARTBEAT,
            priority=Priority(fairness_key=self._tenant),
            summary="find what is held",
        )

    async def _release(self, runs: tuple[str, ...]) -> bool:
        """Release these, in as many turns as it takes; False where the webhook is off."""
        while runs:
            progress = await self._take_turn(runs)
            self._released += progress.released
            runs = runs[progress.through :]
            if progress.off:
                return False
        return True

    async def _take_turn(self, runs: tuple[str, ...]) -> ReleaseProgress:
        return await run_until_done(
            ReleaseActivities.release,
            ReleaseBatch(webhook_id=self._webhook_id, tenant=self._tenant, runs=runs),
            task_queue=ids.bulk_queue(workflow.info().task_queue),
            start_to_close_timeout=timedelta(minutes=5),
            heartbeat_timeout=HEARTBEAT,
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
            asked=self._asked,
        )
