"""A receiver for tests that accepts connections and reads nothing, until the test makes it answer."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from timeouts import WAIT_TIMEOUT


@dataclass
class SilentReceiver:
    """What has connected so far."""

    url: str = ""
    transports: set[asyncio.Transport] = field(default_factory=set)
    """Connections that are open."""
    most: int = 0
    """Connections that were open at the same time."""
    ended: int = 0

    async def until_open(self, count: int) -> None:
        """Wait until this many connections are open."""
        async with asyncio.timeout(WAIT_TIMEOUT):
            while len(self.transports) < count:
                await asyncio.sleep(0.05)


class _Unread(asyncio.Protocol):
    def __init__(self, receiver: SilentReceiver) -> None:
        self._receiver = receiver

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()
        self._receiver.transports.add(self._transport)
        self._receiver.most = max(self._receiver.most, len(self._receiver.transports))

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.transports.discard(self._transport)
        self._receiver.ended += 1


@asynccontextmanager
async def silent_receiver() -> AsyncIterator[SilentReceiver]:
    """Listen until the block ends. The kernel buffers little, so that bodies stay with the sender."""
    receiver = SilentReceiver()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.get_running_loop().create_server(lambda: _Unread(receiver), sock=listener, backlog=1024)
    receiver.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield receiver
    finally:
        server.close()
        for transport in [*receiver.transports]:
            transport.abort()
