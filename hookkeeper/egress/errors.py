"""Errors of requests: the code of each, and whether this machine caused it rather than the network or the receiver."""

import errno
import socket
import ssl
from collections.abc import Iterator

import aiohttp
import httpx

from hookkeeper.egress.addresses import ForbiddenAddress
from hookkeeper.egress.proxy import ReceiverUnreachable

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
