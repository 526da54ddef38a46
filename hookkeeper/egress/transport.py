"""What lies under the HTTP client: aiohttp, over a connector that judges each address it connects to.

Without what it does for browsers: cookies, redirects, decompression, headers of its own, proxies and all else that
comes from the environment. aiohttp refuses header lines of over 8 KiB and more than 128 of them.
"""

import asyncio
import ssl
from collections import OrderedDict

import aiohttp
import httpx
from httpx_aiohttp.transport import AiohttpResponseStream, map_aiohttp_exceptions

from hookkeeper.content.tls import ECDHE, Tls, context_of
from hookkeeper.content.urls import check_reachable
from hookkeeper.egress import proxy
from hookkeeper.egress.connector import Connector
from hookkeeper.egress.network import ForbiddenAddress, Networks
from hookkeeper.egress.proxy import Proxy
from hookkeeper.egress.resolver import Lookups
from hookkeeper.limits.tenant_limit import TenantLimit

KEPT_CONTEXTS = 64
"""TLS of that many webhooks is kept ready: with a store of public roots each takes 0.7 MB, and 20 ms of computing."""

_NOT_HEARD = frozenset({b"set-cookie", b"location"})
"""httpx keeps cookies, and prepares redirects that it does not follow: a bad Location would hide a status."""


class Transport(httpx.AsyncBaseTransport):
    """Reaches global unicast addresses and those in `allowed`; nothing of one answer influences a later request.

    A request's extension `tls` says what TLS its webhook asks for. aiohttp keeps connections of another TLS apart.
    """

    def __init__(
        self,
        allowed: Networks,
        tls: ssl.SSLContext,
        through: Proxy | None,
        lookups: Lookups,
        handshakes: TenantLimit | None = None,
    ) -> None:
        """`handshakes` limits the connections with TLS that are opened at once for one tenant."""
        self._allowed, self._tls, self._through, self._lookups = allowed, tls, through, lookups
        self._handshakes = handshakes
        self._session: aiohttp.ClientSession | None = None
        self._contexts: OrderedDict[Tls, ssl.SSLContext] = OrderedDict()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._through:
            self._prepare(request, self._through)
        with map_aiohttp_exceptions():
            response = await self._opened().request(
                request.method,
                str(request.url),
                headers=request.headers,
                data=request.content or None,
                allow_redirects=False,
                compress=False,
                timeout=aiohttp.ClientTimeout(),
                ssl=await self._context(request.extensions.get("tls")),
                proxy_headers=self._through.headers if self._through else None,
            )
        if response.status == 407 and self._through and "proxy-authenticate" in response.headers:
            response.close()
            raise proxy.answered(407, response.headers)
        return httpx.Response(
            response.status,
            headers=[line for line in response.raw_headers if line[0].lower() not in _NOT_HEARD],
            stream=AiohttpResponseStream(response),
            request=request,
        )

    async def aclose(self) -> None:
        if self._session is not None:
            connector = self._session.connector
            assert isinstance(connector, Connector)
            await connector.end()
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        """Give the session. It is made at first use, as it needs a running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=Connector(self._allowed, self._tls, self._through, self._lookups, self._handshakes),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
                auto_decompress=False,
                trust_env=False,
                proxy=self._through.url if self._through else None,
            )
        return self._session

    def _prepare(self, request: httpx.Request, through: Proxy) -> None:
        """Judge the URL as it is written: names are looked up by the proxy, and are its to judge."""
        try:
            check_reachable(str(request.url), self._allowed)
        except ValueError as error:
            raise ForbiddenAddress(str(error)) from None
        if request.url.scheme == "http":  # for https the proxy's password goes along with CONNECT alone
            request.headers.update(through.headers)

    async def _context(self, tls: Tls | None) -> ssl.SSLContext:
        """Give what a webhook's TLS comes to. Raises ssl.SSLError where it comes to nothing."""
        if tls is None:
            return self._tls
        if tls not in self._contexts:
            self._contexts[tls] = await asyncio.to_thread(_context_of, tls)
            if len(self._contexts) > KEPT_CONTEXTS:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(tls)
        return self._contexts[tls]


def _context_of(tls: Tls) -> ssl.SSLContext:
    try:
        return context_of(tls, public_roots)
    except ValueError as error:
        raise ssl.SSLError(str(error)) from error


def public_roots() -> ssl.SSLContext:
    """Trust certifi's roots, whatever the environment says."""
    context = httpx.create_ssl_context(trust_env=False)
    context.set_ciphers(ECDHE)
    return context
