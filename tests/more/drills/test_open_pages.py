"""Open pages in the neighbour drill: they hold their streams and load themselves again, as those in a browser do."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from callers import make_key
from sockets import serving
from test_stats_api import report

from api.state import ApiState
from cli.console import Failed
from drills.open_pages import open_pages, session
from instances import Instance
from timeouts import WAIT_TIMEOUT


@pytest.fixture
async def reader(idle_instance: Instance) -> AsyncIterator[httpx.AsyncClient]:
    """Return a session of the tenant."""
    key = await make_key(idle_instance, idle_instance.tenant)
    async with serving(idle_instance.app) as server, session(f"http://127.0.0.1:{server.port}", key["key"]) as http:
        yield http


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not is_true():
            await asyncio.sleep(0.02)


async def test_a_page_loads_again_when_its_stream_says_so_and_not_otherwise(
    idle_instance: Instance, reader: httpx.AsyncClient
) -> None:
    """Timeline: open a page, wait longer than a page without a stream does, write an event, close the page."""
    state: ApiState = idle_instance.app.state.api
    async with open_pages(reader, 1) as counts:
        await until(lambda: counts.loads["200"] == 2)  # the second since the stream is ready
        await asyncio.sleep(3.5)
        assert counts.loads == {"200": 2}
        assert (counts.streams, counts.messages) == ({"200": 1}, 1)
        await idle_instance.store.rows.write([report(idle_instance.tenant, "evt_1", "http_503", status="retrying")])
        await until(lambda: counts.loads["200"] == 3)
        assert counts.messages == 2
        assert counts.were_live
    await until(lambda: state.feed.count == 0)


async def test_a_page_without_a_stream_loads_every_few_seconds(
    idle_instance: Instance, reader: httpx.AsyncClient
) -> None:
    idle_instance.app.state.api.feed.limit.per_tenant = 0
    async with open_pages(reader, 2) as counts:
        await until(lambda: counts.loads["200"] >= 6)
    assert (counts.streams, counts.messages) == ({"429": 2}, 0)
    assert not counts.were_live


async def test_a_page_that_is_refused_asks_less_and_less_often(
    idle_instance: Instance, reader: httpx.AsyncClient
) -> None:
    reader.cookies.clear()
    async with open_pages(reader, 1) as counts:
        await until(lambda: counts.loads["303"] == 2)
        await asyncio.sleep(3)
    assert counts.loads == {"303": 2}
    assert counts.streams == {}


async def test_a_wrong_key_opens_no_pages(idle_instance: Instance) -> None:
    async with serving(idle_instance.app) as server:
        with pytest.raises(Failed, match="401"):
            async with session(f"http://127.0.0.1:{server.port}", "wrong"):
                pass
