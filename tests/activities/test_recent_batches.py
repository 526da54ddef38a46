"""What a worker keeps of finished activities: as much as may be, and no tenant at another's cost."""

import pytest
from temporalio.testing import ActivityEnvironment

from activities.recent_batches import RecentBatches, SharedBatch
from hookkeeper.outcomes import Outcome


async def answer(recent: RecentBatches[str], tenant: str, run: str, *, excerpt: str = "ok", text: str = "made") -> str:
    """Run a try of an activity; return its result: `text`, unless an earlier one is reused."""
    environment = ActivityEnvironment()
    environment.info = environment.info.__class__(**(environment.info.__dict__ | {"workflow_run_id": run}))

    async def work(batch: SharedBatch[str]) -> str:
        batch.outcomes["wh_1"] = Outcome(delivery="wh_1", verdict="succeeded", response_excerpt=excerpt)
        batch.heartbeat()
        return text

    async def run_it() -> str:
        _, task = recent.join(tenant, {}, work)
        return await task

    return await environment.run(run_it)


async def test_a_later_try_is_answered_with_what_the_first_came_to() -> None:
    recent: RecentBatches[str] = RecentBatches()
    assert await answer(recent, "acme", "run-1", text="first") == "first"
    assert await answer(recent, "acme", "run-1", text="second") == "first"
    assert await answer(recent, "acme", "run-2", text="second") == "second"


async def test_what_failed_is_made_again() -> None:
    recent: RecentBatches[str] = RecentBatches()

    async def fails(batch: SharedBatch[str]) -> str:
        batch.outcomes["wh_1"] = Outcome(delivery="wh_1", verdict="succeeded")
        raise ValueError("an internal error")

    async def works(batch: SharedBatch[str]) -> str:
        return ",".join(batch.outcomes)

    async def first() -> str:
        return await recent.join("acme", {}, fails)[1]

    async def second() -> str:
        return await recent.join("acme", {}, works)[1]

    environment = ActivityEnvironment()
    with pytest.raises(ValueError, match="an internal error"):
        await environment.run(first)
    assert await environment.run(second) == "wh_1", "what is known is known to the next try"


async def test_a_tenant_with_many_results_loses_its_own_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.recent_batches.MAX_BYTES", 100_000)
    recent: RecentBatches[str] = RecentBatches()
    await answer(recent, "quiet", "quiet-1", text="first")
    for n in range(100):
        await answer(recent, "loud", f"loud-{n}", excerpt="x" * 4096, text="first")
    assert await answer(recent, "quiet", "quiet-1", text="second") == "first"
    assert await answer(recent, "loud", "loud-99", text="second") == "first"
    assert await answer(recent, "loud", "loud-0", text="second") == "second", "it has been dropped"


async def test_nothing_is_kept_for_longer_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.recent_batches.RETENTION_SECONDS", 0.0)
    recent: RecentBatches[str] = RecentBatches()
    await answer(recent, "acme", "run-1", text="first")
    assert await answer(recent, "acme", "run-1", text="second") == "second"
