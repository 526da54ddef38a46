"""Starts go on when their requests end, and the next request gets the answer."""

import asyncio
from datetime import UTC, datetime

import pytest

from hookkeeper.messages.event import EventInput, event_state
from hookkeeper.services import event_starts
from hookkeeper.services.event_starts import BYTES_PER_START, MAX_STARTS, OutlastingStarts
from hookkeeper.services.start_queue import NewRun
from hookkeeper.temporal.error_translation import Unavailable
from hookkeeper.temporal.own_runs import EventSnapshot
from timeouts import WAIT_TIMEOUT

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def new(event_id: str, tenant: str = "acme", digest: str = "digest", size: int = 100) -> NewRun:
    event = EventInput(id=event_id, type="a", tenant=tenant, timestamp=NOW, digest=digest, accepted_at=NOW)
    return NewRun(event, size, has_own_id=True)


class SlowStart:
    """A start that ends when the test lets it."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> EventSnapshot:
        self.begun += 1
        try:
            await self.go_on.wait()
        finally:
            self.ended += 1
        if self.error:
            raise self.error
        event = new("e").event
        return EventSnapshot("shared-1", f"run {self.begun}", 1, event, event_state(event, (), deliver_at=None))


async def request(starts: OutlastingStarts, run: NewRun, start: SlowStart) -> None:
    """Send a request that ends without an answer."""
    requesting = asyncio.create_task(starts.start(run, start))
    while not start.begun:
        await asyncio.sleep(0)
    requesting.cancel()
    await asyncio.wait([requesting])


async def until_ended(start: SlowStart, count: int) -> None:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while start.ended < count:
            await asyncio.sleep(0)
    await asyncio.sleep(0)


@pytest.mark.parametrize("is_over", [True, False])
async def test_the_next_request_gets_the_answer(is_over: bool) -> None:
    """The event is accepted once, also if several requests wait for it."""
    starts, slow, run = OutlastingStarts(), SlowStart(), new("e")
    await request(starts, run, slow)
    assert run in starts
    assert new("e", digest="other") not in starts
    waiting = [asyncio.create_task(starts.start(run, slow)) for _ in range(0 if is_over else 3)]
    await asyncio.sleep(0)
    slow.go_on.set()
    await until_ended(slow, 1)
    answers = [await answer for answer in waiting] or [await starts.start(run, slow)]
    assert {answer.run_id for answer in answers} == {"run 1"}
    assert sorted(answer.duplicate for answer in answers) == [False, *[True] * (len(answers) - 1)]
    assert run not in starts
    assert slow.begun == 1


async def test_a_start_that_has_failed_is_begun_anew() -> None:
    starts, slow, run = OutlastingStarts(), SlowStart(), new("e")
    slow.error = Unavailable("Temporal does not answer")
    await request(starts, run, slow)
    slow.go_on.set()
    await until_ended(slow, 1)
    with pytest.raises(Unavailable, match="does not answer"):
        await starts.start(run, slow)
    slow.error = None
    assert (await starts.start(run, slow)).run_id == "run 3"


async def test_an_answer_without_a_request_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_starts, "KEPT_SECONDS", 0)
    starts, slow, run = OutlastingStarts(), SlowStart(), new("e")
    await request(starts, run, slow)
    slow.go_on.set()
    async with asyncio.timeout(WAIT_TIMEOUT):
        while run in starts:
            await asyncio.sleep(0)
    assert (await starts.start(run, slow)).run_id == "run 2"


async def test_a_start_takes_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_starts, "MAX_SECONDS", 0)
    starts, slow = OutlastingStarts(), SlowStart()
    with pytest.raises(Unavailable, match="too long"):
        await starts.start(new("e"), slow)
    assert new("e") not in starts


@pytest.mark.parametrize("size", [0, 9 * BYTES_PER_START])
async def test_a_tenant_has_half_of_the_starts_that_outlast_their_requests(size: int) -> None:
    """Excess ones end with their requests. Large events count as several."""
    starts, kept = OutlastingStarts(), MAX_STARTS // 2 // (1 + size // BYTES_PER_START)
    slow = [SlowStart() for _ in range(kept + 1)]
    for n, start in enumerate(slow):
        await request(starts, new(f"e{n}", size=size), start)
    other = SlowStart()
    await request(starts, new("e", tenant="other", size=size), other)
    assert [start.ended for start in slow] == [0] * kept + [1]
    assert other.ended == 0
    await starts.aclose()
    assert [start.ended for start in [*slow, other]] == [1] * (kept + 2)
