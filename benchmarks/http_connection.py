"""A small HTTP client that needs little CPU, so that the load generator takes little from what it measures."""

import asyncio
from types import TracebackType
from typing import Self


class ConnectionPool:
    """Posts JSON over at most `size` connections to a port of this machine, which are kept open."""

    def __init__(self, port: int, key: str, size: int) -> None:
        self._port = port
        self._headers = f"host: 127.0.0.1\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        self._slots = asyncio.Semaphore(size)
        self._idle: list[_Connection] = []

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer. Raises `OSError` and `EOFError`."""
        async with self._slots:
            connection = self._idle.pop() if self._idle else await _Connection.open(self._port)
            try:
                head = f"POST {path} HTTP/1.1\r\n{self._headers}content-length: {len(body)}\r\n\r\n"
                answer = await connection.request(head.encode() + body)
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)
            return answer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._idle:
            connection.close()


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def request(self, request: bytes) -> tuple[int, bytes]:
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status, *lines = head.split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        body = await self._reader.readexactly(int(headers["content-length"]))
        return int(status.split(" ")[1]), body

    def close(self) -> None:
        self._writer.close()
