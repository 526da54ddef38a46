"""The tries of an activity share its work, and the outcomes of finished activities are kept within a limit."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from activities.recent_batches import BatchProgress, RecentBatches, reported_outcomes
from hookkeeper.outcomes import Outcome
from hookkeeper.temporal.data_converter import data_converter

DELAY = timedelta(seconds=0.1)
TIMED_OUT = ActivityCancellationDetails(timed_out=True)
CANCEL_REQUESTED = ActivityCancellationDetails(cancel_requested=True)


class Try:
    """One try of an activity whose work waits for its answer."""

    def __init__(self, recent: RecentBatches[str], answered: asyncio.Event) -> None:
        self.environment = ActivityEnvironment()
        self._recent = recent
        self._answered = answered
        self.has_started_work = False
        self.is_work_cancelled = False
        self.result = asyncio.ensure_future(self.environment.run(self._run))

    async def _run(self) -> str:
        progress, work = self._recent.join("acme", {}, self._work)
        return await progress.wait_for(work)

    async def _work(self, progress: BatchProgress[str]) -> str:
        self.has_started_work = True
        try:
            await self._answered.wait()
        except asyncio.CancelledError:
            self.is_work_cancelled = True
            await asyncio.sleep(0.01)  # connections are closed
            raise
        return "answered"

    async def cancel(self, details: ActivityCancellationDetails) -> None:
        self.environment.cancel(details)
        await asyncio.sleep(0.05)


async def begin_try(recent: RecentBatches[str], answered: asyncio.Event) -> Try:
    begun = Try(recent, answered)
    await asyncio.sleep(0.01)
    return begun


async def answer(recent: RecentBatches[str], tenant: str, run: str, *, excerpt: str = "ok", text: str = "made") -> str:
    """Run a try of an activity; return its result: `text`, unless an earlier one is reused."""
    environment = ActivityEnvironment()
    environment.info = environment.info.__class__(**(environment.info.__dict__ | {"workflow_run_id": run}))

    async def work(progress: BatchProgress[str]) -> str:
        progress.add((0, "wh_1"), Outcome(delivery="wh_1", verdict="succeeded", response_excerpt=excerpt))
        return text

    async def run_it() -> str:
        _, task = recent.join(tenant, {}, work)
        return await task

    return await environment.run(run_it)


async def test_a_later_try_returns_the_result_of_the_first() -> None:
    recent: RecentBatches[str] = RecentBatches(DELAY)
    assert await answer(recent, "acme", "run-1", text="first") == "first"
    assert await answer(recent, "acme", "run-1", text="second") == "first"
    assert await answer(recent, "acme", "run-2", text="second") == "second"


async def test_work_continues_for_a_later_try_after_an_earlier_one_has_timed_out() -> None:
    recent, answered = RecentBatches[str](DELAY), asyncio.Event()
    first, second = await begin_try(recent, answered), await begin_try(recent, answered)
    await first.cancel(TIMED_OUT)
    assert first.result.cancelled()
    assert not first.is_work_cancelled
    answered.set()
    assert await second.result == "answered"
    assert not second.has_started_work


async def test_work_is_cancelled_when_its_last_try_has_to_stop() -> None:
    recent = RecentBatches[str](DELAY)
    first, second = await begin_try(recent, asyncio.Event()), await begin_try(recent, asyncio.Event())
    await second.cancel(TIMED_OUT)
    assert not first.is_work_cancelled
    await first.cancel(TIMED_OUT)
    assert first.is_work_cancelled
    assert first.result.cancelled()
    assert second.result.cancelled()


async def test_work_continues_for_a_later_try_after_an_earlier_one_was_cancelled_and_timed_out() -> None:
    recent, answered = RecentBatches[str](DELAY), asyncio.Event()
    first, second = await begin_try(recent, answered), await begin_try(recent, answered)
    await first.cancel(CANCEL_REQUESTED)
    assert not first.result.done(), "what was sent is recorded"
    first.result.cancel()
    await asyncio.sleep(0.01)
    assert not first.is_work_cancelled
    answered.set()
    assert await second.result == "answered"


async def test_a_try_does_not_join_work_that_is_being_cancelled() -> None:
    recent, answered = RecentBatches[str](DELAY), asyncio.Event()
    first = await begin_try(recent, answered)
    first.environment.cancel(TIMED_OUT)
    await asyncio.sleep(0.005)
    second = await begin_try(recent, answered)
    assert second.has_started_work
    await asyncio.sleep(0.05)
    assert first.is_work_cancelled
    third = await begin_try(recent, answered)
    assert not third.has_started_work, "it joins the second"
    answered.set()
    assert [await second.result, await third.result] == ["answered", "answered"]


async def test_outcomes_of_the_same_moment_are_one_heartbeat() -> None:
    """Proves: nothing is sent if the work ends before, and each heartbeat has all outcomes, by batch."""
    beats: list[object] = []
    outcomes = [Outcome(delivery=f"wh_{number}", verdict="succeeded") for number in range(4)]

    async def work(progress: BatchProgress[str]) -> str:
        progress.add((0, "wh_0"), outcomes[0])
        progress.add((7, "wh_1"), outcomes[1])
        await asyncio.sleep(0.2)
        progress.add((7, "wh_2"), outcomes[2])
        await asyncio.sleep(0.2)
        progress.add((0, "wh_3"), outcomes[3])
        return "answered"

    async def run() -> str:
        progress, task = RecentBatches[str](DELAY).join("acme", {}, work)
        return await progress.wait_for(task)

    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *details: beats.append(details)
    assert await environment.run(run) == "answered"
    await asyncio.sleep(0.2)
    assert beats == [
        ({0: outcomes[:1], 7: outcomes[1:2]},),
        ({0: outcomes[:1], 7: outcomes[1:3]},),
    ]


async def test_a_later_try_begins_with_the_reported_outcomes() -> None:
    outcome = Outcome(delivery="wh_1", verdict="succeeded", response_excerpt="ok")
    environment = ActivityEnvironment()
    payload = data_converter().payload_converter.to_payload({3: [outcome]})
    details = data_converter().payload_converter.from_payload(payload)
    environment.info = replace(environment.info, heartbeat_details=[details])
    assert environment.run(reported_outcomes) == {(3, "wh_1"): outcome}


async def test_work_that_failed_is_started_again() -> None:
    recent: RecentBatches[str] = RecentBatches(DELAY)

    async def fails(progress: BatchProgress[str]) -> str:
        progress.add((0, "wh_1"), Outcome(delivery="wh_1", verdict="succeeded"))
        raise ValueError("an internal error")

    async def works(progress: BatchProgress[str]) -> str:
        return ",".join(delivery for _, delivery in progress.outcomes)

    async def first() -> str:
        return await recent.join("acme", {}, fails)[1]

    async def second() -> str:
        return await recent.join("acme", {}, works)[1]

    environment = ActivityEnvironment()
    with pytest.raises(ValueError, match="an internal error"):
        await environment.run(first)
    assert await environment.run(second) == "wh_1", "what is known is known to the next try"


async def test_a_tenant_with_many_results_loses_its_own_oldest_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.recent_batches.MAX_BYTES", 100_000)
    recent: RecentBatches[str] = RecentBatches(DELAY)
    await answer(recent, "quiet", "quiet-1", text="first")
    for n in range(100):
        await answer(recent, "loud", f"loud-{n}", excerpt="x" * 4096, text="first")
    assert await answer(recent, "quiet", "quiet-1", text="second") == "first"
    assert await answer(recent, "loud", "loud-99", text="second") == "first"
    assert await answer(recent, "loud", "loud-0", text="second") == "second", "it has been dropped"


async def test_a_result_is_not_kept_for_longer_than_its_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.recent_batches.RETENTION_SECONDS", 0.0)
    recent: RecentBatches[str] = RecentBatches(DELAY)
    await answer(recent, "acme", "run-1", text="first")
    assert await answer(recent, "acme", "run-1", text="second") == "second"
