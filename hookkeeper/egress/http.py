"""The HTTP client for webhooks, calls of HTTP APIs and SendGrid. Services use `hookkeeper.egress.guarded_requests`.

`send` tells what the receiver did; it raises for our own faults only.
"""

import asyncio
import errno
import logging
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import aiohttp
import httpx
import yarl

from hookkeeper.content.tls import Tls
from hookkeeper.content.urls import check_scheme
from hookkeeper.egress.link import Link, current_link
from hookkeeper.egress.network import ForbiddenAddress, Networks
from hookkeeper.egress.proxy import Proxy, ProxyFailed, Unreached
from hookkeeper.egress.resolver import Lookups
from hookkeeper.egress.tls_thread import TlsThread
from hookkeeper.egress.transport import Transport, public_roots
from hookkeeper.limits.tenant_limit import TenantLimit

READ_LIMIT = 64 * 1024
"""Bytes of a response body that are read at most."""
MAX_HANDSHAKES = 4
"""Connections to receivers with TLS of their own that are opened at once for one tenant, unless told otherwise."""
KEPT_HEADERS = frozenset({b"retry-after", b"date", b"x-ratelimit-reset", b"x-message-id"})

_FRAMING = frozenset(
    "connection content-length expect host keep-alive te trailer transfer-encoding upgrade".split()  # noqa: SIM905
)
"""Not sent: how a message is framed is the client's business, and no header of a webhook may break it."""

_FAULTS = (OSError, httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, Unreached)
"""What may come of a request; `is_ours` tells whose fault it is."""
_OUR_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# The first row counts that has a kind from the chain of causes. httpx's own kinds are of no use: a connection that
# was dropped is a ConnectTimeout there.
_CODES: tuple[tuple[str, tuple[type[BaseException], ...]], ...] = (
    ("forbidden_address", (ForbiddenAddress, aiohttp.InvalidURL)),  # the latter for an address spelled 127.1
    ("tls", (ssl.SSLError, ssl.CertificateError)),
    ("dns", (socket.gaierror,)),
    ("timeout", (TimeoutError,)),
    ("connection_reset", (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)),
    ("connection_refused", (aiohttp.ClientConnectorError,)),
    ("connection_reset", (OSError, aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError)),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request came to."""

    status_code: int | None
    """Known also where the answer broke off behind its status line; `error` says that it did."""
    error: str | None
    """None for a whole 2xx answer, `http_<status>` for another whole one, else what `error_code` says."""
    headers: Mapping[str, str]
    """Those of `KEPT_HEADERS` that came; upper and lower case are the same."""
    body: bytes
    """The start of the body as it came, not decompressed."""
    duration_ms: float
    started_at: datetime


@dataclass(slots=True)
class _Received:
    """What has come so far."""

    status_code: int | None = None
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    body: bytearray = field(default_factory=bytearray)


class Client(httpx.AsyncClient):
    """The client that `send` sends with. `tls_thread` makes the requests to receivers with TLS of their own."""

    def __init__(
        self, transport: Transport, tls_thread: "TlsThread[Client] | None" = None, *, require_https: bool = False
    ) -> None:
        hooks = {"request": [_refuse_plain_http]} if require_https else {}
        super().__init__(transport=transport, timeout=None, trust_env=False, event_hooks=hooks)
        self.tls_thread = tls_thread

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if self.tls_thread:
            await self.tls_thread.close()
        await super().__aexit__(exc_type, exc_value, traceback)


def make_client(
    allowed: Networks,
    *,
    tls: ssl.SSLContext | None = None,
    proxy: str | None = None,
    lookups: Lookups | None = None,
    max_handshakes: int = MAX_HANDSHAKES,
    require_https: bool = False,
) -> Client:
    """Make the client that `send` sends with, to be shared, and closed by the caller.

    It reaches global unicast addresses and those in `allowed`, all of them through the `proxy` if there is one. `tls`
    replaces the context that trusts certifi's roots. `lookups` says how names are looked up, `max_handshakes` how many
    connections to receivers with TLS of their own are opened at once for one tenant.
    `require_https` refuses plain HTTP, whatever the URL was made of.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it logs URLs, and the secrets in their queries
    trusted, through = tls or public_roots(), Proxy.parse(proxy) if proxy else None

    def transport(handshakes: TenantLimit | None = None) -> Transport:
        return Transport(allowed, trusted, through, lookups or Lookups(), handshakes)

    def client_of_thread() -> Client:
        return Client(transport(TenantLimit("TLS handshakes under way", max_handshakes)), require_https=require_https)

    return Client(transport(), TlsThread(client_of_thread), require_https=require_https)


async def send(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    body: bytes,
    headers: Mapping[str, str],
    timeout: float,
    keep: int = 4096,
    tls: Tls | None = None,
    tenant: str = "",
    waited: float = 0.0,
) -> Answer:
    """Send one request with these headers, `host`, `content-length` and no others, and tell what came of it.

    `timeout` (seconds) bounds name lookup, connect, headers and body together: a 2xx whose body has not ended by
    then is a `timeout`. At most 64 KiB of body are read and `keep` bytes kept; a longer body is whole with that.
    `tls` is what this receiver wants of its own. `tenant` is the one whose limits count; the time that the request
    waits for a place under them does not count against `timeout`. `waited`: seconds that it has waited before.
    Raises for our own faults: no file descriptors left, a closed client, a header that cannot be sent, a proxy that
    does not do its part, name servers that cannot be reached, LocalLimitReached.
    """
    if tls is not None and isinstance(client, Client) and client.tls_thread:
        options: dict[str, Any] = {"body": body, "headers": headers, "timeout": timeout, "keep": keep, "waited": waited}
        return await client.tls_thread.run(lambda own: send(own, method, url, **options, tls=tls, tenant=tenant))
    started_at, start = datetime.now(UTC), time.perf_counter()
    received, link = _Received(), Link(tenant, waited_before=waited)
    token = current_link.set(link)
    try:
        async with asyncio.timeout(timeout) as link.timeout:
            await _exchange(client, _request(method, url, body, headers, tls), link, received, keep)
        assert received.status_code is not None
        error = None if 200 <= received.status_code < 300 else f"http_{received.status_code}"
    except _FAULTS as exc:
        if is_ours(exc):
            raise
        error = _judged(exc, link, received, tls)
    finally:
        link.end()
        current_link.reset(token)
    return Answer(
        status_code=received.status_code,
        error=error,
        headers=received.headers,
        body=bytes(received.body),
        duration_ms=(time.perf_counter() - start - link.waited) * 1000,
        started_at=started_at,
    )


async def post(
    client: httpx.AsyncClient, url: str, *, body: bytes, headers: Mapping[str, str], timeout: float, **more: Any
) -> Answer:
    """Send one POST, as `send` does."""
    return await send(client, "POST", url, body=body, headers=headers, timeout=timeout, **more)


def error_code(exc: BaseException) -> str:
    """Name what went wrong on the way to a receiver, by the chain of causes; `protocol` where nothing else fits."""
    chain = tuple(_causes(exc))
    for link in chain:
        if isinstance(link, Unreached):
            return link.code
    for code, kinds in _CODES:
        if any(isinstance(link, kinds) for link in chain):
            return code
    return "protocol"


def _judged(exc: BaseException, link: Link, received: _Received, tls: Tls | None) -> str:
    """Name what went wrong, by the state of the connection too. Raises ProxyFailed where there was none to a proxy."""
    if link.awaits_proxy and isinstance(exc, TimeoutError):
        raise ProxyFailed("the egress proxy cannot be reached in time") from exc
    code = error_code(exc)
    if code == "connection_reset" and tls and tls.certificate and not (link.reused or received.status_code):
        return "tls"  # in TLS 1.3 our certificate is refused after the handshake, and the reset may outrun the reason
    return code


def is_ours(exc: BaseException) -> bool:
    """Tell whether this machine is to blame, not the network or who is at its other end."""
    # The bare ClientConnectionError says that the client was closed meanwhile.
    return any(
        (isinstance(link, OSError) and link.errno in _OUR_ERRNOS) or type(link) is aiohttp.ClientConnectionError
        for link in _causes(exc)
    )


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__


async def _refuse_plain_http(request: httpx.Request) -> None:
    try:
        check_scheme(str(request.url), require_https=True)
    except ValueError as error:
        raise ForbiddenAddress(str(error)) from None


def _request(method: str, url: str, body: bytes, headers: Mapping[str, str], tls: Tls | None) -> httpx.Request:
    """Build the request by hand, as the client would add headers of its own. Raises httpx.InvalidURL."""
    try:
        target = httpx.URL(url)
        usable = target.scheme in ("http", "https") and target.host and yarl.URL(str(target))  # aiohttp's reading
    except ValueError as exc:
        raise httpx.InvalidURL(str(exc)) from exc
    if not usable:
        raise httpx.InvalidURL("not http or https, or no host")
    ours = {name: value for name, value in headers.items() if name.lower() not in _FRAMING}
    sent = httpx.Headers(ours, encoding="utf-8")
    if target.userinfo:  # left there, httpx and aiohttp each make a header of it, and quarrel
        credentials = f"{target.username}:{target.password}"
        sent.setdefault("authorization", "Basic " + b64encode(credentials.encode()).decode())
        target = target.copy_with(userinfo=b"")
    return httpx.Request(method, target, headers=sent, content=body, extensions={"tls": tls})


async def _exchange(
    client: httpx.AsyncClient, request: httpx.Request, link: Link, received: _Received, keep: int
) -> None:
    """Send the request and fill `received` as the answer comes in."""
    response = await _send(client, request, link)
    if response.status_code < 100:
        await response.aclose()
        raise httpx.RemoteProtocolError(f"{response.status_code} is no status")
    received.status_code = response.status_code
    received.headers = httpx.Headers([line for line in response.headers.raw if line[0].lower() in KEPT_HEADERS])
    read = 0
    try:
        async for chunk in response.aiter_raw():
            received.body += chunk[: keep - len(received.body)]
            read += len(chunk)
            if read >= READ_LIMIT:
                break
        else:
            link.done = True
    finally:
        await response.aclose()


async def _send(client: httpx.AsyncClient, request: httpx.Request, link: Link) -> httpx.Response:
    """Send; once more, over a new connection, where a kept one broke before it answered.

    So looks a receiver that closes an idle connection in that very moment. A webhook's receiver that got both
    can tell by `webhook-id`; an API or SendGrid cannot.
    """
    try:
        return await client.send(request, stream=True)
    except _FAULTS as exc:
        if not link.reused or error_code(exc) != "connection_reset":
            raise
    link.fresh = True
    return await client.send(request, stream=True)
