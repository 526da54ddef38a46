"""The HTTP client for webhooks, notifications and SendGrid, and the codes of its errors.

`send` returns what the receiver did. It raises for internal errors only: those that this machine has caused.
"""

import asyncio
import errno
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import aiohttp
import httpx

from hookkeeper.addresses import ForbiddenAddress, Networks
from hookkeeper.content.tls import Tls
from hookkeeper.content.urls import check_scheme
from hookkeeper.egress.proxy import Proxy, ProxyFailed, ReceiverUnreachable
from hookkeeper.egress.request import request_of
from hookkeeper.egress.request_state import RequestState, current_request
from hookkeeper.egress.resolver import Lookups
from hookkeeper.egress.transport import ALL_HEADERS, Transport, default_tls
from hookkeeper.limits import TenantLimit
from hookkeeper.messages import outcomes
from hookkeeper.messages.outcomes import Verdict
from hookkeeper.tenant_limits import HANDSHAKES

READ_LIMIT = 64 * 1024
"""Maximum bytes of a response body that are read."""
KEPT_HEADERS = frozenset({b"retry-after", b"x-ratelimit-reset", b"x-message-id"})


Result = TypeVar("Result")
JOIN_TIMEOUT = 5.0
"""Seconds to wait for the thread to end: a handshake may be in progress."""
LOCAL_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of this machine, not of the receiver."""
REQUEST_ERRORS = (OSError, httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, ReceiverUnreachable)
"""Errors of a request; `is_internal` separates local ones."""

# The first row that matches an exception in the chain of causes applies. httpx's own exceptions are not precise: it
# reports a dropped connection as ConnectTimeout.
_CODES: tuple[tuple[str, tuple[type[BaseException], ...]], ...] = (
    ("forbidden_address", (ForbiddenAddress, aiohttp.InvalidURL)),  # the latter for an address written as 127.1
    ("tls", (ssl.SSLError, ssl.CertificateError)),
    ("dns", (socket.gaierror,)),
    ("timeout", (TimeoutError,)),
    ("connection_reset", (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)),
    ("connection_refused", (aiohttp.ClientConnectorError,)),
    ("connection_reset", (OSError, aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError)),
)


_REFUSED = re.compile(r"\('([0-9a-fA-F.:]+)', (\d+)")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The result of one request."""

    status_code: int | None
    """Also set if the response broke off after its status line; then `error` is set too."""
    error: str | None
    """None for a complete 2xx response, `http_<status>` for another complete one, else a code of `error_code`."""
    headers: Mapping[str, str]
    """Headers of the response in `KEPT_HEADERS`, case-insensitive."""
    body: bytes
    """The start of the body as received, not decompressed. Without a response, words on what the request met: a message
    of TLS, the name that was not found, the address that refused; for a redirect without a body, where it leads."""
    retry_after: float | None
    """Seconds to wait, from the end of the request on, as its receiver requests."""
    duration_ms: float
    started_at: datetime
    connect_ms: float | None = None
    """Name lookup, connection and TLS handshake; None if the connection was used before."""
    first_byte_ms: float | None = None
    """From the connection to the headers of the response."""
    all_headers: Sequence[tuple[bytes, bytes]] = ()
    """Headers of the response as received, at most 64 KiB."""

    @property
    def verdict(self) -> Verdict:
        return outcomes.verdict_of(self.status_code, self.error)


@dataclass(slots=True)
class _Received:
    """The parts of a response received so far."""

    status_code: int | None = None
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    all_headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytearray = field(default_factory=bytearray)


class TlsThread:
    """Runs calls of one client in a thread, which starts at the first call: those to receivers with a tenant's own
    certificate authorities.

    Such a receiver can send a certificate chain that takes OpenSSL half a second to verify, without interruption.
    OpenSSL releases the GIL meanwhile, so in a separate thread it does not delay other requests.
    """

    def __init__(self, make_client: Callable[[], httpx.AsyncClient]) -> None:
        self._make_client = make_client
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: httpx.AsyncClient | None = None
        self._thread: threading.Thread | None = None

    async def run(self, call: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Result]]) -> Result:
        """Run a call in the thread and return its result. Cancellation cancels the call."""
        if self._loop is None or self._client is None:
            self._client, self._loop = self._make_client(), asyncio.new_event_loop()
            self._thread = threading.Thread(target=_serve, args=(self._loop,), name="custom-tls", daemon=True)
            self._thread.start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(self._client), self._loop))

    async def close(self) -> None:
        """Close the client and end the thread."""
        if self._loop is None or self._thread is None:
            return
        try:
            await self.run(lambda client: client.aclose())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join, JOIN_TIMEOUT)
            self._loop = None


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


class EgressClient(httpx.AsyncClient):
    """The client for `send`. `tls_thread` handles receivers with custom TLS settings."""

    def __init__(
        self, transport: Transport, tls_thread: TlsThread | None = None, *, require_https: bool = False
    ) -> None:
        super().__init__(transport=transport, timeout=None, trust_env=False)
        self.tls_thread = tls_thread
        self._guarded = transport
        self._require_https = require_https

    async def send(self, request: httpx.Request, **_: Any) -> httpx.Response:
        """Send and return the response before its body is read.

        The cookies, redirects, authentication and logs of httpx are left out, which are a third of a request's cost.
        """
        if self.is_closed:
            raise RuntimeError("the client is closed")
        if self._require_https:
            _refuse_plain_http(request)
        return await self._guarded.handle_async_request(request)

    async def __aexit__(self, *raised: Any, **_: Any) -> None:
        if self.tls_thread:
            await self.tls_thread.close()
        await super().__aexit__(*raised)


def make_client(
    allowed: Networks,
    *,
    tls: ssl.SSLContext | None = None,
    proxy: str | None = None,
    lookups: Lookups | None = None,
    max_handshakes: int = HANDSHAKES.per_tenant,
    require_https: bool = False,
) -> EgressClient:
    """Make a shared client for `send`, which the caller closes.

    It connects to global unicast addresses and those in `allowed`, through `proxy` if given. `tls` replaces the context
    that trusts certifi's roots. `lookups` configures name lookups. `max_handshakes` limits the concurrent handshakes of
    one tenant with receivers that have custom TLS settings. `require_https` refuses plain HTTP, also in URLs from
    templates.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it logs URLs, including secrets in their queries
    trusted, egress_proxy = tls or default_tls(), Proxy.parse(proxy) if proxy else None

    def transport(handshakes: TenantLimit | None = None) -> Transport:
        return Transport(allowed, trusted, egress_proxy, lookups or Lookups(), handshakes)

    def client_of_thread() -> EgressClient:
        return EgressClient(transport(TenantLimit(per_tenant=max_handshakes)), require_https=require_https)

    return EgressClient(transport(), TlsThread(client_of_thread), require_https=require_https)


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
) -> HttpAnswer:
    """Send one request with only these headers, `host` and `content-length`, and return the result.

    `timeout` (seconds) covers name lookup, connect, headers and body: a 2xx response whose body is not complete by
    then is a `timeout`. At most 64 KiB of the body are read and `keep` bytes kept; a longer body counts as complete.
    `tls`: custom TLS settings of the receiver. `tenant`: whose limits apply; time spent waiting for a slot does not
    count against `timeout`. `waited`: seconds that the request has already waited for slots.
    Raises for internal errors: no free file descriptors, a closed client, an invalid header, a failed egress proxy,
    unreachable name servers, LocalLimitReached.
    """
    if tls is not None and isinstance(client, EgressClient) and client.tls_thread:
        options: dict[str, Any] = {"body": body, "headers": headers, "timeout": timeout, "keep": keep, "waited": waited}
        return await client.tls_thread.run(
            lambda tls_client: send(tls_client, method, url, **options, tls=tls, tenant=tenant)
        )
    started_at, start = datetime.now(UTC), time.perf_counter()
    received, state = _Received(), RequestState(tenant, waited_before=waited)
    token = current_request.set(state)
    try:
        async with asyncio.timeout(timeout) as state.timeout:
            await _exchange(client, request_of(method, url, body, headers, tls), state, received, keep)
        assert received.status_code is not None
        error = None if 200 <= received.status_code < 300 else f"http_{received.status_code}"
    except REQUEST_ERRORS as exc:
        if is_internal(exc):
            raise
        error = _attempt_error(exc, state, received, tls)
        if received.status_code is None:
            received.body += _met(exc, error, url, timeout, state).encode()
    finally:
        state.end()
        current_request.reset(token)
    return HttpAnswer(
        status_code=received.status_code,
        error=error,
        headers=received.headers,
        body=bytes(received.body),
        retry_after=outcomes.parse_retry_after(received.headers.get("retry-after"), datetime.now(UTC)),
        duration_ms=(time.perf_counter() - start - state.waited) * 1000,
        started_at=started_at,
        connect_ms=_milliseconds(state.connecting),
        first_byte_ms=_milliseconds(state.first_byte),
        all_headers=received.all_headers,
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _attempt_error(exc: BaseException, state: RequestState, received: _Received, tls: Tls | None) -> str:
    """Return the error code, also from the state of the connection. Raises ProxyFailed if the proxy did not connect."""
    if state.awaits_proxy and isinstance(exc, TimeoutError):
        raise ProxyFailed("the egress proxy cannot be reached in time") from exc
    code = error_code(exc)
    if code == "connection_reset" and tls and tls.certificate and not (state.reused or received.status_code):
        # In TLS 1.3, the client certificate is rejected after the handshake, and the reset can arrive before the alert.
        return "tls"
    return code


def _met(exc: BaseException, error: str, url: str, timeout: float, state: RequestState) -> str:
    """Return what a request without a response has met."""
    chain = tuple(_causes(exc))
    match error:
        case "tls":
            wrapped = [getattr(cause, name, None) for cause in chain for name in ("certificate_error", "os_error")]
            words = [getattr(each, name, "") for each in (*wrapped, *chain) for name in ("verify_message", "reason")]
            word = next((str(each) for each in words if each), "")
            return word.replace("_", " ").lower() if word.isupper() else word
        case "dns":
            return httpx.URL(url).host
        case "connection_refused":
            # How asyncio says it: "Connect call failed ('10.0.0.1', 443)".
            named = (_REFUSED.search(str(cause)) for cause in chain)
            return next((f"{host}:{port}" for host, port in (match.groups() for match in named if match)), "")
        case "timeout":
            connected = state.reused or state.connected_at is not None
            return f"{timeout:g} s" if connected else f"no connection in {timeout:g} s"
    return ""


def _refuse_plain_http(request: httpx.Request) -> None:
    try:
        check_scheme(str(request.url), require_https=True)
    except ValueError as error:
        raise ForbiddenAddress(str(error)) from None


async def _exchange(
    client: httpx.AsyncClient, request: httpx.Request, state: RequestState, received: _Received, keep: int
) -> None:
    """Send the request and fill `received` while the response arrives."""
    response = await _send(client, request, state)
    if state.connected_at is not None:
        state.first_byte = time.perf_counter() - state.connected_at
    if response.status_code < 100:
        await response.aclose()
        raise httpx.RemoteProtocolError(f"{response.status_code} is not a valid status")
    received.status_code = response.status_code
    kept = [line for line in response.headers.raw if line[0].lower() in KEPT_HEADERS]
    received.headers = httpx.Headers(kept, encoding="latin-1")  # httpx would find an encoding at each access
    received.all_headers = response.extensions.get(ALL_HEADERS, ())
    read = 0
    try:
        async for chunk in response.aiter_raw():
            received.body += chunk[: keep - len(received.body)]
            read += len(chunk)
            if read >= READ_LIMIT:
                break
        else:
            state.done = True
            if not received.body and 300 <= response.status_code < 400:
                where = (value for name, value in received.all_headers if name.lower() == b"location")
                received.body += next(where, b"")[:keep]
    except REQUEST_ERRORS:
        if state.reader is None or not state.reader.is_body_cut_off:
            raise
    finally:
        await response.aclose()


async def _send(client: httpx.AsyncClient, request: httpx.Request, state: RequestState) -> httpx.Response:
    """Send, and retry once over a new connection if a reused one breaks before the response.

    A receiver may have closed the idle connection at the same moment. If it received both requests, a webhook's
    receiver can tell by `webhook-id`; an API or SendGrid cannot.
    """
    try:
        return await client.send(request, stream=True)
    except REQUEST_ERRORS as exc:
        if not state.reused or error_code(exc) != "connection_reset":
            raise
    state.fresh = True
    return await client.send(request, stream=True)


def error_code(exc: BaseException) -> str:
    """Return the error code for the chain of causes; `protocol` if no other code applies."""
    chain = tuple(_causes(exc))
    for cause in chain:
        if isinstance(cause, ReceiverUnreachable):
            return cause.code
    for code, kinds in _CODES:
        if any(isinstance(cause, kinds) for cause in chain):
            return code
    return "protocol"


def is_internal(exc: BaseException) -> bool:
    """Return whether this machine caused the error, not the network or the receiver."""
    # A plain ClientConnectionError means that the client was closed.
    return any(
        (isinstance(cause, OSError) and cause.errno in LOCAL_ERRNOS) or type(cause) is aiohttp.ClientConnectionError
        for cause in _causes(exc)
    )


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__
