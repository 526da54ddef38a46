"""aiohttp's connector, made to judge each address that it connects to, and to keep no connection that misbehaves."""

import asyncio
import socket
import ssl
from functools import partial
from typing import Any, cast
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace

from hookkeeper.egress import proxy
from hookkeeper.egress.link import Link, current_link
from hookkeeper.egress.network import EVERYWHERE, Networks, judge
from hookkeeper.egress.resolver import Lookups, Resolver
from hookkeeper.limits.tenant_limit import TenantLimit

KEEPALIVE = 4.0
"""Seconds that an idle connection is kept: under the 5 of Node, uvicorn and Apache, so that it is we who close."""
MAX_HEAD = 64 * 1024
"""Bytes of an answer's headers, with those of interim answers: aiohttp alone would take a megabyte."""
MAX_INTERIM = 64
"""Answers of 1xx to one request: reading them as fast as they come would keep the worker from all else."""


class Connector(aiohttp.TCPConnector):
    """Tells whether a connection was used before, and drops one on which the peer has spoken out of turn.

    With an egress proxy that is all it connects to, wherever that may be.
    """

    def __init__(
        self,
        allowed: Networks,
        tls: ssl.SSLContext,
        through: proxy.Proxy | None,
        lookups: Lookups,
        handshakes: TenantLimit | None = None,
    ) -> None:
        self._names = Resolver(EVERYWHERE if through else allowed, lookups)
        super().__init__(
            limit=0,
            ssl=tls,
            resolver=self._names,
            use_dns_cache=False,  # tenants that share a name would wait for each other's places; c-ares has a cache
            socket_factory=None if through else partial(_socket, allowed),
            keepalive_timeout=KEEPALIVE,
        )
        self._factory = cast("partial[ResponseHandler]", partial(_Protocol, loop=self._loop))
        self._allowed = allowed
        self._through = through
        self._handshakes = handshakes
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        link = current_link.get() or Link()
        link.trusted = self._allowed.trust(req.url.host or "")
        while True:
            connection = await self._connect(link, req, traces, timeout)
            protocol = connection.protocol
            assert isinstance(protocol, _Protocol)
            link.reused = protocol in self._used
            # aiohttp would take what came on an idle connection for the answer to this request.
            if not (link.reused and (link.fresh or protocol.should_close)):
                break
            connection.close()
        self._used.add(protocol)
        protocol.begin()
        link.protocol, link.transport = protocol, connection.transport
        return connection

    async def _connect(
        self, link: Link, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        if self._through is None:
            return await super().connect(req, traces, timeout)
        link.awaits_proxy = True
        with proxy.blaming():
            connection = await super().connect(req, traces, timeout)
        link.awaits_proxy = False
        return connection

    async def _create_direct_connection(self, *args: Any, **kwargs: Any) -> tuple[asyncio.Transport, ResponseHandler]:
        """Note that it stands: with an egress proxy, a tunnel through it is what comes next."""
        made = await super()._create_direct_connection(*args, **kwargs)
        if link := current_link.get():
            link.awaits_proxy = False
        return made

    async def _wrap_create_connection(self, *args: Any, **kwargs: Any) -> tuple[asyncio.Transport, ResponseHandler]:
        """Open a connection, and make its handshake if it has TLS."""
        if self._handshakes is None or not kwargs.get("ssl"):
            return await super()._wrap_create_connection(*args, **kwargs)
        async with (current_link.get() or Link()).place_in(self._handshakes):
            return await super()._wrap_create_connection(*args, **kwargs)

    async def _start_tls_connection(self, *args: Any, **kwargs: Any) -> tuple[asyncio.BaseTransport, ResponseHandler]:
        """Make the handshake within the tunnel of an egress proxy."""
        if self._handshakes is None:
            return await super()._start_tls_connection(*args, **kwargs)
        async with (current_link.get() or Link()).place_in(self._handshakes):
            return await super()._start_tls_connection(*args, **kwargs)

    async def end(self) -> None:
        """Close all connections, and stop name lookups."""
        await self.close()
        await self._names.close()


class _Protocol(ResponseHandler):
    """Cuts the connection where the peer talks on though nothing was asked: aiohttp would keep all that it says.

    Takes few interim answers, of which aiohttp takes any number, and headers of bounded size.
    """

    idle = False
    _interim = 0
    _head = 0
    """Bytes that have come of an answer whose headers are not complete."""
    _has_headers = False

    def begin(self) -> None:
        """Expect the answer to one request."""
        self.idle, self._interim, self._head, self._has_headers = False, 0, 0, False

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        is_interim = data[0].code in range(100, 200)
        self._interim += is_interim
        self._has_headers = not is_interim
        if self._interim <= MAX_INTERIM:
            super().feed_data(data, size)
        elif self.exception() is None:
            self.set_exception(HttpProcessingError(message="too many interim responses"))

    def data_received(self, data: bytes) -> None:
        if self.idle:
            self.abort()
            return
        super().data_received(data)
        self._head += len(data)
        if not self._has_headers and self._head > MAX_HEAD and self.exception() is None:
            self.set_exception(HttpProcessingError(message="too many bytes of headers"))


def _socket(allowed: Networks, info: AddrInfoType) -> socket.socket:
    """Open a socket for the very address that gets connected: no second name lookup can come between."""
    family, kind, protocol, _, address = info
    link = current_link.get()
    judge(str(address[0]), int(address[1]), allowed, trusted=link is not None and link.trusted)
    return socket.socket(family, kind, protocol)
