"""Receivers of the hostile tenant, and a chain of certificates that is expensive to verify."""

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

CHAIN_LENGTH = 40


@asynccontextmanager
async def recording(record: Callable[[web.Request], None]) -> AsyncIterator[str]:
    """Serve HTTP: `/hang` never answers, `/fail` with 500, any other path with 200. `record` gets each request."""

    async def receive(request: web.Request) -> web.Response:
        record(request)
        await request.read()
        if request.path == "/hang":
            await asyncio.sleep(3600)
        return web.Response(status=500 if request.path == "/fail" else 200)

    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_post("/{name}", receive)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", 0, backlog=1024).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def unreading() -> AsyncIterator[str]:
    """Accept connections and never read."""

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(asyncio.CancelledError):  # the loop ends: asyncio would report it as an error
            await asyncio.sleep(60)
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0, limit=1024, backlog=1024)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@asynccontextmanager
async def costly_tls(chain: list[str], key: str) -> AsyncIterator[str]:
    """Serve HTTPS with a chain of certificates."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "chain.pem"
        file.write_text(key + "".join(chain[:-1]))
        context.load_cert_chain(file)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context, backlog=1024)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


def certificate_chain(size: int) -> tuple[list[str], str]:
    """Create a chain of certificates, from the receiver's to the root, with one key for all, to save time."""
    key = rsa.generate_private_key(65537, size)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"link {n}")]) for n in range(CHAIN_LENGTH + 1)]
    now = datetime.now(UTC)

    def certificate(n: int) -> str:
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[n])
            .issuer_name(names[min(n + 1, CHAIN_LENGTH)])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=n > 0, path_length=None), critical=True)
        )
        if n == 0:
            address = x509.IPAddress(ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return [certificate(n) for n in range(CHAIN_LENGTH + 1)], pem
