"""Slow clients are disconnected, and no other client waits for them. Real sockets, and short timeouts."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI
from sockets import HEALTHY, ApiServer, Connection, connected, not_reading, serving

from api.server.connections import BYTES_PER_SECOND, BoundedProtocol, ClientTimeouts
from instance_parts import app_of
from instances import KEY, Instance
from timeouts import WAIT_TIMEOUT, lateness

TIMEOUTS = ClientTimeouts(head=1.0, body=1.5, answer=1.0, rest=0.5)
SLACK = 0.7
"""Seconds that the loop itself may take longer: what it came too late is not counted."""
HEAD = b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
KEYED = HEAD + f"authorization: Bearer {KEY}\r\n".encode()
H2C = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
WEBSOCKET = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
PARTS = {"at once": 100_000, "in two parts": 300, "byte by byte": 1}


@dataclass(frozen=True)
class SlowClient:
    """What a slow client sends at first, and what it goes on with."""

    start: bytes
    byte: Callable[[], bytes]
    seconds: float


def forever(data: bytes) -> Callable[[], bytes]:
    return lambda: data


SLOW: dict[str, SlowClient] = {
    "says nothing": SlowClient(b"", forever(b""), TIMEOUTS.head),
    "sends line ends": SlowClient(b"", forever(b"\r\n"), TIMEOUTS.head),
    "a slow method": SlowClient(b"GE", forever(b""), TIMEOUTS.head),
    "a slow url": SlowClient(b"GET /", forever(b"a"), TIMEOUTS.head),
    "slow headers": SlowClient(HEAD, forever(b"x: 1\r\n"), TIMEOUTS.head),
    "one slow header": SlowClient(HEAD + b"x-long: ", forever(b"a"), TIMEOUTS.head),
    "a body that does not come": SlowClient(KEYED + b"content-length: 1000\r\n\r\n", forever(b""), TIMEOUTS.body),
    "a slow body": SlowClient(KEYED + b"content-length: 1000\r\n\r\n", forever(b" "), TIMEOUTS.body),
    "slow chunks": SlowClient(KEYED + b"transfer-encoding: chunked\r\n\r\n", forever(b"1\r\n \r\n"), TIMEOUTS.body),
    "an endless extension": SlowClient(
        KEYED + b"transfer-encoding: chunked\r\n\r\n1;", forever(b"a" * 999), TIMEOUTS.body
    ),
    "a slow body without a key": SlowClient(HEAD + b"content-length: 1000\r\n\r\n", forever(b" "), TIMEOUTS.rest),
    "much after the answer": SlowClient(HEAD + b"content-length: 9999999\r\n\r\n", forever(b" " * 9999), TIMEOUTS.rest),
    "a slow body that no route reads": SlowClient(
        b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n", forever(b" "), TIMEOUTS.rest
    ),
    "a slow second request": SlowClient(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /", forever(b"a"), TIMEOUTS.head),
}


@pytest.fixture
def app(instance: Instance) -> Iterator[FastAPI]:
    with app_of(instance.settings, instance.store, instance.gateway) as app:
        yield app


@pytest.fixture
async def server(app: FastAPI) -> AsyncIterator[ApiServer]:
    async with serving(app, TIMEOUTS) as served:
        yield served


async def draw_out(port: int, slow: SlowClient, every: float = 0.1) -> float:
    """Be slow until cut off; give the seconds that it took."""
    async with connected(port) as client:
        client.send(slow.start)
        return await client.trickle(slow.byte, every)


async def test_each_kind_of_slow_client_is_cut_off(server: ApiServer) -> None:
    async with lateness() as late:
        took = await asyncio.gather(*(draw_out(server.port, slow) for slow in SLOW.values()))
    for (name, slow), seconds in zip(SLOW.items(), took, strict=True):
        assert slow.seconds - 0.1 < seconds < slow.seconds + SLACK + late.seconds, name
    await server.until_alone()


async def test_two_hundred_slow_clients_delay_no_other(app: FastAPI, instance: Instance) -> None:
    """Requests are answered while all the slow ones are connected. They are cut off when they would be without them."""
    timeouts = ClientTimeouts(head=5.0, body=6.0)
    limits = {TIMEOUTS.head: timeouts.head, TIMEOUTS.body: timeouts.body}
    kinds = [slow for slow in SLOW.values() if slow.seconds in limits]
    chosen = [kinds[n % len(kinds)] for n in range(200)]
    headers = {"authorization": f"Bearer {KEY}"}
    answered_meanwhile = 0
    async with lateness() as late, serving(app, timeouts) as server:
        clients = [asyncio.create_task(draw_out(server.port, slow, 0.2)) for slow in chosen]
        while server.connections < 200:
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers=headers) as http:
            while not all(client.done() for client in clients):
                answer = await http.post("/v1/events", json={"type": "a", "tenant": instance.tenant})
                assert answer.status_code == 202
                answered_meanwhile += not any(client.done() for client in clients)
                await asyncio.sleep(0.1)
        await server.until_alone()
    assert answered_meanwhile >= 3
    for slow, client in zip(chosen, clients, strict=True):
        assert client.result() < limits[slow.seconds] + SLACK + late.seconds


async def test_a_slow_body_is_answered_with_408(server: ApiServer) -> None:
    async with connected(server.port) as client:
        client.send(KEYED + b"content-length: 1000\r\n\r\n ")
        status, body = await client.answer()
        assert (status, json.loads(body)["type"]) == (408, "urn:hookkeeper:problem:request-timeout")
        assert await client.until_closed() == b""


async def test_a_body_that_comes_steadily_is_waited_for(app: FastAPI, instance: Instance) -> None:
    timeouts = ClientTimeouts(body=2.0)
    body = json.dumps({"type": "a", "tenant": instance.tenant, "data": "x" * 6 * BYTES_PER_SECOND}).encode()
    async with serving(app, timeouts) as server, connected(server.port) as client:
        client.send(KEYED + b"content-length: %d\r\n\r\n" % len(body))
        part = len(body) // 10
        for start in range(0, len(body), part):
            client.send(body[start : start + part])
            await asyncio.sleep(0.3)
        assert client.age > timeouts.body
        assert (await client.answer())[0] == 202


async def test_a_client_that_is_not_slow_keeps_its_connection(app: FastAPI) -> None:
    """Each request has its own time: the connection as a whole is older than any timeout."""
    timeouts = ClientTimeouts(head=3.0, body=3.0, answer=3.0, rest=3.0)
    async with serving(app, timeouts) as server, connected(server.port) as client:
        while client.age < 4:
            client.send(b"GET /healthz HTTP/1.1\r\nho")
            await asyncio.sleep(0.3)
            client.send(b"st: x\r\n\r\n")
            assert (await client.answer())[0] == 200


async def test_pipelined_requests_are_answered_in_order(server: ApiServer, instance: Instance) -> None:
    body = json.dumps({"type": "a", "tenant": instance.tenant}).encode()
    post = KEYED + b"content-length: %d\r\n\r\n" % len(body) + body
    async with connected(server.port) as client:
        client.send(post + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" + post)
        assert [(await client.answer())[0] for _ in range(3)] == [202, 200, 202]


# Answers that no client reads


@pytest.mark.parametrize("size", [300_000, 20_000])
async def test_a_client_that_reads_no_answers_is_cut_off(size: int) -> None:
    """The larger answer makes uvicorn pause. The smaller does not: then closing would wait without end."""
    app = FastAPI()

    @app.get("/")
    async def large() -> str:
        return "x" * size

    async with lateness() as late, serving(app, TIMEOUTS) as server:
        server.uvicorn.config.timeout_keep_alive = 1
        async with connected(server.port) as client:
            client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            (ours,) = server.uvicorn.server_state.connections
            while not ours.transport.get_write_buffer_size():
                client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                await asyncio.sleep(0.005)
            began = client.age
            await server.until_alone()
            idle = 1.0 if size < 65_536 else 0.0
            longest = idle + TIMEOUTS.answer + 2 * size / BYTES_PER_SECOND
            assert idle + TIMEOUTS.answer - 0.1 < client.age - began < longest + SLACK + late.seconds


async def test_unread_answers_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the limit, the address for which most waits loses the connection that has waited longest."""
    app, size = FastAPI(), 300_000
    monkeypatch.setattr(BoundedProtocol, "max_unread", 4 * size)

    @app.get("/")
    async def large() -> str:
        return "x" * size

    async with serving(app) as server, AsyncExitStack() as stack:  # the server would wait for its clients to end
        clients: list[Connection] = []
        for address in ("127.0.0.2", *["127.0.0.1"] * 6):
            clients.append(await stack.enter_async_context(not_reading(server, address)))
            clients[-1].send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            async with asyncio.timeout(WAIT_TIMEOUT):
                while len(server.unread) < min(len(clients), 4):
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            assert sum(server.unread) <= 4 * size
        for client in clients:
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert [len((await client.answer())[1]) for client in (clients[0], *clients[-3:])] == [size + 2] * 4
        for client in clients[1:4]:
            assert len(await client.until_closed()) < size


# Many connections


async def test_one_connection_too_many_closes_the_one_that_has_waited_longest(app: FastAPI) -> None:
    async with AsyncExitStack() as stack, serving(app, max_connections=10) as server:
        clients: list[Connection] = []
        for _ in range(30):
            clients.append(await stack.enter_async_context(connected(server.port)))
            await asyncio.sleep(0.005)
        last = clients[-1]
        last.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await last.answer())[0] == 200
        assert server.connections == 10
        for ended in clients[:20]:
            assert await ended.until_closed() == b""
        assert not any(client.reader.at_eof() for client in clients[20:])


async def test_a_new_connection_is_answered_with_503_while_all_are_busy() -> None:
    app, finish = FastAPI(), asyncio.Event()

    @app.get("/")
    async def wait() -> str:
        await finish.wait()
        return "done"

    ask = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    async with AsyncExitStack() as stack, serving(app, max_connections=10) as server:
        clients = [await stack.enter_async_context(connected(server.port)) for _ in range(10)]
        for client in clients:
            client.send(ask)
        while len(server.uvicorn.server_state.tasks) < 10:
            await asyncio.sleep(0.01)
        async with connected(server.port) as another:
            another.send(ask)
            said = await another.until_closed()
            assert said.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 5\r\n" in said
            assert b"application/problem+json" in said
        finish.set()
        assert [await client.answer() for client in clients] == [(200, b'"done"')] * 10


def post(body: bytes, offer: bytes, is_chunked: bool) -> bytes:
    head = f"POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
    if is_chunked:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    framing = b"transfer-encoding: chunked\r\n\r\n" if is_chunked else b"content-length: %d\r\n\r\n" % len(body)
    return head.encode() + offer + framing + body


@pytest.mark.parametrize("size", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("offer", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
async def test_the_body_of_a_request_that_offers_an_upgrade_is_read(
    instance: Instance, offer: bytes, is_chunked: bool, size: int
) -> None:
    """Setup: one connection. Timeline: two requests with an offer, one without. It proves that each has its body."""
    async with serving(instance.app) as server, connected(server.port) as connection:
        for n, offered in enumerate((offer, offer, b"")):
            event = {"type": "a", "tenant": instance.tenant, "id": f"e{n}", "data": "x" * 500}
            request = post(json.dumps(event).encode(), offered, is_chunked)
            for begin in range(0, len(request), size):
                connection.send(request[begin : begin + size])
                await asyncio.sleep(0)
            status, answer = await connection.answer()
            assert (status, json.loads(answer)["id"]) == (202, f"e{n}")


async def test_upgrade_offers_in_one_packet_are_all_answered(instance: Instance) -> None:
    ask = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"
    async with serving(instance.app) as server, connected(server.port) as connection:
        connection.send(ask + H2C + b"\r\n" + ask + b"\r\n" + ask + WEBSOCKET + b"\r\n")
        assert [await connection.answer() for _ in range(3)] == [(200, HEALTHY)] * 3


async def test_a_tunnel_is_refused(instance: Instance) -> None:
    async with serving(instance.app) as server, connected(server.port) as connection:
        connection.send(b"CONNECT /v1/events HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await connection.answer())[0] == 405
