"""An egress proxy for tests: a real one, as far as it goes, on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rawserver import RawReceiver


@dataclass
class EgressProxy:
    """Leads every name to one receiver. Or answers `answer`, a status line and headers, to everything."""

    port: int = 0
    answer: bytes = b""
    heads: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def lines(self) -> list[str]:
        return [head.partition("\r\n")[0] for head in self.heads]


@asynccontextmanager
async def proxying(to: RawReceiver, port: int = 0) -> AsyncIterator[EgressProxy]:
    """Run a proxy, on any port or on this one, until the block ends."""
    proxy = EgressProxy()
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        opened = [writer]
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            proxy.heads.append(head)
            if proxy.answer:
                writer.write(proxy.answer + b"\r\n")
                return
            there, back = await asyncio.open_connection("127.0.0.1", to.port)
            opened.append(back)
            if head.startswith("CONNECT "):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                back.write(head.encode("latin-1"))
            await asyncio.gather(pump(reader, back), pump(there, writer))
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass  # the test is done
        finally:
            for each in opened:
                each.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
