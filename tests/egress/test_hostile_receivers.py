"""Hostile receivers: each attempt ends in time, with the right error, and takes little memory.

Setup: raw servers in this process, asked as webhooks are sent and as calls of any HTTP API are. What the process grows
by counts the servers in.
"""

import asyncio
import gzip
import sys
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import pack
from typing import NamedTuple
from unittest.mock import ANY

import httpx
import pytest

from hookkeeper.addresses import parse_networks
from hookkeeper.content.notifications import RenderedHttpCall
from hookkeeper.egress.http import make_client, send
from hookkeeper.egress.notifier import Notifier
from rawserver import OK, Peer, RawReceiver, Script, receiving, says
from timeouts import CALL_TIMEOUT, WAIT_TIMEOUT

LOOPBACK = parse_networks(["127.0.0.0/8"])
TIMEOUT = 2.0
MEGABYTE = 1024 * 1024
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
EMPTY = HEAD + b"Content-Length: 0\r\n\r\n"


def floods(unit: bytes, after: bytes = b"", size: int = 1 << 40) -> Script:
    """Say `unit` again and again, as fast as it is taken, up to `size` bytes."""
    block = unit * max(1, 65536 // len(unit))

    async def script(peer: Peer) -> None:
        peer.writer.write(after)
        for _ in range(size // len(block)):
            peer.writer.write(block)
            await peer.writer.drain()
        peer.close()

    return script


def trickles(after: bytes, unit: bytes = b"x") -> Script:
    """Send something every two seconds, without end."""

    async def script(peer: Peer) -> None:
        await peer.say(after)
        while True:
            await peer.say(unit)
            await asyncio.sleep(2)

    return script


async def floods_afterwards(peer: Peer) -> None:
    """Answer correctly, then continue with unsolicited responses."""
    await peer.say(EMPTY)
    await asyncio.sleep(0.05)
    await floods(EMPTY)(peer)


class Hostile(NamedTuple):
    script: Script
    status: int | None
    error: str | None

    @property
    def timeout(self) -> float:
        """Long enough for what has to come before the error, on a busy machine too."""
        return TIMEOUT if self.error == "timeout" else WAIT_TIMEOUT


def bomb(megabytes: int) -> bytes:
    """Return so many zeros in the form of gzip: one compressed megabyte, again and again."""
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    megabyte = bytes(MEGABYTE)
    block = compressor.compress(megabyte) + compressor.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(megabytes):
        checksum = zlib.crc32(megabyte, checksum)
    return gzip.compress(b"")[:10] + block * megabytes + b"\x03\0" + pack("<II", checksum, megabytes * MEGABYTE)


BOMB = bomb(100)
RECEIVERS: dict[str, Hostile] = {
    "redirects to the metadata service": Hostile(
        says(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"), 302, "http_302"
    ),
    "refreshes to it": Hostile(
        says(HEAD + b"Refresh: 0; url=http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"), 200, None
    ),
    # Time
    "says nothing": Hostile(trickles(b"", b""), None, "timeout"),
    "trickles its status line": Hostile(trickles(b"HTTP/1.", b"1"), None, "timeout"),
    "trickles its headers": Hostile(trickles(HEAD + b"X: "), None, "timeout"),
    "trickles its body": Hostile(trickles(HEAD + b"Content-Length: 1000\r\n\r\n"), 200, "timeout"),
    "trickles a body without length": Hostile(trickles(HEAD + b"\r\n"), 200, "timeout"),
    "trickles chunks": Hostile(trickles(CHUNKED, b"1\r\nx\r\n"), 200, "timeout"),
    "trickles interim answers": Hostile(trickles(b"", b"HTTP/1.1 102 Wait\r\n\r\n"), None, "timeout"),
    # Size
    "sends 500 MB": Hostile(
        floods(b"x", HEAD + b"Content-Length: %d\r\n\r\n" % (500 * MEGABYTE), 500 * MEGABYTE), 200, None
    ),
    "sends 500 MB without length": Hostile(floods(b"x", HEAD + b"\r\n", 500 * MEGABYTE), 200, None),
    "sends 500 MB in chunks of a byte": Hostile(floods(b"1\r\nx\r\n", CHUNKED, 500 * MEGABYTE), 200, None),
    "fails with 500 MB": Hostile(floods(b"x", b"HTTP/1.1 500 Oops\r\n\r\n", 500 * MEGABYTE), 500, "http_500"),
    "sends a gzip bomb": Hostile(
        says(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB), 200, None
    ),
    "sends an endless deflated body": Hostile(
        floods(bytes(100), HEAD + b"Content-Encoding: deflate\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n"),
        200,
        None,
    ),
    "sends 10,000 headers": Hostile(
        says(HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(10_000)) + b"\r\n"), None, "protocol"
    ),
    "sends 80 KB of headers that do not end": Hostile(
        says(HEAD + (b"X: " + b"y" * 2000 + b"\r\n") * 40), None, "protocol"
    ),
    "sends headers endlessly": Hostile(floods(b"X: y\r\n", HEAD), None, "protocol"),
    "sends one header endlessly": Hostile(floods(b"y", HEAD + b"X: "), None, "protocol"),
    "sends 120 cookies of 8 KB": Hostile(
        says(
            HEAD
            + b"".join(b"Set-Cookie: a%d=%s\r\n" % (n, b"y" * 8000) for n in range(120))
            + b"Content-Length: 0\r\n\r\n"
        ),
        None,
        "protocol",
    ),
    "sends a reason endlessly": Hostile(floods(b"x", b"HTTP/1.1 200 "), None, "protocol"),
    "sends interim answers endlessly": Hostile(floods(b"HTTP/1.1 102 Wait\r\n\r\n"), None, "protocol"),
    "sends fat interim answers endlessly": Hostile(
        floods(b"HTTP/1.1 103 Hints\r\n" + b"".join(b"X%d: %s\r\n" % (n, b"y" * 1000) for n in range(100)) + b"\r\n"),
        None,
        "protocol",
    ),
    "sends blank lines endlessly": Hostile(floods(b"\r\n"), None, "protocol"),
    "sends a chunk's extension endlessly": Hostile(floods(b"x", CHUNKED + b"1;"), 200, None),
    "sends a chunk's size endlessly": Hostile(floods(b"0", CHUNKED), 200, None),
    "sends trailers endlessly": Hostile(floods(b"X: y\r\n", CHUNKED + b"0\r\n"), None, "protocol"),
    "answers endlessly": Hostile(floods(EMPTY), 200, None),
    "answers endlessly, after a while": Hostile(floods_afterwards, 200, None),
    "switches protocols": Hostile(
        floods(b"x", b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), 101, "http_101"
    ),
    # Nonsense
    "resets in its body": Hostile(
        says(HEAD + b"Content-Length: 9\r\n\r\n", b"half", reset=True), 200, "connection_reset"
    ),
    "closes in its body": Hostile(
        says(HEAD + b"Content-Length: 9\r\n\r\n", b"half", close=True), 200, "connection_reset"
    ),
    "resets in a chunk": Hostile(says(CHUNKED, b"9\r\nhalf", reset=True), 200, "connection_reset"),
    "resets in its headers": Hostile(says(HEAD + b"X: ", reset=True), None, "connection_reset"),
    "has two lengths": Hostile(says(HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"), None, "protocol"),
    "has a length and chunks": Hostile(
        says(HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), None, "protocol"
    ),
    "has a negative length": Hostile(says(HEAD + b"Content-Length: -5\r\n\r\nhello"), None, "protocol"),
    "has an astronomic length": Hostile(says(HEAD + b"Content-Length: %d\r\n\r\n" % 10**30), None, "protocol"),
    "has an astronomic chunk": Hostile(says(CHUNKED + b"F" * 17 + b"\r\n"), None, "protocol"),
    "has a body where none may be": Hostile(
        says(b"HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\nhello"), None, "protocol"
    ),
}
STATUS_LINES = [
    *(
        b"HTTP/1.1 99 X",
        b"HTTP/1.1 1000 X",
        b"HTTP/1.1 -200 X",
        b"HTTP/1.1 000 X",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2x0 OK",
    ),
    *(
        b"HTTP/1.1 0x1 OK",
        b"HTTP/1.1 +20 OK",
        b"HTTP/1.1 20000000000000000000 OK",
        b"HTTP/1.1 \xef\xbc\x92\xef\xbc\x90 OK",
    ),
    *(b"HTTP/9.9 200 OK", b"HTTP/2 200", b"HTTP/1.1200 OK", b"http/1.1 200 OK", b"ICY 200 OK", b"200 OK", b"\0\0\0\0"),
    *(b"HTTP/1.1  200 OK", b"HTTP/1.1\t200\tOK", b" HTTP/1.1 200 OK", b"HTTP/1.1 200\0 OK", b"GET / HTTP/1.1"),
]
RECEIVERS |= {
    f"says {line.decode('latin-1')!r}": Hostile(says(line + b"\r\nContent-Length: 0\r\n\r\n"), None, "protocol")
    for line in STATUS_LINES
}


class Finding(NamedTuple):
    status: int | None
    error: str | None
    kept: int


@dataclass
class Sender:
    """Sends as a webhook is sent, or as a call of any HTTP API is."""

    client: httpx.AsyncClient
    notifier: Notifier | None

    async def send(self, url: str, timeout: float = WAIT_TIMEOUT) -> Finding:
        if self.notifier is None:
            answer = await send(self.client, "POST", url, body=b"{}", headers={}, timeout=timeout)
            return Finding(answer.status_code, answer.error, len(answer.body))
        call = RenderedHttpCall(method="POST", url=url, headers={}, body=b"{}")
        note = await self.notifier.send(call, timeout=timeout, keep=4096)
        assert (note.verdict == "succeeded") == (note.error is None)
        return Finding(note.status_code, note.error, len(note.text))


@pytest.fixture(params=["webhook", "notification"])
async def sender(request: pytest.FixtureRequest) -> AsyncIterator[Sender]:
    async with sending(request.param) as sender:
        yield sender


@asynccontextmanager
async def sending(kind: str) -> AsyncIterator[Sender]:
    async with make_client(LOOPBACK) as client:
        yield Sender(client, Notifier(client) if kind == "notification" else None)


async def attempt(sender: Sender, hostile: Hostile) -> RawReceiver:
    """Make one attempt; see that it ended as it should, and in time."""
    async with receiving(hostile.script) as receiver:
        async with asyncio.timeout(CALL_TIMEOUT):
            finding = await sender.send(receiver.url(), hostile.timeout)
        assert (finding.status, finding.error) == (hostile.status, hostile.error)
        assert finding.kept <= 4096
        if hostile.script is floods_afterwards:
            await asyncio.sleep(0.3)
        return receiver


@pytest.mark.parametrize("name", RECEIVERS)
async def test_each_attempt_ends_in_time_with_the_right_error(sender: Sender, name: str) -> None:
    receiver = await attempt(sender, RECEIVERS[name])
    assert len(receiver.requests) == 1


async def test_a_receiver_that_sends_unrequested_answers_is_cut_off(sender: Sender) -> None:
    """Timeline: an answer, and more of them while the connection waits for the next request. aiohttp keeps them all."""
    async with receiving(floods_afterwards) as receiver:
        assert (await sender.send(receiver.url())).error is None
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not receiver.peers[0].writer.is_closing():
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "body",
    [
        b"1\r\nx\r\n" * 70_000,
        b"0" * 4 * MEGABYTE,
        b"1;" + b"a" * 4 * MEGABYTE,
        (b"1;" + b"a" * 3000 + b"\r\nx\r\n") * 1000,
    ],
    ids=["chunks of a byte", "zeros", "an extension", "chunks with extensions"],
)
async def test_the_framing_of_a_body_costs_little(sender: Sender, body: bytes) -> None:
    async def script(peer: Peer) -> None:
        peer.writer.write(CHUNKED + body)

    async with receiving(script) as receiver:
        assert await sender.send(receiver.url()) == (200, None, ANY)
        begun = time.thread_time()
        for _ in range(20):
            await sender.send(receiver.url())
        assert time.thread_time() - begun < 1


async def test_a_hostile_receiver_affects_no_later_request(sender: Sender) -> None:
    for name in ("sends 500 MB", "resets in its body", "sends 10,000 headers", "answers endlessly"):
        await attempt(sender, RECEIVERS[name])
        async with receiving(says(OK)) as receiver:
            assert await sender.send(receiver.url()) == (200, None, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_all_of_them_together_cost_little_memory() -> None:
    """Setup: one client of each kind, warmed up by one good receiver. Timeline: all hostile ones, eight at a time."""
    slots = asyncio.Semaphore(8)

    async def suffer(sender: Sender, hostile: Hostile) -> None:
        async with slots, receiving(hostile.script) as receiver:
            await sender.send(receiver.url(), TIMEOUT)
            await asyncio.sleep(0.3)  # for those that go on

    async with sending("webhook") as webhooks, sending("notification") as notifications, receiving(says(OK)) as good:
        for sender in (webhooks, notifications):
            assert (await sender.send(good.url())).error is None
        before = peak = resident()
        suffering = asyncio.gather(
            *(suffer(sender, receiver) for receiver in RECEIVERS.values() for sender in (webhooks, notifications))
        )
        while not suffering.done():
            peak = max(peak, resident())
            await asyncio.sleep(0.005)
        await suffering
    grown = (peak - before) / MEGABYTE
    assert grown < 20


def resident() -> int:
    """Return this process's resident memory, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
