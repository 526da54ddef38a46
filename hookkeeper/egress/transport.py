"""The httpx transport: aiohttp with a connector that checks each address.

Cookies, redirects, decompression, default headers and settings from the environment are off. aiohttp rejects header
lines over 8 KiB and more than 128 headers.
"""

import asyncio
import ssl
from functools import cache

import aiohttp
import httpx
from cachetools import LRUCache
from httpx_aiohttp.transport import AiohttpResponseStream, map_aiohttp_exceptions

from hookkeeper.content.tls import ECDHE, Tls, context_of
from hookkeeper.content.urls import check_reachable
from hookkeeper.egress import proxy
from hookkeeper.egress.addresses import ForbiddenAddress, Networks
from hookkeeper.egress.connector import Connector
from hookkeeper.egress.proxy import Proxy
from hookkeeper.egress.resolver import Lookups
from hookkeeper.limits.tenant_limit import TenantLimit

MAX_CACHED_CONTEXTS = 64
"""TLS contexts of webhooks. With public roots, each takes 0.7 MB and 20 ms of CPU time."""

_DROPPED_HEADERS = frozenset({b"set-cookie", b"location"})
"""httpx would store cookies and prepare redirects, so an invalid Location would hide the status."""
ALL_HEADERS = "all_headers"
"""The extension of a response that has all its headers, to be shown."""


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
