"""An API behind its real server, and clients that speak to it byte by byte."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import uvicorn
from fastapi import FastAPI

from api.server.connections import BoundedProtocol, ClientTimeouts, bounded
from cli.operators.run_api import ApiServer as UvicornServer
from cli.operators.run_api import server_config
from cli.ports import listen
from hookkeeper.version import VERSION
from instance_parts import shared_apps
from timeouts import WAIT_TIMEOUT

HEALTHY = f'{{"status":"ok","version":"{VERSION}"}}'.encode()
"""The answer of `GET /healthz`."""


@dataclass
class ApiServer:
    """uvicorn, set up as `hookkeeper api` sets it up."""

    uvicorn: uvicorn.Server
    port: int

    @property
    def connections(self) -> int:
        return len(self.uvicorn.server_state.connections)

    @property
    def unread(self) -> list[int]:
        """Bytes that wait for each client that does not read."""
        connections = cast("set[BoundedProtocol]", self.uvicorn.server_state.connections)
        return [ours.transport.get_write_buffer_size() for ours in connections if ours.flow.write_paused]

    async def until_alone(self, seconds: float = WAIT_TIMEOUT) -> None:
        """Wait until the server has forgotten all connections."""
        async with asyncio.timeout(seconds):
            while self.connections:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(
    app: FastAPI,
    timeouts: ClientTimeouts | None = None,
    max_connections: int = 800,
    trusted_proxies: Sequence[str] = (),
) -> AsyncIterator[ApiServer]:
    """Serve the app on a free port. That of the instance that tests share goes on when its server ends."""
    listener = listen("127.0.0.1", 0)
    protocol = bounded(max_connections, timeouts or ClientTimeouts())
    config = server_config(app, protocol, trusted_proxies=trusted_proxies)
    if is_shared := app in shared_apps:
        config.lifespan = "off"
    ends = hasattr(app.state, "api") and not is_shared
    server = UvicornServer(config, protocol, app.state.api.end_streams if ends else lambda: None)
    task = asyncio.create_task(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield ApiServer(server, listener.getsockname()[1])
    finally:
        server.should_exit = True
        server.force_exit = is_shared
        await task


class Connection:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.began = time.perf_counter()

    @property
    def age(self) -> float:
        return time.perf_counter() - self.began

    async def pause(self) -> None:
        await asyncio.sleep(0.01)

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, bytes]:
        """Read one answer: status and body."""
        async with asyncio.timeout(WAIT_TIMEOUT):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            return int(head.split()[1]), await self.reader.readexactly(length)

    async def until_closed(self, seconds: float = WAIT_TIMEOUT) -> bytes:
        """Read until the server ends the connection; give what it said."""
        said = b""
        async with asyncio.timeout(seconds):
            try:
                while data := await self.reader.read(65536):
                    said += data
            except ConnectionError:
                pass
        return said

    async def trickle(self, byte: Callable[[], bytes], every: float) -> float:
        """Send a byte now and then, until the server ends the connection; give the connection's age then."""
        closed = asyncio.create_task(self.until_closed())
        while not closed.done():
            self.send(byte())
            await asyncio.wait([closed], timeout=every)
        closed.result()  # raises where it is this client that waited no longer
        return self.age


@asynccontextmanager
async def connected(port: int, limit: int = 2**16, address: str = "127.0.0.1") -> AsyncIterator[Connection]:
    """Open a connection from this address."""
    opened = await asyncio.open_connection("127.0.0.1", port, limit=limit, local_addr=(address, 0))
    client = Connection(*opened)
    try:
        yield client
    finally:
        client.writer.transport.abort()


@asynccontextmanager
async def not_reading(server: ApiServer, address: str = "127.0.0.1") -> AsyncIterator[Connection]:
    """Open a connection that reads nothing, and for which the system buffers little."""
    known = set(server.uvicorn.server_state.connections)
    async with connected(server.port, limit=2**20, address=address) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not (new := server.uvicorn.server_state.connections - known):
                await asyncio.sleep(0.005)
        (ours,) = new
        ours.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield client
