"""A name server for drills: it resolves some names, and never answers queries below another."""

import asyncio
import struct
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from typing import cast

QUIET, SILENT = "quiet.test", "silent.test"
"""The name of the loopback address, and the domain that gets no response (RFC 6761)."""
_A, _INTERNET, _ANSWERED = 1, 1, 0x8580
_HEADER = struct.Struct("!6H")


class QuietNameServer(asyncio.DatagramProtocol):
    """Implements as much of RFC 1035 as the lookup of a host needs."""

    def __init__(self, names: Collection[str], ttl: int) -> None:
        self._names, self._ttl = names, ttl

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # not a subclass on Python 3.11

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        name, end = _name(data)
        kind = int.from_bytes(data[end : end + 2])
        if name.endswith(SILENT):
            return
        found = [IPv4Address("127.0.0.1")] if name in self._names and kind == _A else []
        code = 0 if name in self._names else 3  # 3: the name does not exist
        head = _HEADER.pack(int.from_bytes(data[:2]), _ANSWERED | code, 1, len(found), 0, 0)
        answers = b"".join(struct.pack("!3HIH", 0xC00C, _A, _INTERNET, self._ttl, 4) + ipv4.packed for ipv4 in found)
        self._transport.sendto(head + data[_HEADER.size : end + 4] + answers, address)


def _name(data: bytes) -> tuple[str, int]:
    """Return the name in a query, and the position where it ends."""
    labels, at = [], _HEADER.size
    while size := data[at]:
        labels.append(data[at + 1 : at + 1 + size].decode("ascii", "replace").lower())
        at += 1 + size
    return ".".join(labels), at + 1


@asynccontextmanager
async def name_server(names: Collection[str] = (QUIET,), ttl: int = 60) -> AsyncIterator[str]:
    """Serve on the loopback address, and yield `address:port`. `names`, which may change, have that address."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: QuietNameServer(names, ttl), ("127.0.0.1", 0))
    try:
        host, port = transport.get_extra_info("sockname")
        yield f"{host}:{port}"
    finally:
        transport.close()
