"""`hookkeeper events tail` prints each event once, in whatever order the index gets them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sockets import serving

from hookkeeper.cli import tail
from hookkeeper.cli.client import Api
from hookkeeper.cli.tail import EventTail
from hookkeeper.messages.run_report import EventProgress, RunReport
from hookkeeper.times import utc_now
from instance_parts import new_app
from instances import KEY, Instance

BEGIN = utc_now() - timedelta(minutes=10)


class Log:
    """An index to which events are written as a test wants it, and a tail of them."""

    def __init__(self, instance: Instance, api: Api) -> None:
        self._instance = instance
        self.tail = EventTail(api, tenant=instance.tenant)

    async def accept(self, *seconds: float) -> None:
        """Write events that were accepted so many seconds after the begin, named by their seconds."""
        progress = EventProgress("delivering", needs_attention=False, deliver_at=None, run_id="run", digest="abc")
        reports = []
        for at in seconds:
            when = BEGIN + timedelta(seconds=at)
            reports.append(RunReport(self._instance.tenant, f"at-{at:g}", "order.paid", when, when, progress, ()))
        await self._instance.store.rows.write(reports)

    async def begin(self) -> list[str]:
        return [event["id"] for event in await asyncio.to_thread(self.tail.begin)]

    async def new(self) -> list[str]:
        return [event["id"] for event in await asyncio.to_thread(self.tail.new)]


@pytest.fixture
async def log(idle_instance: Instance) -> AsyncIterator[Log]:
    app = new_app(idle_instance.settings, idle_instance.store, idle_instance.gateway)
    async with serving(app) as server:
        api = Api(f"http://127.0.0.1:{server.port}", KEY)
        yield Log(idle_instance, api)
        api.close()


async def test_each_event_is_new_once_also_if_it_comes_late(log: Log) -> None:
    assert await log.begin() == []
    await log.accept(1, 2)
    assert await log.new() == ["at-1", "at-2"]
    assert await log.new() == []
    await log.accept(5, 1.5, 3)
    assert await log.new() == ["at-1.5", "at-3", "at-5"]
    await log.accept(60)
    assert await log.new() == ["at-60"]
    await log.accept(4)  # after more than `OVERLAP`
    assert await log.new() == []


async def test_what_is_older_than_the_first_page_is_not_new(log: Log) -> None:
    await log.accept(*(n / 100 for n in range(150)))
    first = await log.begin()
    assert (len(first), first[0], first[-1]) == (100, "at-0.5", "at-1.49")
    assert await log.new() == []
    await log.accept(2)
    assert await log.new() == ["at-2"]


async def test_a_look_reads_a_bounded_number_of_events_and_says_so(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "MAX_PAGES", 2)
    await log.accept(0)
    assert await log.begin() == ["at-0"]
    await log.accept(*(1 + n / 100 for n in range(300)))
    found = await log.new()
    assert (len(found), found[-1]) == (200, "at-3.99")
    assert log.tail.has_skipped
