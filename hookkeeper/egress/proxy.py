"""The egress proxy: where it is, and whose fault it is where nothing came through it.

ProxyFailed   ours: the proxy is down, wants another password, or cannot do its part
Unreached     the receiver's: the proxy is well, and says that it could not reach it, or may not
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

_SAYS_ERROR = re.compile(r";\s*error=([a-z_]+)")

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
"""RFC 9209, "Proxy Error Types": those that a receiver is to blame for."""
_SQUID = {
    "ERR_ACCESS_DENIED": "forbidden_address",
    "ERR_CANNOT_FORWARD": "connection_refused",
    "ERR_CONNECT_FAIL": "connection_refused",
    "ERR_DNS_FAIL": "dns",
    "ERR_READ_TIMEOUT": "timeout",
}
_SMOKESCREEN = {407: "forbidden_address", 502: "connection_refused", 504: "timeout"}


class ProxyFailed(Exception):
    """The egress proxy did not do its part. Never a receiver's fault; the sentence holds no password."""


class Unreached(Exception):
    """The egress proxy did, and could not reach the receiver."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        """As an attempt's error."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. What it is sent as a password is not part of its URL."""

    url: yarl.URL
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `http://user:password@host:port`. Raises ValueError, with a sentence that repeats nothing of it."""
        parts = urlsplit(check_proxy(text))
        url = yarl.URL.build(scheme="http", host=parts.hostname or "", port=parts.port)
        if not parts.username:
            return cls(url, {})
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return cls(url, {"Proxy-Authorization": "Basic " + b64encode(credentials.encode()).decode()})


@contextmanager
def blaming() -> Iterator[None]:
    """Say whose fault it is that no connection came to be: ProxyFailed, Unreached, or what a direct one would raise."""
    try:
        yield
    except aiohttp.ClientHttpProxyError as exc:
        raise answered(exc.status, exc.headers or {}) from exc
    except (aiohttp.ClientProxyConnectionError, aiohttp.ClientConnectorDNSError) as exc:
        raise ProxyFailed("the egress proxy cannot be reached") from exc
    except aiohttp.ClientConnectorError:
        raise  # of the receiver, behind the proxy: its certificate, or a reset in its handshake
    except aiohttp.ClientError as exc:
        raise ProxyFailed("the egress proxy closed the connection, or does not speak HTTP") from exc


def answered(status: int, headers: Mapping[str, str]) -> Exception:
    """Judge an answer of the proxy itself that is no success.

    Only where it says so itself is the receiver to blame: many proxies use one status for everything.
    """
    code = _code(status, headers)
    return Unreached(code) if code else ProxyFailed(f"the egress proxy answered {status}")


def _code(status: int, headers: Mapping[str, str]) -> str | None:
    said = _SAYS_ERROR.search(headers.get("proxy-status", ""))
    if said:
        return "tls" if said[1].startswith("tls_") else _PROXY_STATUS.get(said[1])
    if squid := headers.get("x-squid-error"):
        return _SQUID.get(squid.partition(" ")[0])
    if "x-smokescreen-error" in headers:
        return _SMOKESCREEN.get(status)
    return "forbidden_address" if status == 403 else None
