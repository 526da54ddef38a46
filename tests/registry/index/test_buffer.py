"""Reports wait in memory until they are written to the registry, and delay nothing."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.messages.event import Delivery
from hookkeeper.messages.run_report import BEGINNING, EventProgress, RunReport
from hookkeeper.registry.database import Database, RegistryUnavailable
from hookkeeper.registry.index import buffer as buffers
from hookkeeper.registry.index.buffer import IndexBuffer
from hookkeeper.registry.index.index import EventIndex
from hookkeeper.registry.index.tables import deliveries
from timeouts import WAIT_TIMEOUT

ACCEPTED = datetime(2026, 1, 2, tzinfo=UTC)


def report(n: int, count: int = 1) -> RunReport:
    states = tuple(Delivery(id=f"wh_{m}", webhook_id=f"wh_{m}") for m in range(count))
    progress = EventProgress("delivering", False, None, "run-1", "abc")
    return RunReport("acme", f"evt_{n}", "order.paid", ACCEPTED, BEGINNING, progress, states)


class Recorder(EventIndex):
    """Records what is written; fails while it is told to."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(Database(engine))
        self.is_away = False
        self.refused = ""
        self.writes: list[list[str]] = []

    async def write(self, reports: Sequence[RunReport]) -> None:
        if self.is_away:
            raise RegistryUnavailable("away")
        if any(written.event_id == self.refused for written in reports):
            raise ValueError("a bug")
        await super().write(reports)
        self.writes.append([written.event_id for written in reports])

    @property
    def written(self) -> list[str]:
        return [event_id for write in self.writes for event_id in write]

    async def until_written(self, count: int) -> None:
        async with asyncio.timeout(WAIT_TIMEOUT):
            while len(self.written) < count:
                await asyncio.sleep(0.01)


@pytest.fixture
def recorder(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(buffers, "RETRY_INTERVAL", 0.05)
    return Recorder(engine)


async def test_reports_of_other_threads_are_written_in_their_order(recorder: Recorder) -> None:
    buffer = IndexBuffer(recorder)

    def put_all() -> None:
        for n in range(300):
            buffer.put(report(n))

    async with buffer.writing():
        thread = threading.Thread(target=put_all)
        thread.start()
        await recorder.until_written(300)
        thread.join()
    assert recorder.written == [f"evt_{n}" for n in range(300)]
    assert max(map(len, recorder.writes)) <= buffers.REPORTS_PER_WRITE


async def test_what_the_registry_does_not_take_is_written_later(recorder: Recorder) -> None:
    buffer = IndexBuffer(recorder)
    recorder.is_away = True
    async with buffer.writing():
        buffer.put(report(1))
        await asyncio.sleep(0.3)
        buffer.put(report(2))
        assert recorder.writes == []
        recorder.is_away = False
        await recorder.until_written(2)
    assert recorder.written == ["evt_1", "evt_2"]


async def test_the_rest_is_written_at_the_end(recorder: Recorder) -> None:
    buffer = IndexBuffer(recorder)
    async with buffer.writing():
        buffer.put(report(1))
    assert recorder.writes == [["evt_1"]]


async def test_two_flushes_at_once_write_each_report_once(recorder: Recorder) -> None:
    buffer = IndexBuffer(recorder)
    for n in range(300):
        buffer.put(report(n))
    await asyncio.gather(buffer.flush(), buffer.flush())
    assert recorder.written == [f"evt_{n}" for n in range(300)]


async def test_the_end_does_not_wait_for_a_registry_that_is_away(recorder: Recorder) -> None:
    buffer = IndexBuffer(recorder)
    recorder.is_away = True
    async with asyncio.timeout(WAIT_TIMEOUT), buffer.writing():
        buffer.put(report(1))
    assert recorder.writes == []


async def test_a_full_buffer_takes_no_more(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "MAX_REPORTS", 3)
    buffer = IndexBuffer(recorder)
    for n in range(5):
        buffer.put(report(n))
    await buffer.flush()
    buffer.put(report(7))
    await buffer.flush()
    assert recorder.writes == [["evt_0", "evt_1", "evt_2"], ["evt_7"]]


async def test_a_bug_stops_no_later_write(recorder: Recorder) -> None:
    buffer = IndexBuffer(recorder)
    recorder.refused = "evt_1"
    async with buffer.writing():
        buffer.put(report(1))
        await asyncio.sleep(buffers.FLUSH_INTERVAL + 0.2)
        buffer.put(report(2))
        await recorder.until_written(1)
    assert recorder.written == ["evt_2"]


async def test_a_write_waits_for_further_reports_if_there_are_some(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: one report, then some, which are not written before there are enough for one write."""
    monkeypatch.setattr(buffers, "FLUSH_INTERVAL", 0.02)
    monkeypatch.setattr(buffers, "MAX_WAITS", 1_000_000)
    enough, some = buffers.REPORTS_PER_WRITE, buffers.FEW + 1
    buffer = IndexBuffer(recorder)
    async with buffer.writing():
        buffer.put(report(0))
        await recorder.until_written(1)
        for n in range(some):
            buffer.put(report(1 + n))
        await asyncio.sleep(0.5)
        assert recorder.writes == [["evt_0"]]
        for n in range(some, enough):
            buffer.put(report(1 + n))
        await recorder.until_written(1 + enough)
    assert [len(some) for some in recorder.writes] == [1, enough]


async def test_one_write_has_a_bounded_number_of_deliveries(recorder: Recorder, engine: AsyncEngine) -> None:
    buffer = IndexBuffer(recorder)
    for n, count in enumerate([120, 60, 20, 1, 450, 2]):
        buffer.put(report(n, count))
    await buffer.flush()
    assert recorder.writes == [
        ["evt_0", "evt_1", "evt_2"],
        *(["evt_3"], ["evt_4"], ["evt_4"]),
        ["evt_4", "evt_5"],
    ]
    async with engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(deliveries)) == 120 + 60 + 20 + 1 + 450 + 2
