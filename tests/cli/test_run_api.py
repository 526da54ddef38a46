"""The listener of the API."""

import asyncio
import socket

import pytest

from cli.console import Failed
from cli.ports import listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_responses_are_not_delayed(host: str) -> None:
    """With Nagle's algorithm on, each response on a kept-alive connection took 40 ms."""
    accepted: asyncio.Queue[int] = asyncio.Queue()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        accepted.put_nowait(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = listen(host, 0)
    async with await asyncio.start_server(serve, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
        assert await accepted.get() != 0
        writer.close()
        await writer.wait_closed()


def test_a_port_in_use_is_reported_in_a_sentence() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(Failed, match=r"cannot listen on 127\.0\.0\.1, port \d+: "):
        listen("127.0.0.1", first.getsockname()[1])
    with pytest.raises(Failed, match=r"cannot listen on nowhere\.invalid"):
        listen("nowhere.invalid", 80)
