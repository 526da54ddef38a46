"""Requests other than POST, and the headers of answers that callers ask for."""

from collections.abc import AsyncIterator

import httpx
import pytest

from cases import each
from hookkeeper.addresses import parse_networks
from hookkeeper.egress.http import make_client, send
from rawserver import OK, receiving, says
from timeouts import WAIT_TIMEOUT


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with make_client(parse_networks(["127.0.0.0/8"])) as client:
        yield client


@each(
    ("method", "body", "length"),
    [("GET", b"", None), ("GET", b"x", "1"), ("POST", b"", "0"), ("PUT", b"", "0"), ("PATCH", b"xy", "2")],
)
async def test_each_method_is_sent_with_its_body(
    client: httpx.AsyncClient, method: str, body: bytes, length: str | None
) -> None:
    async with receiving(says(OK)) as receiver:
        answer = await send(
            client, method, receiver.url("/a?b=c"), body=body, headers={"x-name": "Zoe"}, timeout=WAIT_TIMEOUT
        )
    assert (answer.status_code, answer.error, answer.body) == (200, None, b"ok")
    [request] = receiver.requests
    assert (request.line, request.body) == (f"{method} /a?b=c HTTP/1.1", body)
    expected = {"host": f"127.0.0.1:{receiver.port}", "x-name": "Zoe", "content-length": length}
    assert dict(request.headers) == {name: value for name, value in expected.items() if value is not None}


async def test_the_headers_that_providers_use_are_kept(client: httpx.AsyncClient) -> None:
    said = b"HTTP/1.1 202 Taken\r\nX-Message-Id: m1\r\nX-RateLimit-Reset: 7\r\nX-Other: 1\r\nContent-Length: 0\r\n\r\n"
    async with receiving(says(said)) as receiver:
        answer = await send(client, "POST", receiver.url(), body=b"", headers={}, timeout=WAIT_TIMEOUT)
    assert dict(answer.headers) == {"x-message-id": "m1", "x-ratelimit-reset": "7"}
