"""What a worker keeps of finished activities: as much as may be, and no tenant at another's cost."""

import pytest
from temporalio.testing import ActivityEnvironment

from activities.recent_results import Recent, Tries
from hookkeeper.outcomes import Outcome


async def answer(recent: Recent[str], tenant: str, run: str, *, excerpt: str = "ok", text: str = "made") -> str:
    """Try an activity of a run; give what it came to, which is another text where it was made anew."""
    environment = ActivityEnvironment()
    environment.info = environment.info.__class__(**(environment.info.__dict__ | {"workflow_run_id": run}))

    async def work(tries: Tries[str]) -> str:
        tries.known["wh_1"] = Outcome(delivery="wh_1", verdict="succeeded", response_excerpt=excerpt)
        tries.report()
        return text

    async def run_it() -> str:
        _, task = recent.join(tenant, {}, work)
        return await task

    return await environment.run(run_it)


async def test_a_later_try_is_answered_with_what_the_first_came_to() -> None:
    recent: Recent[str] = Recent()
    assert await answer(recent, "acme", "run-1", text="first") == "first"
    assert await answer(recent, "acme", "run-1", text="second") == "first"
    assert await answer(recent, "acme", "run-2", text="second") == "second"


async def test_what_failed_is_made_again() -> None:
    recent: Recent[str] = Recent()

    async def fails(tries: Tries[str]) -> str:
        tries.known["wh_1"] = Outcome(delivery="wh_1", verdict="succeeded")
        raise ValueError("our own fault")

    async def works(tries: Tries[str]) -> str:
        return ",".join(tries.known)

    async def first() -> str:
        return await recent.join("acme", {}, fails)[1]

    async def second() -> str:
        return await recent.join("acme", {}, works)[1]

    environment = ActivityEnvironment()
    with pytest.raises(ValueError, match="our own fault"):
        await environment.run(first)
    assert await environment.run(second) == "wh_1", "what is known is known to the next try"


async def test_a_tenant_that_has_much_makes_room_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.recent_results.KEPT_BYTES", 100_000)
    recent: Recent[str] = Recent()
    await answer(recent, "quiet", "quiet-1", text="first")
    for n in range(100):
        await answer(recent, "loud", f"loud-{n}", excerpt="x" * 4096, text="first")
    assert await answer(recent, "quiet", "quiet-1", text="second") == "first"
    assert await answer(recent, "loud", "loud-99", text="second") == "first"
    assert await answer(recent, "loud", "loud-0", text="second") == "second", "it has been dropped"


async def test_nothing_is_kept_for_longer_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.recent_results.KEPT_FOR", 0.0)
    recent: Recent[str] = Recent()
    await answer(recent, "acme", "run-1", text="first")
    assert await answer(recent, "acme", "run-1", text="second") == "second"
