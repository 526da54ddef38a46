"""Receivers of the hostile tenant, and a chain of certificates that is expensive to verify."""

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from drills.authorities import Authority
from drills.receiver import serving

CHAIN_LENGTH = 40
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def recording(record: Callable[[web.Request], None]) -> AsyncIterator[str]:
    """Serve HTTP: `/hang` never answers, `/fail` with 500, any other path with 200. `record` gets each request."""

    async def receive(request: web.Request) -> web.Response:
        record(request)
        await request.read()
        if request.path == "/hang":
            await asyncio.sleep(3600)
        return web.Response(status=500 if request.path == "/fail" else 200)

    async with serving(receive, address="0.0.0.0") as (port,):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def unreading() -> AsyncIterator[str]:
    """Accept connections and never read."""

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    async with _listening(ignore, limit=1024) as port:
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def costly_tls(chain: list[str], key: str) -> AsyncIterator[str]:
    """Serve HTTPS with a chain of certificates."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "chain.pem"
        file.write_text(key + "".join(chain[:-1]))
        context.load_cert_chain(file)
    async with _listening(answer, ssl=context) as port:
        yield f"https://127.0.0.1:{port}/"


@asynccontextmanager
async def _listening(handle: Handle, **options: Any) -> AsyncIterator[int]:
    """Handle connections, each in a task, until the block ends."""
    tasks = set[asyncio.Task[None]]()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(handle(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(lambda _: writer.close())

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def certificate_chain(size: int) -> tuple[list[str], str]:
    """Create a chain of certificates, from the receiver's to the root, with one key for all, to save time."""
    key = rsa.generate_private_key(65537, size)
    issuer = Authority(key)
    chain = [issuer.pem]
    for _ in range(CHAIN_LENGTH - 1):
        issuer, certificate = issuer.subordinate(key)
        chain.insert(0, certificate)
    own = issuer.certify("127.0.0.1", key=key)
    return [own.certificate, *chain], own.key
