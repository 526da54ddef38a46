"""The egress proxy and the translation of its errors.

ProxyFailed           internal: the proxy is down, rejects the password, or fails
ReceiverUnreachable   the receiver's: the proxy works and reports that the receiver cannot or must not be reached
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

import aiohttp
import yarl

from hookkeeper.content.urls import check_proxy

_STATUS_ERROR = re.compile(r";\s*error=([a-z_]+)")

_PROXY_STATUS = {
    "dns_timeout": "dns",
    "dns_error": "dns",
    "destination_not_found": "connection_refused",
    "destination_unavailable": "connection_refused",
    "destination_ip_prohibited": "forbidden_address",
    "destination_ip_unroutable": "connection_refused",
    "connection_refused": "connection_refused",
    "connection_terminated": "connection_reset",
    "connection_timeout": "timeout",
    "http_request_denied": "forbidden_address",
}
"""RFC 9209, "Proxy Error Types": those that the receiver causes."""
_SQUID = {
    "ERR_ACCESS_DENIED": "forbidden_address",
    "ERR_CANNOT_FORWARD": "connection_refused",
    "ERR_CONNECT_FAIL": "connection_refused",
    "ERR_DNS_FAIL": "dns",
    "ERR_READ_TIMEOUT": "timeout",
}
_SMOKESCREEN = {407: "forbidden_address", 502: "connection_refused", 504: "timeout"}


class ProxyFailed(Exception):
    """The egress proxy failed. It does not count as an attempt; the message contains no password."""


class ReceiverUnreachable(Exception):
    """The egress proxy reports that it could not reach the receiver."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        """The error code of the attempt."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. Its URL contains no password; `headers` authenticate."""

    url: yarl.URL
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `http://user:password@host:port`. Raises ValueError, whose message contains no part of it."""
        parts = urlsplit(check_proxy(text))
        url = yarl.URL.build(scheme="http", host=parts.hostname or "", port=parts.port)
        if not parts.username:
            return cls(url, {})
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return cls(url, {"Proxy-Authorization": "Basic " + b64encode(credentials.encode()).decode()})


@contextmanager
def errors_translated() -> Iterator[None]:
    """Raise ProxyFailed or ReceiverUnreachable instead of aiohttp's errors of a proxy."""
    try:
        yield
    except aiohttp.ClientHttpProxyError as exc:
        raise error_of(exc.status, exc.headers or {}) from exc
    except (aiohttp.ClientProxyConnectionError, aiohttp.ClientConnectorDNSError) as exc:
        raise ProxyFailed("the egress proxy cannot be reached") from exc
    except aiohttp.ClientConnectorError:
        raise  # of the receiver behind the proxy: its certificate, or a reset during its handshake
    except aiohttp.ClientError as exc:
        raise ProxyFailed("the egress proxy closed the connection, or does not speak HTTP") from exc


def error_of(status: int, headers: Mapping[str, str]) -> Exception:
    """Return the error for an unsuccessful response of the proxy itself.

    Many proxies use one status for all errors, so the receiver is unreachable only if the proxy says so explicitly.
    """
    code = _code(status, headers)
    return ReceiverUnreachable(code) if code else ProxyFailed(f"the egress proxy answered {status}")


def _code(status: int, headers: Mapping[str, str]) -> str | None:
    said = _STATUS_ERROR.search(headers.get("proxy-status", ""))
    if said:
        return "tls" if said[1].startswith("tls_") else _PROXY_STATUS.get(said[1])
    if squid := headers.get("x-squid-error"):
        return _SQUID.get(squid.partition(" ")[0])
    if "x-smokescreen-error" in headers:
        return _SMOKESCREEN.get(status)
    return "forbidden_address" if status == 403 else None
