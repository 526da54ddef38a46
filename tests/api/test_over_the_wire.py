"""What only a real HTTP server and raw sockets show: bodies that are not what their headers say."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import uvicorn

from instance_parts import new_app
from instances import KEY, Instance
from timeouts import WAIT_TIMEOUT

LIMIT = 256 * 1024


@dataclass
class Served:
    """An instance behind uvicorn."""

    instance: Instance
    port: int

    async def ask(self, *parts: bytes, key: str = KEY, close: bool = False) -> tuple[int, bytes]:
        """Send a POST to /v1/events as it stands; give status and body of the first answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = (
            f"POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        )
        writer.write(head.encode() + b"".join(parts))
        try:
            if close:
                return 0, b""
            async with asyncio.timeout(WAIT_TIMEOUT):
                raw = await reader.readuntil(b"\r\n\r\n")
                return int(raw.split()[1]), await reader.read(100_000) if b"connection: close" in raw else b""
        finally:
            writer.close()
            await writer.wait_closed()

    async def started(self) -> int:
        query = f"TaskQueue = '{self.instance.settings.task_queue}'"
        return (await self.instance.temporal.count_workflows(query)).count


@pytest.fixture
async def served(idle_instance: Instance) -> AsyncIterator[Served]:
    app = new_app(idle_instance.settings, idle_instance.store, idle_instance.gateway)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Served(idle_instance, port)
    server.should_exit = True
    await serving


def event(instance: Instance, size: int = 0, event_id: str = "e") -> bytes:
    return json.dumps({"type": "a", "tenant": instance.tenant, "id": event_id, "data": "x" * size}).encode()


def chunked(body: bytes) -> bytes:
    return b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


async def test_an_event_is_accepted_with_a_length_and_in_chunks(served: Served) -> None:
    body = event(served.instance)
    status, _ = await served.ask(b"content-length: %d\r\n\r\n" % len(body), body)
    assert status == 202
    status, _ = await served.ask(chunked(event(served.instance, event_id="chunked")))
    assert status == 202


@pytest.mark.parametrize("key", [KEY, "wrong-key-wrong-key"])
async def test_a_large_body_is_refused_before_it_is_sent(served: Served, key: str) -> None:
    status, _ = await served.ask(b"content-length: 10000000\r\n\r\n", key=key)
    assert status == (413 if key == KEY else 401)


async def test_a_large_body_in_chunks_is_refused(served: Served) -> None:
    assert (await served.ask(chunked(event(served.instance, LIMIT))))[0] == 413
    assert await served.started() == 0


@pytest.mark.parametrize("announced", [b"5", b"0", b"-1", b"x", b"1\r\ncontent-length: 9", b"99999999999999999999999"])
async def test_a_wrong_content_length_starts_nothing(served: Served, announced: bytes) -> None:
    status, _ = await served.ask(b"content-length: " + announced + b"\r\n\r\n", event(served.instance))
    assert 400 <= status < 500
    assert await served.started() == 0


async def test_a_body_that_is_cut_off_starts_nothing(served: Served) -> None:
    body = event(served.instance)
    await served.ask(b"content-length: %d\r\n\r\n" % (len(body) + 1), body, close=True)
    await served.ask(chunked(body)[:-5], close=True)
    await asyncio.sleep(0.2)
    assert await served.started() == 0
    status, _ = await served.ask(b"content-length: %d\r\n\r\n" % len(body), body)
    assert status == 202
