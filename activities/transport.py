"""What lies under the HTTP client: httpx-aiohttp, over an aiohttp that judges each address it connects to.

Without what both do for browsers: cookies, redirects, decompression, headers of their own, proxies and all else
that comes from the environment. aiohttp refuses header lines of over 8 KiB and more than 128 of them.
"""

import asyncio
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from weakref import WeakSet

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.tracing import Trace
from httpx_aiohttp import AiohttpTransport

from activities.network import ForbiddenAddress, Networks, is_allowed

KEEPALIVE = 4.0
"""Seconds that an idle connection is kept: under the 5 of Node, uvicorn and Apache, so that it is we who close."""
DNS_THREADS = 64
"""Names looked up at once. asyncio has some 6 threads for that, uvloop 4: a few dead name servers took them all."""


@dataclass(slots=True)
class Link:
    """The connection of one request: what its sender and the connector tell each other."""

    fresh: bool = False
    """Asked: take no connection that was used before."""
    reused: bool = False
    """Told: it was used before."""
    transport: asyncio.Transport | None = None
    done: bool = False
    """Told: the answer came whole, so the connection may be kept."""

    def end(self) -> None:
        """Drop a connection that is not kept: a mere close waits until the peer has read all, maybe for ever."""
        if self.transport is not None and (not self.done or self.transport.is_closing()):
            self.transport.abort()


current_link: ContextVar[Link | None] = ContextVar("current_link", default=None)


class Transport(AiohttpTransport):
    """Reaches global unicast addresses and those in `allowed`; nothing of one answer influences a later request."""

    def __init__(self, allowed: Networks, tls: ssl.SSLContext) -> None:
        self._resolver = _Resolver(allowed)
        super().__init__(verify=tls, trust_env=False, client=partial(_session, allowed, tls, self._resolver))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        # httpx keeps cookies, and prepares redirects that it does not follow: a bad Location would hide a status.
        for name in ("set-cookie", "location"):
            response.headers.pop(name, None)
        return response

    async def aclose(self) -> None:
        await super().aclose()
        await self._resolver.close()


def _session(allowed: Networks, tls: ssl.SSLContext, resolver: AbstractResolver) -> aiohttp.ClientSession:
    connector = _Connector(
        limit=0,
        ssl=tls,
        resolver=resolver,
        socket_factory=partial(_socket, allowed),
        keepalive_timeout=KEEPALIVE,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        response_class=_Response,
        skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
        trust_env=False,
    )


def _socket(allowed: Networks, info: AddrInfoType) -> socket.socket:
    """Open a socket for the very address that gets connected: no second name lookup can come between."""
    family, kind, protocol, _, address = info
    if not is_allowed(str(address[0]), allowed):
        raise ForbiddenAddress(f"{address[0]} may not be reached from here")
    return socket.socket(family, kind, protocol)


class _Connector(aiohttp.TCPConnector):
    """Tells whether a connection was used before, and drops one on which the peer has spoken out of turn."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        link = current_link.get() or Link()
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None
            link.reused = protocol in self._used
            # aiohttp would take what came on an idle connection for the answer to this request.
            if not (link.reused and (link.fresh or protocol.should_close)):
                break
            connection.close()
        self._used.add(protocol)
        link.transport = connection.transport
        return connection


class _Resolver(AbstractResolver):
    """Looks names up in threads of its own, and leaves out the addresses that may not be reached.

    Each socket is judged, too; but there one forbidden address would hide what became of the others of its name.
    """

    def __init__(self, allowed: Networks) -> None:
        self._allowed = allowed
        self._threads = ThreadPoolExecutor(DNS_THREADS, thread_name_prefix="dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Give the addresses of a name. Raises gaierror, or ForbiddenAddress where all of them are forbidden."""
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        try:
            infos = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        except UnicodeError as exc:  # a label that is empty or has more than 63 characters
            raise socket.gaierror(socket.EAI_NONAME, f"{host!r} is no host name") from exc
        addresses = [str(info[4][0]) for info in infos if is_allowed(str(info[4][0]), self._allowed)]
        if not addresses:
            raise ForbiddenAddress(f"no address of {host} may be reached from here")
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=flags)
            for address in addresses
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Response(aiohttp.ClientResponse):
    """Forgets the reason phrase: httpx-aiohttp encodes it, which raises where it came as no UTF-8."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        await super().start(connection)
        self.reason = None
        return self
