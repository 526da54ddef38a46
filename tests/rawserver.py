"""Receivers for tests: raw TCP servers on loopback that read requests and answer with whatever bytes a test scripts."""

import asyncio
import resource
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class RawRequest:
    line: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Peer:
    """One accepted connection, from the receiver's side."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read(self) -> RawRequest:
        """Read one request. Raises IncompleteReadError where none comes any more."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.rstrip("\r\n").split("\r\n")
        headers = [(name, value.strip()) for name, _, value in (field.partition(":") for field in fields)]
        length = int(dict(headers).get("content-length", 0))
        return RawRequest(line, headers, await self.reader.readexactly(length))

    async def say(self, *parts: bytes, pause: float = 0.05) -> None:
        """Write each part in a packet of its own."""
        for number, part in enumerate(parts):
            if number:
                await asyncio.sleep(pause)
            self.writer.write(part)
            await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Close with an RST."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]
"""What to do once a request has been read; called again for the next one on the same connection."""


@dataclass
class RawReceiver:
    """A listening server and what reached it."""

    port: int = 0
    scheme: str = "http"
    requests: list[RawRequest] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    """One a connection that was accepted."""

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"


def says(*parts: bytes, close: bool = False, reset: bool = False) -> Script:
    """Script an answer in this many packets, and then maybe the end of the connection."""

    async def script(peer: Peer) -> None:
        await peer.say(*parts)
        if reset:
            await asyncio.sleep(0.05)  # or the RST would overtake what was said
            peer.reset()
        elif close:
            peer.close()

    return script


@asynccontextmanager
async def receiving(
    script: Script, *, tls: ssl.SSLContext | None = None, read: bool = True
) -> AsyncIterator[RawReceiver]:
    """Run a receiver; with `read=False` the script gets each connection as it was accepted."""
    receiver = RawReceiver(scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(reader, writer)
        receiver.peers.append(peer)
        try:
            while not writer.is_closing():
                if read:
                    receiver.requests.append(await peer.read())
                await script(peer)
                if not read:
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the other side or the test is done
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, backlog=1024)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


def make_certificate(folder: Path, *names: str, days: int = 1) -> Path:
    """Write a self-signed certificate with its key for these names or addresses, valid for this many days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = datetime.now(UTC)
    alternatives = [x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{'-'.join(names)[:100]}{days}.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(pem))
    return path


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Allow no new file descriptors above 2, so that those that other threads close meanwhile make no room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
