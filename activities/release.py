"""What lets go what a webhook holds: find it, oldest first; release it, each in its turn.

What is released leaves through the queues as any retry does, and these keep no order among many. So only a few are
released at once: the next when the oldest of them has been sent.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from temporalio import activity

from activities.heartbeat import heartbeating
from activities.tenant_concurrency import Places
from hookkeeper.messages.release import HeldRuns, HeldSearch, ReleaseBatch, ReleaseProgress
from hookkeeper.registry.store import Store
from hookkeeper.temporal.webhook_workflows import HeldDeliveries

AT_ONCE = 10
"""Runs that are released and not sent yet, and so the places by which one can be out of its turn. A worker has more
requests than that under way to one webhook: what is new has room beside them."""
SLICE = 200
"""Runs that are planned at once."""
TURN = 20.0
"""Seconds after which another webhook may have its turn."""
LOOK, LONGEST_LOOK = 0.05, 1.0
"""Seconds between two looks at the oldest; longer each time that nothing has changed."""
PATIENCE = 60.0
"""Seconds that a run may take to hear that it is released. One that cannot go on must not stop all that are behind."""


class ReleaseActivities:
    def __init__(self, store: Store, held: HeldDeliveries, places: Places) -> None:
        self._store = store
        self._held = held
        self._places = places

    @activity.defn(name="find_held")
    async def find(self, search: HeldSearch) -> HeldRuns:
        """Find the oldest runs that hold something because of this webhook.

        Raises ApplicationError where its tenant has no place.
        """
        with self._places.taken(search.tenant):
            return await self._find(search)

    async def _find(self, search: HeldSearch) -> HeldRuns:
        if await self._is_off(search.webhook_id):
            return HeldRuns(off=True)
        async with heartbeating():
            runs, end = await self._held.oldest(search.webhook_id, search.after, SLICE)
        return HeldRuns(runs=tuple(runs), end=end)

    @activity.defn(name="release_held")
    async def release(self, batch: ReleaseBatch) -> ReleaseProgress:
        """Release in order, as fast as it is sent; stop after a while, and where the webhook is off again.

        Idempotent: to release what is released does nothing. Raises ApplicationError where its tenant has no place.
        """
        with self._places.taken(batch.tenant):
            return await self._release(batch)

    async def _release(self, batch: ReleaseBatch) -> ReleaseProgress:
        turn = _Turn(self._held, batch, _known_of_earlier_try())
        deadline = asyncio.get_running_loop().time() + TURN
        pause = LOOK
        async with heartbeating(lambda: [turn.progress]):
            while not turn.is_over and _may_go_on(deadline):
                if await self._is_off(batch.webhook_id):
                    return turn.progress.model_copy(update={"off": True})
                await turn.release()
                await asyncio.sleep(pause)
                pause = LOOK if await turn.look() else min(pause * 1.5, LONGEST_LOOK)
                activity.heartbeat(turn.progress)
        return turn.progress

    async def _is_off(self, webhook_id: str) -> bool:
        """One that is deleted is not: what it holds is to find that out."""
        webhook = await self._store.get(webhook_id)
        return webhook is not None and (not webhook.enabled or webhook.paused_at is not None)


class _Turn:
    """A batch on its way."""

    def __init__(self, held: HeldDeliveries, batch: ReleaseBatch, progress: ReleaseProgress) -> None:
        self._held = held
        self._webhook_id = batch.webhook_id
        self._waiting: deque[str] = deque(batch.runs[progress.through :])
        self._under_way: deque[str] = deque()
        self._oldest_since = 0.0
        self.progress = progress

    @property
    def is_over(self) -> bool:
        return not (self._waiting or self._under_way)

    async def release(self) -> None:
        """Release as many as there is room for."""
        while self._waiting and len(self._under_way) < AT_ONCE:
            await self._held.release(self._waiting[0], self._webhook_id)
            if not self._under_way:
                self._oldest_since = asyncio.get_running_loop().time()
            self._under_way.append(self._waiting.popleft())

    async def look(self) -> bool:
        """Let go of the oldest ones that are done with; say whether there were any."""
        before = self.progress.through
        while self._under_way:
            stage = await self._held.stage(self._under_way[0], self._webhook_id)
            now = asyncio.get_running_loop().time()
            if stage == "sending" or (stage == "deciding" and now < self._oldest_since + PATIENCE):
                break
            self._under_way.popleft()
            self._oldest_since = now
            through, released = self.progress.through + 1, self.progress.released + (stage == "sent")
            self.progress = ReleaseProgress(through=through, released=released)
        return self.progress.through > before


def _may_go_on(deadline: float) -> bool:
    return asyncio.get_running_loop().time() < deadline and not activity.is_worker_shutdown()


def _known_of_earlier_try() -> ReleaseProgress:
    details: Sequence[object] = activity.info().heartbeat_details
    return ReleaseProgress.model_validate(details[0]) if details else ReleaseProgress()
