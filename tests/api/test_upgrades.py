"""Clients that offer another protocol with a request, as Java's HTTP client and `curl --http2` do, are answered in
HTTP/1.1.
"""

import asyncio
import json

import pytest
from sockets import connected, serving

from instances import KEY, Instance

H2C = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
WEBSOCKET = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
PARTS = {"at once": 100_000, "in two parts": 300, "byte by byte": 1}


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
    idle_instance: Instance, offer: bytes, is_chunked: bool, size: int
) -> None:
    """Setup: one connection. Timeline: two requests with an offer, one without. It proves that each has its body."""
    async with serving(idle_instance.app) as server, connected(server.port) as connection:
        for n, offered in enumerate((offer, offer, b"")):
            event = {"type": "a", "tenant": idle_instance.tenant, "id": f"e{n}", "data": "x" * 500}
            request = post(json.dumps(event).encode(), offered, is_chunked)
            for begin in range(0, len(request), size):
                connection.send(request[begin : begin + size])
                await asyncio.sleep(0)
            status, answer = await connection.answer()
            assert (status, json.loads(answer)["id"]) == (202, f"e{n}")


async def test_upgrade_offers_in_one_packet_are_all_answered(idle_instance: Instance) -> None:
    ask = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"
    async with serving(idle_instance.app) as server, connected(server.port) as connection:
        connection.send(ask + H2C + b"\r\n" + ask + b"\r\n" + ask + WEBSOCKET + b"\r\n")
        assert [await connection.answer() for _ in range(3)] == [(200, b'{"status":"ok"}')] * 3


async def test_a_tunnel_is_refused(idle_instance: Instance) -> None:
    async with serving(idle_instance.app) as server, connected(server.port) as connection:
        connection.send(b"CONNECT /v1/events HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await connection.answer())[0] == 405
