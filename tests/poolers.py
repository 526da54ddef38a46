"""A pooler like PgBouncer in transaction mode, as far as it goes: before a real PostgreSQL on a Unix socket.

It knows nothing of prepared statements, as PgBouncer before 1.21.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy import URL

SSL_REQUEST = bytes.fromhex("04d2162f")
NO_PID = (4_000_000).to_bytes(4, "big")
"""In place of the process of a server: a client has none of its own."""

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the kind of a message, and all of it."""
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(int.from_bytes(head[1:], "big") - 4)


class Pooler:
    """Gives a client a connection to the server for a transaction: the one that was returned last."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._idle: list[Stream] = []
        self._all: list[Stream] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await self._serve(reader, writer)
        writer.close()

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for _, writer in self._all:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        startup = b""
        while not startup or startup[4:8] == SSL_REQUEST:
            if startup:
                writer.write(b"N")
            length = await reader.readexactly(4)
            startup = length + await reader.readexactly(int.from_bytes(length, "big") - 4)
        greeting, server = await self._connect(startup)
        writer.write(greeting)
        self._idle.append(server)
        mine: asyncio.Task[None] | None = None
        while True:
            kind, message = await _message(reader)
            if kind == b"X":
                return
            if mine is None or mine.done():
                server = self._idle.pop() if self._idle else (await self._connect(startup))[1]
                mine = asyncio.create_task(self._answer(server, writer))
                self.tasks.add(mine)
            server[1].write(message)

    async def _connect(self, startup: bytes) -> tuple[bytes, Stream]:
        stream = await asyncio.open_unix_connection(self._socket)
        self._all.append(stream)
        stream[1].write(startup)
        kind, greeting = b"", b""
        while kind != b"Z":
            kind, message = await _message(stream[0])
            greeting += message[:5] + NO_PID + message[9:] if kind == b"K" else message
        return greeting, stream

    async def _answer(self, server: Stream, client: asyncio.StreamWriter) -> None:
        """Pass the server's messages on until it is idle."""
        kind, message = b"", b""
        while (kind, message[5:]) != (b"Z", b"I"):
            kind, message = await _message(server[0])
            if (kind, message[5:]) == (b"Z", b"I"):
                self._idle.append(server)
            client.write(message)


@asynccontextmanager
async def pooling(server: URL) -> AsyncIterator[str]:
    """Pool connections to this server until the block ends; give the URL for clients."""
    folder = server.query["host"]
    pooler = Pooler(f"{folder}/.s.PGSQL.{server.port or 5432}")
    listener = await asyncio.start_server(pooler.serve, "127.0.0.1", 0)
    try:
        port = listener.sockets[0].getsockname()[1]
        url = server.set(host="127.0.0.1", port=port, query={})
        yield url.render_as_string(hide_password=False)
    finally:
        listener.close()
        await pooler.close()
