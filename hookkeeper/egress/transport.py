"""The httpx transport: aiohttp with a connector that checks each address, and a reader with limits.

Cookies, redirects, decompression, default headers and settings from the environment are off. aiohttp rejects header
lines over 8 KiB and more than 128 headers.
"""

import asyncio
import socket
import ssl
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import cache, partial
from typing import Any, cast
from weakref import WeakSet

import aiohttp
import httpx
from aiohttp import ClientPayloadError
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace
from cachetools import LRUCache
from httpx_aiohttp.transport import AiohttpResponseStream, map_aiohttp_exceptions

from hookkeeper.addresses import EVERYWHERE, ForbiddenAddress, Networks, check_connection
from hookkeeper.content.tls import ECDHE, Tls, context_of
from hookkeeper.content.urls import check_reachable
from hookkeeper.egress import proxy
from hookkeeper.egress.proxy import Proxy
from hookkeeper.egress.request_state import RequestState, current_request
from hookkeeper.egress.resolver import Lookups, Resolver
from hookkeeper.limits import TenantLimit

MAX_CACHED_CONTEXTS = 64
"""TLS contexts of webhooks. With public roots, each takes 0.7 MB and 20 ms of CPU time."""

_DROPPED_HEADERS = frozenset({b"set-cookie", b"location"})
"""httpx would store cookies and prepare redirects, so an invalid Location would hide the status."""
ALL_HEADERS = "all_headers"
"""The extension of a response that has all its headers, to be shown."""


KEEPALIVE_TIMEOUT = 4.0
"""Seconds. Less than the 5 of Node, uvicorn and Apache, so that the client closes first."""
MAX_HEADER_BYTES = 64 * 1024
"""Bytes of a response's headers, including interim responses: aiohttp alone would accept a megabyte."""
MAX_INTERIM_RESPONSES = 64
"""1xx responses to one request: reading more of them at full speed would block the worker."""
MAX_FRAMING_BYTES = 8 * 1024
"""Bytes of a body's chunk sizes, extensions and trailers. Chunks of a byte cost the worker a hundred times what a whole
body does."""
PORTION = 4 * 1024
"""Bytes that are parsed at once: no limit is exceeded by more."""


class Transport(httpx.AsyncBaseTransport):
    """Connects to global unicast addresses and those in `allowed`. Responses do not affect later requests.

    A request's extension `tls` has the TLS settings of its webhook. aiohttp reuses connections only with the same ones.
    """

    def __init__(
        self,
        allowed: Networks,
        tls: ssl.SSLContext,
        egress_proxy: Proxy | None,
        lookups: Lookups,
        handshakes: TenantLimit | None = None,
    ) -> None:
        """`handshakes` limits the concurrent TLS handshakes of a tenant."""
        self._allowed, self._tls, self._proxy, self._lookups = allowed, tls, egress_proxy, lookups
        self._handshakes = handshakes
        self._session: aiohttp.ClientSession | None = None
        self._contexts: LRUCache[Tls, ssl.SSLContext] = LRUCache(MAX_CACHED_CONTEXTS)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._proxy:
            self._prepare(request, self._proxy)
        with map_aiohttp_exceptions():
            response = await self._get_session().request(
                request.method,
                str(request.url),
                headers=[(name.lower().decode(), value.decode()) for name, value in request.headers.raw],
                data=request.content or None,
                allow_redirects=False,
                compress=False,
                timeout=aiohttp.ClientTimeout(),
                ssl=await self._context(request.extensions.get("tls")),
                proxy_headers=self._proxy.headers if self._proxy else None,
            )
        if response.status == 407 and self._proxy and "proxy-authenticate" in response.headers:
            response.close()
            raise proxy.error_of(407, response.headers)
        return httpx.Response(
            response.status,
            headers=[line for line in response.raw_headers if line[0].lower() not in _DROPPED_HEADERS],
            stream=AiohttpResponseStream(response),
            extensions={ALL_HEADERS: response.raw_headers},
            request=request,
        )

    async def aclose(self) -> None:
        if self._session is not None:
            connector = self._session.connector
            assert isinstance(connector, Connector)
            await connector.end()
            await self._session.close()

    def _get_session(self) -> aiohttp.ClientSession:
        """Return the session, created at first use because it needs a running event loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=Connector(self._allowed, self._tls, self._proxy, self._lookups, self._handshakes),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
                auto_decompress=False,
                trust_env=False,
                proxy=self._proxy.url if self._proxy else None,
            )
        return self._session

    def _prepare(self, request: httpx.Request, egress_proxy: Proxy) -> None:
        """Check the URL only: the proxy resolves host names and checks their addresses."""
        try:
            check_reachable(str(request.url), self._allowed)
        except ValueError as error:
            raise ForbiddenAddress(str(error)) from None
        if request.url.scheme == "http":  # for https, CONNECT carries the proxy's password
            request.headers.update(egress_proxy.headers)

    async def _context(self, tls: Tls | None) -> ssl.SSLContext:
        """Return the TLS context of a webhook. Raises ssl.SSLError for invalid settings."""
        if tls is None:
            return self._tls
        context = self._contexts.get(tls)
        if context is None:
            context = self._contexts[tls] = await asyncio.to_thread(_context_of, tls)
        return context


def _context_of(tls: Tls) -> ssl.SSLContext:
    try:
        return context_of(tls, public_roots)
    except ValueError as error:
        raise ssl.SSLError(str(error)) from error


def public_roots() -> ssl.SSLContext:
    """Return a context that trusts certifi's roots, independent of the environment."""
    context = httpx.create_ssl_context(trust_env=False)
    context.set_ciphers(ECDHE)
    return context


@cache
def default_tls() -> ssl.SSLContext:
    """Return the context of all webhooks without TLS settings. Reading the roots takes 10 ms of CPU time."""
    return public_roots()


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
        self._factory = cast("partial[ResponseHandler]", partial(ResponseReader, loop=self._loop))
        self._allowed = allowed
        self._egress_proxy = egress_proxy
        self._handshakes = handshakes
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        state = current_request.get() or RequestState()
        state.trusted = self._allowed.trust(req.url.host or "")
        while True:
            start, waited = time.perf_counter(), state.waited
            try:
                connection = await self._connect(state, req, traces, timeout)
            finally:
                state.connecting = time.perf_counter() - start - (state.waited - waited)
            reader = connection.protocol
            assert isinstance(reader, ResponseReader)
            state.reused = reader in self._used
            # aiohttp would treat data received on an idle connection as the response to this request.
            if not (state.reused and (state.fresh or reader.should_close)):
                break
            connection.close()
        if state.reused:
            state.connecting = None
        state.connected_at = time.perf_counter()
        self._used.add(reader)
        reader.begin()
        state.reader = reader
        return connection

    async def _connect(
        self, state: RequestState, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        if self._egress_proxy is None:
            return await super().connect(req, traces, timeout)
        state.awaits_proxy = True
        with proxy.errors_translated():
            connection = await super().connect(req, traces, timeout)
        state.awaits_proxy = False
        return connection

    async def _create_direct_connection(self, *args: Any, **kwargs: Any) -> tuple[asyncio.Transport, ResponseHandler]:
        """Note that the egress proxy is connected; its tunnel comes next."""
        connection = await super()._create_direct_connection(*args, **kwargs)
        if state := current_request.get():
            state.awaits_proxy = False
        return connection

    async def _wrap_create_connection(self, *args: Any, **kwargs: Any) -> tuple[asyncio.Transport, ResponseHandler]:
        """Connect, with a handshake slot if the connection uses TLS."""
        async with self._handshake_slot() if kwargs.get("ssl") else nullcontext():
            return await super()._wrap_create_connection(*args, **kwargs)

    async def _start_tls_connection(self, *args: Any, **kwargs: Any) -> tuple[asyncio.BaseTransport, ResponseHandler]:
        """Start TLS in the tunnel of an egress proxy, with a handshake slot."""
        async with self._handshake_slot():
            return await super()._start_tls_connection(*args, **kwargs)

    def _handshake_slot(self) -> AbstractAsyncContextManager[None]:
        if self._handshakes is None:
            return nullcontext()
        return (current_request.get() or RequestState()).slot_in(self._handshakes, "TLS handshakes under way")

    async def end(self) -> None:
        """Close all connections and the resolver."""
        await self.close()
        await self._resolver.close()


def _socket(allowed: Networks, info: AddrInfoType) -> socket.socket:
    """Create the socket for a checked address: aiohttp connects to exactly this address, without a second lookup."""
    family, kind, protocol, _, address = info
    state = current_request.get()
    check_connection(str(address[0]), int(address[1]), allowed, trusted=state is not None and state.trusted)
    return socket.socket(family, kind, protocol)


class ResponseReader(ResponseHandler):
    """Aborts the connection on unsolicited data, which aiohttp would buffer without limit.

    Also limits interim responses, the size of headers, and what a body has besides its content.
    """

    idle = False
    is_body_cut_off = False
    """The body has too much framing. No more of it is read; its status counts, as with a body that is too large."""
    _connection: asyncio.Transport | None = None
    """The transport of the request, which aiohttp removes from the reader when it closes it."""
    _interim = 0
    _header_bytes = 0
    _has_headers = False
    _body: StreamReader | None = None
    _body_bytes = 0
    """Bytes of the body, as received, except for what came together with the headers."""

    def begin(self) -> None:
        """Expect the response to one request."""
        self._connection = self.transport
        self.idle, self._interim, self._header_bytes, self._has_headers = False, 0, 0, False
        self.is_body_cut_off, self._body, self._body_bytes = False, None, 0

    def end(self, *, keep_alive: bool) -> None:
        """Expect no data. Without `keep_alive`, abort: `close` would wait until the peer has read everything."""
        if self._connection and (not keep_alive or self._connection.is_closing()):
            self._connection.abort()
        self.idle = True

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        is_interim = data[0].code in range(100, 200)
        self._interim += is_interim
        self._has_headers = not is_interim
        self._body = data[1]
        if self._interim <= MAX_INTERIM_RESPONSES:
            super().feed_data(data, size)
        elif self.exception() is None:
            self.set_exception(HttpProcessingError(message="too many interim responses"))

    def data_received(self, data: bytes) -> None:
        if self.idle:
            self.abort()
            return
        for begin in range(0, len(data) or 1, PORTION):  # aiohttp itself passes no bytes to continue
            if self.exception() is None:
                self._parse(data[begin : begin + PORTION])

    def _parse(self, data: bytes) -> None:
        self._body_bytes += len(data) if self._has_headers else 0
        super().data_received(data)
        if self.exception() is not None:
            return
        if not self._has_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self.set_exception(HttpProcessingError(message="too many bytes of headers"))
        elif self._body is not None and self._body_bytes - self._body.total_bytes > MAX_FRAMING_BYTES:
            self.is_body_cut_off = True
            error = ClientPayloadError("too many bytes of framing")
            self.set_exception(error)
            self._body.set_exception(error)
