"""The library `requests` within a guarded call: nothing from the environment, no redirects, bounded answers.

Apprise's plugins call `requests.post`, and tell no more of the answer than whether they liked it; here it is heard.
"""

import errno
import http.client
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from io import BytesIO
from typing import Any

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import exceptions

from hookkeeper import outcomes
from hookkeeper.content.urls import check_scheme
from hookkeeper.egress.guard import Guard, current_guard
from hookkeeper.egress.network import ForbiddenAddress, Networks

READ_LIMIT = 64 * 1024
"""Bytes of an answer's body that are read at most, decompressed."""

_FAULTS = (OSError, exceptions.HTTPError)
"""What may come of a request; `requests.RequestException` is an OSError."""
_OUR_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# The first row counts that has a kind from the chain of causes. The codes are those of `hookkeeper.egress.http`.
_CODES: tuple[tuple[str, tuple[type[BaseException], ...]], ...] = (
    ("forbidden_address", (ForbiddenAddress,)),
    ("tls", (ssl.SSLError, requests.exceptions.SSLError)),
    ("dns", (socket.gaierror, requests.exceptions.InvalidURL)),  # the latter for a label that is empty or too long
    ("timeout", (TimeoutError, exceptions.ReadTimeoutError)),
    ("connection_reset", (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)),
    ("connection_refused", (exceptions.NewConnectionError,)),
    ("protocol", (http.client.BadStatusLine, http.client.LineTooLong)),
    ("connection_reset", (exceptions.ProtocolError,)),
)


@dataclass(slots=True)
class Heard:
    """What came of one request."""

    status_code: int | None = None
    """Known also where the answer broke off behind its head; `error` says that it did."""
    retry_after: float | None = None
    body: bytes = b""
    error: str | None = None
    """Why there was no whole answer."""


class Call(Guard):
    """One call of a plugin, which may make several requests."""

    require_https = False
    """Plain HTTP is refused."""

    def __init__(self, allowed: Networks, transport: Callable[[], HTTPAdapter] | None, timeout: float) -> None:
        """`transport` makes what requests are sent by, in place of the library's own."""
        super().__init__(allowed, timeout)
        self.transport = transport or HTTPAdapter
        self.heard: Heard | None = None
        """The latest answer; None before the first request."""
        self.fault: BaseException | None = None
        """What went wrong with us, and not with the service."""
        self.reasons: list[str] = []
        """Why it did not work, in the plugin's words."""

    def exchange(self, send: Callable[..., requests.Response]) -> requests.Response:
        """Send with our settings in place of the plugin's. Raises RequestException, for the plugin to catch."""
        heard = self.heard = Heard()
        self.reached = False
        try:
            response = send(stream=True, verify=True, timeout=self.left())
            heard.status_code = response.status_code
            heard.retry_after = outcomes.parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
            with closing(response.raw) as raw:
                heard.body = raw.read(READ_LIMIT, decode_content=True)
        except _FAULTS as exc:
            heard.error = self._judge(exc)
            raise requests.ConnectionError(heard.error) from exc
        response.raw = BytesIO(heard.body)
        response.headers.pop("location", None)  # or a redirect would be prepared, and its whole body read
        return response

    def _judge(self, exc: BaseException) -> str:
        chain = tuple(_causes(exc))
        self.fault = next((each for each in chain if isinstance(each, OSError) and each.errno in _OUR_ERRNOS), None)
        for code, kinds in _CODES:
            if any(isinstance(each, kinds) for each in chain):
                # Of several addresses the last one tells; where another could be tried, its name is not to blame.
                return "connection_refused" if code == "forbidden_address" and self.reached else code
        return "protocol"


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__


class _Line(BaseAdapter):
    """What a guarded session sends by: the call's own transport, and neither proxies nor client certificates."""

    def __init__(self, call: Call) -> None:
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
    """The session of everybody; within a guarded call it is another one."""

    def __init__(self) -> None:
        super().__init__()
        call = current_guard.get()
        if isinstance(call, Call):
            self.trust_env = False
            for scheme in ("http://", "https://"):
                self.mount(scheme, _Line(call))


class _Reasons(logging.Handler):
    """Gives what Apprise logs in a thread to that thread's call."""

    def emit(self, record: logging.LogRecord) -> None:
        call = current_guard.get()
        if isinstance(call, Call):
            call.reasons.append(record.getMessage())


@cache
def install() -> None:
    """Put the session in the place of the library's, and listen to Apprise, for as long as the process lives."""
    requests.Session = requests.sessions.Session = _Session  # type: ignore[misc]
    logging.getLogger("apprise").addHandler(_Reasons(logging.WARNING))
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # at WARNING it logs URLs of answers with bad headers
