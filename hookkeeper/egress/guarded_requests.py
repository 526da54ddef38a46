"""The `requests` library in a guarded call: no environment settings, no redirects, limited responses.

Apprise's plugins call `requests.post` and return only whether they succeeded. Here the response is recorded.
"""

import http.client
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from typing import Any

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import exceptions

from hookkeeper import outcomes
from hookkeeper.content.urls import check_scheme
from hookkeeper.egress.addresses import ForbiddenAddress, Networks
from hookkeeper.egress.errors import LOCAL_ERRNOS
from hookkeeper.egress.guard import Guard, current_guard

READ_LIMIT = 64 * 1024
"""Maximum bytes of a response body, decompressed."""

_REQUEST_ERRORS = (OSError, exceptions.HTTPError)
"""Errors of a request; `requests.RequestException` is an OSError."""

# The first row that matches an exception in the chain of causes applies. Codes as in `hookkeeper.egress.errors`.
_CODES: tuple[tuple[str, tuple[type[BaseException], ...]], ...] = (
    ("forbidden_address", (ForbiddenAddress,)),
    ("tls", (ssl.SSLError, requests.exceptions.SSLError)),
    ("dns", (socket.gaierror, requests.exceptions.InvalidURL)),  # the latter for an empty or overlong label
    ("timeout", (TimeoutError, exceptions.ReadTimeoutError)),
    ("connection_reset", (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)),
    ("connection_refused", (exceptions.NewConnectionError,)),
    ("protocol", (http.client.BadStatusLine, http.client.LineTooLong)),
    ("connection_reset", (exceptions.ProtocolError,)),
)


@dataclass(slots=True)
class PluginResponse:
    """The result of one request."""

    status_code: int | None = None
    """Also set if the response broke off after its headers; then `error` is set too."""
    retry_after: float | None = None
    body: bytes = b""
    error: str | None = None
    """Why the response is missing or incomplete."""


class PluginCall(Guard):
    """One call of an Apprise plugin, which may make several requests."""

    require_https = False
    """Refuse plain HTTP."""

    def __init__(self, allowed: Networks, transport: Callable[[], HTTPAdapter] | None, timeout: float) -> None:
        """`transport` makes the adapter that sends requests; by default the one of `requests`."""
        super().__init__(allowed, timeout)
        self.transport = transport or HTTPAdapter
        self.response: PluginResponse | None = None
        """The latest response; None before the first request."""
        self.internal_error: BaseException | None = None
        """A local error, not caused by the service."""
        self.messages: list[str] = []
        """What the plugin logged."""

    def exchange(self, send: Callable[..., requests.Response]) -> requests.Response:
        """Send with Hookkeeper's settings instead of the plugin's. Raises RequestException for the plugin."""
        result = self.response = PluginResponse()
        self.has_connected = False
        try:
            response = send(stream=True, verify=True, timeout=self.left())
            result.status_code = response.status_code
            result.retry_after = outcomes.parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
            with closing(response.raw) as raw:
                result.body = raw.read(READ_LIMIT, decode_content=True)
        except _REQUEST_ERRORS as exc:
            result.error = self._error_code(exc)
            raise requests.ConnectionError(result.error) from exc
        response.raw = BytesIO(result.body)
        response.headers.pop("location", None)  # otherwise `requests` prepares a redirect and reads its whole body
        return response

    def _error_code(self, exc: BaseException) -> str:
        chain = tuple(_causes(exc))
        self.internal_error = next(
            (cause for cause in chain if isinstance(cause, OSError) and cause.errno in LOCAL_ERRNOS), None
        )
        for code, kinds in _CODES:
            if any(isinstance(cause, kinds) for cause in chain):
                # The error is that of the last address. If another address was tried, the name is not forbidden.
                return "connection_refused" if code == "forbidden_address" and self.has_connected else code
        return "protocol"


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__


class _GuardedAdapter(BaseAdapter):
    """Sends through the call's transport, without proxies and client certificates."""

    def __init__(self, call: PluginCall) -> None:
        super().__init__()
        self._call = call
        self._transport = call.transport()

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        return self._call.exchange(partial(self._send, request))

    def _send(self, request: requests.PreparedRequest, **settings: Any) -> requests.Response:
        try:
            check_scheme(request.url or "", self._call.require_https)
        except ValueError as error:
            raise ForbiddenAddress(str(error)) from None
        return self._transport.send(request, **settings)

    def close(self) -> None:
        self._transport.close()


class _Session(requests.Session):
    """Replaces `requests.Session`; differs from it only within a guarded call."""

    def __init__(self) -> None:
        super().__init__()
        call = current_guard.get()
        if isinstance(call, PluginCall):
            self.trust_env = False
            for scheme in ("http://", "https://"):
                self.mount(scheme, _GuardedAdapter(call))


class _MessageHandler(logging.Handler):
    """Collects what Apprise logs in the call of the current thread."""

    def emit(self, record: logging.LogRecord) -> None:
        call = current_guard.get()
        if isinstance(call, PluginCall):
            call.messages.append(record.getMessage())


_message_handler = _MessageHandler(logging.WARNING)


def install() -> None:
    """Replace `requests.Session` and collect Apprise's log messages, permanently. Can be repeated."""
    requests.Session = requests.sessions.Session = _Session  # type: ignore[misc]
    logging.getLogger("apprise").addHandler(_message_handler)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # at WARNING it logs URLs of responses with invalid headers
