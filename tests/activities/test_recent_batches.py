"""The tries of an activity share its work, and the outcomes of finished activities are kept within a limit."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from activities.recent_batches import MAX_OUTCOMES, BatchProgress, RecentBatches, reported_outcomes
from hookkeeper.messages.batch import BatchResult
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.temporal.server.data_converter import data_converter

DELAY = timedelta(seconds=0.1)
TIMED_OUT = ActivityCancellationDetails(timed_out=True)
ANSWERED = BatchResult(retry_after=1.0)
SUCCEEDED = Outcome(delivery="wh_1", verdict="succeeded")
CANCEL_REQUESTED = ActivityCancellationDetails(cancel_requested=True)


class Try:
    """One try of an activity whose work waits for its answer."""

    def __init__(self, recent: RecentBatches, answered: asyncio.Event) -> None:
        self.environment = ActivityEnvironment()
        self._recent = recent
        self._answered = answered
        self.has_started_work = False
        self.is_work_cancelled = False
        self.result = asyncio.ensure_future(self.environment.run(self._run))

    async def _run(self) -> BatchResult:
        return await self._recent.of_this_activity(1).share(self._work)

    async def _work(self, progress: BatchProgress) -> BatchResult:
        self.has_started_work = True
        try:
            await self._answered.wait()
        except asyncio.CancelledError:
            self.is_work_cancelled = True
            await asyncio.sleep(0.01)  # connections are closed
            raise
        return ANSWERED

    async def cancel(self, details: ActivityCancellationDetails) -> None:
        self.environment.cancel(details)
        await asyncio.sleep(0.05)


async def begin_try(recent: RecentBatches, answered: asyncio.Event) -> Try:
    begun = Try(recent, answered)
    await asyncio.sleep(0.01)
    return begun


async def answer(recent: RecentBatches, run: str, seconds: float, *, targets: int = 1) -> float | None:
    """Run a try of an activity; return the seconds in its result: these, unless an earlier result is reused."""
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, workflow_run_id=run)

    async def work(progress: BatchProgress) -> BatchResult:
        progress.add((0, "wh_1"), SUCCEEDED)
        return BatchResult(retry_after=seconds)

    async def run_it() -> BatchResult:
        return await recent.of_this_activity(targets).share(work)

    return (await environment.run(run_it)).retry_after


async def test_a_later_try_returns_the_result_of_the_first() -> None:
    recent = RecentBatches(DELAY)
    assert await answer(recent, "run-1", 1) == 1
    assert await answer(recent, "run-1", 2) == 1
    assert await answer(recent, "run-2", 2) == 2


async def test_work_continues_for_a_later_try_after_an_earlier_one_has_timed_out() -> None:
    recent, answered = RecentBatches(DELAY), asyncio.Event()
    first, second = await begin_try(recent, answered), await begin_try(recent, answered)
    await first.cancel(TIMED_OUT)
    assert first.result.cancelled()
    assert not first.is_work_cancelled
    answered.set()
    assert await second.result == ANSWERED
    assert not second.has_started_work


async def test_work_is_cancelled_when_its_last_try_has_to_stop() -> None:
    recent = RecentBatches(DELAY)
    first, second = await begin_try(recent, asyncio.Event()), await begin_try(recent, asyncio.Event())
    await second.cancel(TIMED_OUT)
    assert not first.is_work_cancelled
    await first.cancel(TIMED_OUT)
    assert first.is_work_cancelled
    assert first.result.cancelled()
    assert second.result.cancelled()


async def test_work_continues_for_a_later_try_after_an_earlier_one_was_cancelled_and_timed_out() -> None:
    recent, answered = RecentBatches(DELAY), asyncio.Event()
    first, second = await begin_try(recent, answered), await begin_try(recent, answered)
    await first.cancel(CANCEL_REQUESTED)
    assert not first.result.done(), "what was sent is recorded"
    first.result.cancel()
    await asyncio.sleep(0.01)
    assert not first.is_work_cancelled
    answered.set()
    assert await second.result == ANSWERED


async def test_a_try_does_not_join_work_that_is_being_cancelled() -> None:
    recent, answered = RecentBatches(DELAY), asyncio.Event()
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
    assert [await second.result, await third.result] == [ANSWERED, ANSWERED]


async def test_outcomes_of_the_same_moment_are_one_heartbeat() -> None:
    """Proves: nothing is sent if the work ends before, and each heartbeat has all outcomes, by batch."""
    beats: list[object] = []
    outcomes = [Outcome(delivery=f"wh_{number}", verdict="succeeded") for number in range(4)]

    async def work(progress: BatchProgress) -> BatchResult:
        progress.add((0, "wh_0"), outcomes[0])
        progress.add((7, "wh_1"), outcomes[1])
        await asyncio.sleep(0.2)
        progress.add((7, "wh_2"), outcomes[2])
        await asyncio.sleep(0.2)
        progress.add((0, "wh_3"), outcomes[3])
        return ANSWERED

    async def run() -> BatchResult:
        return await RecentBatches(DELAY).of_this_activity(4).share(work)

    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *details: beats.append(details)
    assert await environment.run(run) == ANSWERED
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
    recent, seen = RecentBatches(DELAY), list[str]()

    async def work(progress: BatchProgress) -> BatchResult:
        seen.extend(delivery for _, delivery in progress.outcomes)
        if seen:
            return ANSWERED
        progress.add((0, "wh_1"), SUCCEEDED)
        raise ValueError("an internal error")

    async def run() -> BatchResult:
        return await recent.of_this_activity(1).share(work)

    environment = ActivityEnvironment()
    with pytest.raises(ValueError, match="an internal error"):
        await environment.run(run)
    assert await environment.run(run) == ANSWERED
    assert seen == ["wh_1"], "what is known is known to the next try"


async def test_the_oldest_results_are_dropped_when_there_are_many() -> None:
    recent = RecentBatches(DELAY)
    for n in range(5):
        await answer(recent, f"run-{n}", 1, targets=MAX_OUTCOMES // 4)
    assert await answer(recent, "run-4", 2) == 1
    assert await answer(recent, "run-0", 2) == 2, "it has been dropped"
    assert await answer(recent, "large", 3, targets=2 * MAX_OUTCOMES) == 3


async def test_a_result_is_not_kept_for_longer_than_its_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.recent_batches.RETENTION_SECONDS", 0.0)
    recent = RecentBatches(DELAY)
    assert await answer(recent, "run-1", 1) == 1
    assert await answer(recent, "run-1", 2) == 2


async def test_a_local_activity_that_fails_after_an_attempt_is_joined() -> None:
    """One that fails before is not: nothing was sent."""
    recent = RecentBatches(DELAY)
    sent: list[str] = []

    async def work(progress: BatchProgress) -> BatchResult:
        if not progress.outcomes and has_outcome:
            sent.append("wh_1")
            progress.add((0, "wh_1"), SUCCEEDED)
            raise ValueError("an internal error")
        if not has_outcome:
            raise ValueError("before an attempt")
        return ANSWERED

    local, joining = ActivityEnvironment(), ActivityEnvironment()
    local.info = replace(local.info, activity_id="1", is_local=True)
    joining.info = replace(joining.info, activity_id="2")

    async def begin() -> BatchResult | None:
        return await recent.of_this_activity(1).begin(work, 1)

    async def join() -> BatchResult:
        return await recent.of_this_activity(1, begun_by="1").share(work)

    has_outcome = False
    with pytest.raises(ValueError, match="before an attempt"):
        await local.run(begin)
    has_outcome = True
    assert await local.run(begin) is None
    assert await joining.run(join) == ANSWERED
    assert sent == ["wh_1"]
