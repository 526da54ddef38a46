"""An aiohttp connector that checks each address and drops connections whose peer violates the protocol."""

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
from hookkeeper.egress.addresses import EVERYWHERE, Networks, check_connection
from hookkeeper.egress.link import Link, current_link
from hookkeeper.egress.resolver import Lookups, Resolver
from hookkeeper.limits.tenant_limit import TenantLimit

KEEPALIVE_TIMEOUT = 4.0
"""Seconds. Less than the 5 of Node, uvicorn and Apache, so that the client closes first."""
MAX_HEADER_BYTES = 64 * 1024
"""Bytes of a response's headers, including interim responses: aiohttp alone would accept a megabyte."""
MAX_INTERIM_RESPONSES = 64
"""1xx responses to one request: reading more of them at full speed would block the worker."""


class Connector(aiohttp.TCPConnector):
    """Records whether a connection is reused, and drops one on which the peer has sent unsolicited data.

    With an egress proxy, it connects to the proxy only, at any address.
    """

    def __init__(
        self,
        allowed: Networks,
        tls: ssl.SSLContext,
        egress_proxy: proxy.Proxy | None,
        lookups: Lookups,
        handshakes: TenantLimit | None = None,
    ) -> None:
        self._resolver = Resolver(EVERYWHERE if egress_proxy else allowed, lookups)
        super().__init__(
            limit=0,
            ssl=tls,
            resolver=self._resolver,
            use_dns_cache=False,  # tenants with the same host name would share a slot; c-ares has a cache
            socket_factory=None if egress_proxy else partial(_socket, allowed),
            keepalive_timeout=KEEPALIVE_TIMEOUT,
        )
        self._factory = cast("partial[ResponseHandler]", partial(_Protocol, loop=self._loop))
        self._allowed = allowed
        self._egress_proxy = egress_proxy
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
            # aiohttp would treat data received on an idle connection as the response to this request.
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
        if self._egress_proxy is None:
            return await super().connect(req, traces, timeout)
        link.awaits_proxy = True
        with proxy.errors_translated():
            connection = await super().connect(req, traces, timeout)
        link.awaits_proxy = False
        return connection

    async def _create_direct_connection(self, *args: Any, **kwargs: Any) -> tuple[asyncio.Transport, ResponseHandler]:
        """Note that the egress proxy is connected; its tunnel comes next."""
        connection = await super()._create_direct_connection(*args, **kwargs)
        if link := current_link.get():
            link.awaits_proxy = False
        return connection

    async def _wrap_create_connection(self, *args: Any, **kwargs: Any) -> tuple[asyncio.Transport, ResponseHandler]:
        """Connect, with a handshake slot if the connection uses TLS."""
        if self._handshakes is None or not kwargs.get("ssl"):
            return await super()._wrap_create_connection(*args, **kwargs)
        async with (current_link.get() or Link()).slot_in(self._handshakes, "TLS handshakes under way"):
            return await super()._wrap_create_connection(*args, **kwargs)

    async def _start_tls_connection(self, *args: Any, **kwargs: Any) -> tuple[asyncio.BaseTransport, ResponseHandler]:
        """Start TLS in the tunnel of an egress proxy, with a handshake slot."""
        if self._handshakes is None:
            return await super()._start_tls_connection(*args, **kwargs)
        async with (current_link.get() or Link()).slot_in(self._handshakes, "TLS handshakes under way"):
            return await super()._start_tls_connection(*args, **kwargs)

    async def end(self) -> None:
        """Close all connections and the resolver."""
        await self.close()
        await self._resolver.close()


class _Protocol(ResponseHandler):
    """Aborts the connection on unsolicited data, which aiohttp would buffer without limit.

    Also limits interim responses and the size of headers.
    """

    idle = False
    _interim = 0
    _header_bytes = 0
    _has_headers = False

    def begin(self) -> None:
        """Expect the response to one request."""
        self.idle, self._interim, self._header_bytes, self._has_headers = False, 0, 0, False

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        is_interim = data[0].code in range(100, 200)
        self._interim += is_interim
        self._has_headers = not is_interim
        if self._interim <= MAX_INTERIM_RESPONSES:
            super().feed_data(data, size)
        elif self.exception() is None:
            self.set_exception(HttpProcessingError(message="too many interim responses"))

    def data_received(self, data: bytes) -> None:
        if self.idle:
            self.abort()
            return
        super().data_received(data)
        self._header_bytes += len(data)
        if not self._has_headers and self._header_bytes > MAX_HEADER_BYTES and self.exception() is None:
            self.set_exception(HttpProcessingError(message="too many bytes of headers"))


def _socket(allowed: Networks, info: AddrInfoType) -> socket.socket:
    """Create the socket for a checked address: aiohttp connects to exactly this address, without a second lookup."""
    family, kind, protocol, _, address = info
    link = current_link.get()
    check_connection(str(address[0]), int(address[1]), allowed, trusted=link is not None and link.trusted)
    return socket.socket(family, kind, protocol)
