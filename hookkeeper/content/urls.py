"""Rules for webhooks' URLs. Strict, so that all parsers read the same host."""

import re
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from hookkeeper.addresses import BAD_PORTS, EVERYWHERE, Networks, ends_in_number, is_allowed

MAX_URL = 2048
HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK = ("127.0.0.1", "::1")
_PRIVATE_NAMES = ("internal", "local", "home.arpa")
_ASK_OPERATOR = ": only the operator can allow it (HOOKKEEPER_ALLOWED_NETWORKS)"
"""Not available in the public DNS: ICANN 2024, RFC 6762, RFC 8375."""


def check_url(url: str) -> str:
    """Return the URL, or raise ValueError."""
    if not url.isascii() or not url.isprintable() or any(character in url for character in ' \\"<>^`{|}'):
        raise ValueError("must be printable ASCII: use punycode for the host and percent-encoding elsewhere")
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("must start with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("must not contain user names or passwords: use a header")
    if parts.fragment or url.endswith("#"):
        raise ValueError("must not have a fragment")
    host, port = _host_and_port(parts.netloc)
    if not HOST.fullmatch(host) or ".." in host or host.startswith("."):
        raise ValueError("must name a host")
    if port is not None and not (port.isdecimal() and 1 <= int(port) <= 65535):
        raise ValueError("has a port that is not between 1 and 65535")
    return url


def check_scheme(url: str, require_https: bool) -> None:
    """Raise ValueError for plain HTTP if HTTPS is required.

    A template that does not start with a scheme passes; its URL is checked after it is rendered.
    """
    if require_https and url.lower().startswith("http://"):
        raise ValueError("must start with https://")


def check_reachable(url: str, allowed: Networks) -> None:
    """Raise ValueError for a URL, valid for `check_url`, whose host or port is not allowed.

    Names are not looked up: their addresses are checked at each connection.
    """
    parts = urlsplit(url)
    host, port = _host_and_port(parts.netloc)
    if (int(port) if port else _DEFAULT_PORTS[parts.scheme]) in BAD_PORTS:
        raise ValueError(f"has port {port}, which belongs to another protocol than HTTP")
    if allowed.trust(host):
        return
    if host.startswith("[") or ends_in_number(host):
        _check_address(host, allowed)
    elif _is_private_name(host.lower().rstrip("."), allowed):
        raise ValueError("has a host of a private network" + _ASK_OPERATOR)


class UrlRules(NamedTuple):
    """What the operator allows."""

    require_https: bool
    allowed: Networks


def check_proxy(url: str) -> str:
    """Return the URL of a proxy, or raise ValueError without any part of it."""
    parts = urlsplit(url)
    host, port = _host_and_port(parts.netloc.rpartition("@")[2])
    rest = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme != "http" or not HOST.fullmatch(host) or not (port or "").isdecimal() or rest:
        raise ValueError("must be http://host:port or http://user:password@host:port")
    return url


def check_name_server(text: str) -> str:
    """Return the address of a name server, or raise ValueError."""
    host, port = (text, None) if text.count(":") > 1 and not text.startswith("[") else _host_and_port(text)
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError(f"{text!r} is not the address of a name server, such as 192.0.2.53 or 192.0.2.53:53") from None
    if port is not None and not (port.isdecimal() and 1 <= int(port) <= 65535):
        raise ValueError(f"{text!r} has a port that is not between 1 and 65535")
    return text


def _host_and_port(netloc: str) -> tuple[str, str | None]:
    if netloc.startswith("["):
        host, bracket, rest = netloc.partition("]")
        return host + bracket, rest[1:] if rest.startswith(":") else (rest or None)
    host, colon, port = netloc.partition(":")
    return host, port if colon else None


def _check_address(host: str, allowed: Networks) -> None:
    """Check an address. Of IPv4, only the dotted decimal notation is unambiguous."""
    address = host.strip("[]")
    if ":" not in address and not is_allowed(address, EVERYWHERE):
        raise ValueError("must write an IPv4 address as four decimal numbers")
    if not is_allowed(address, allowed):
        raise ValueError("has an address that is not public" + _ASK_OPERATOR)


def _is_private_name(name: str, allowed: Networks) -> bool:
    """Return whether a name can only resolve to forbidden addresses."""
    if name == "localhost" or name.endswith(".localhost"):
        return not any(is_allowed(address, allowed) for address in _LOOPBACK)
    beyond_loopback = any(not cidr.is_loopback for cidr in allowed.cidrs)
    return not beyond_loopback and any(f".{name}".endswith(f".{suffix}") for suffix in _PRIVATE_NAMES)
