"""Relays between the API and its servers, which break at a chosen step: between rows, start and answer.

A relay passes all bytes on. For each request that begins a step it asks a plan what to do. It can drop the request, or
pass it on and drop the answer, and in both cases it breaks the connection; and it can kill a process at that moment.

    python -m drills.relays ADDRESS SERVER …   a load balancer
"""

import asyncio
import itertools
import re
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cli.processes import run, until_stopped

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Step = Literal["commit", "start"]
Begins = Callable[[bytes], bool]
"""Returns whether bytes of a connection begin the step."""
CHUNK = 64 * 1024
SOCKET = ".s.PGSQL.5432"
"""PostgreSQL's name of a socket."""
RUN_TYPES = re.compile(rb"SharedRunWorkflow|EventWorkflow")
GZIP = re.compile(rb"\x1f\x8b\x08")
MAX_UNZIPPED = 1024
"""Bytes; the request begins with namespace, workflow id and workflow type."""
PREPARED_INSERT = re.compile(rb"(__asyncpg_stmt_\w+__)\x00[^\x00]*INSERT INTO events ")
COMMIT = b"COMMIT;\0"
MIN_DISTANCE = 1e-6
"""Seconds between delayed bytes, whose order the event loop keeps only if their times differ."""


@dataclass(frozen=True, slots=True)
class Break:
    """What happens to a request."""

    drops: Literal["request", "answer"]
    wait: float = 0.0
    """Seconds from the request to the break."""
    kill: Callable[[], Awaitable[None]] | None = None
    """Called at the break."""


@dataclass
class Relay:
    """One for each server."""

    connect: Callable[[], Awaitable[Streams]]
    step: Step = "start"
    begins: Callable[[], Begins] = lambda: lambda data: False
    """Called for each connection."""
    plan: Callable[[Step], Break | None] = lambda step: None
    """Called for each request that begins the step."""
    delay: float = 0.0
    """Seconds that bytes take to the server, from now on."""
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay a connection until one side closes it, or it breaks."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        writers = [writer]
        try:
            server_reader, server_writer = await self.connect()
            writers.append(server_writer)
            connection = _Connection(writer, server_writer)
            pumps = [
                asyncio.create_task(self._requests(connection, reader)),
                asyncio.create_task(_answers(connection, server_reader)),
            ]
            _, open_ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in open_:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):  # the server is down, or the relay ends: asyncio would report that
            pass
        finally:
            for opened in writers:
                opened.transport.abort()
            self._connections.discard(task)

    async def close(self) -> None:
        """Break all connections."""
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _requests(self, connection: "_Connection", reader: asyncio.StreamReader) -> None:
        begins = self.begins()
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                broken = self.plan(self.step) if begins(data) else None
                if broken is not None and broken.drops == "answer":
                    connection.drops_answers = True
                if broken is None or broken.drops == "answer":
                    await self._pass_on(connection, data)
                if broken is not None:
                    await asyncio.sleep(broken.wait)
                    if broken.kill is not None:
                        await broken.kill()
                    return

    async def _pass_on(self, connection: "_Connection", data: bytes) -> None:
        loop, writer = asyncio.get_running_loop(), connection.to_server
        if self.delay or connection.due > loop.time():
            connection.due = max(connection.due + MIN_DISTANCE, loop.time() + self.delay)
            loop.call_at(connection.due, writer.write, data)
        else:
            writer.write(data)
            await writer.drain()


@dataclass
class _Connection:
    to_client: asyncio.StreamWriter
    to_server: asyncio.StreamWriter
    drops_answers: bool = False
    due: float = 0.0
    """When the last delayed bytes go to the server: none may overtake them."""


async def _answers(connection: _Connection, reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            if not connection.drops_answers:
                connection.to_client.write(data)
                await connection.to_client.drain()


@asynccontextmanager
async def relaying(sockets: Path, temporal_port: int) -> AsyncIterator[tuple[tuple[Relay, Relay], dict[str, str]]]:
    """Relay to the registry, whose socket is in this folder, and to Temporal; yield variables for the API, too."""
    registry = Relay(lambda: asyncio.open_unix_connection(sockets / SOCKET), "commit", commits)
    temporal = Relay(lambda: asyncio.open_connection("127.0.0.1", temporal_port), "start", starts)
    folder = sockets / "relay"
    folder.mkdir()
    async with AsyncExitStack() as stack:
        for relay in (registry, temporal):
            stack.push_async_callback(relay.close)
        await stack.enter_async_context(await asyncio.start_unix_server(registry.serve, folder / SOCKET))
        server = await stack.enter_async_context(await asyncio.start_server(temporal.serve, "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]
        environment = {
            "HOOKKEEPER_DATABASE_URL": f"postgresql+asyncpg://postgres@/postgres?host={folder}",
            "TEMPORAL_ADDRESS": f"127.0.0.1:{port}",
        }
        yield (registry, temporal), environment


def starts() -> Begins:
    """Recognize starts of runs by their workflow types, which no other request of the API names."""
    return lambda data: any(map(RUN_TYPES.search, (data, *_unzipped(data))))


def _unzipped(data: bytes) -> Iterator[bytes]:
    """Return the beginnings of the messages that a gRPC client has compressed."""
    for message in GZIP.finditer(data):
        with suppress(zlib.error):
            yield zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data[message.start() :], MAX_UNZIPPED)


def commits() -> Begins:
    """Recognize the commit of a transaction that adds events: it comes after their statement, or the name of this."""
    names: set[bytes] = set()
    has_added = False

    def begins(data: bytes) -> bool:
        nonlocal has_added
        if prepared := PREPARED_INSERT.search(data):
            names.add(prepared[1])
        has_added |= any(name + b"\0" in data for name in names)
        if not (has_added and COMMIT in data):
            return False
        has_added = False
        return True

    return begins


async def balance(address: str, servers: Sequence[str]) -> None:
    """Listen on an address, `host:port`, and pass each connection on to the next server that listens, until stopped."""
    turns = itertools.cycle(servers)

    async def connect() -> Streams:
        for _ in servers[1:]:
            try:
                return await asyncio.open_connection(*_parts(next(turns)))
            except OSError:
                continue
        return await asyncio.open_connection(*_parts(next(turns)))

    relay = Relay(connect)
    async with await asyncio.start_server(relay.serve, *_parts(address), backlog=1024):
        async with until_stopped():
            await asyncio.Event().wait()
        await relay.close()


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    run(balance(sys.argv[1], sys.argv[2:]))
