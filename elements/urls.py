"""What a webhook's URL may look like. Strict, so that no two parsers can read two hosts out of one URL."""

import re
from urllib.parse import urlsplit

MAX_URL = 2048
HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}", re.ASCII)


def check_url(url: str) -> str:
    """Return the URL, or raise ValueError with a sentence for people."""
    if not url.isascii() or not url.isprintable() or any(character in url for character in ' \\"<>^`{|}'):
        raise ValueError("must be printable ASCII: use punycode for the host and percent-encoding elsewhere")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("must start with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("must not hold user names or passwords: use a header")
    if parts.fragment or url.endswith("#"):
        raise ValueError("must not have a fragment")
    host, port = _host_and_port(parts.netloc)
    if not HOST.fullmatch(host) or ".." in host or host.startswith("."):
        raise ValueError("must name a host")
    if port is not None and not (port.isdecimal() and 1 <= int(port) <= 65535):
        raise ValueError("has a port that is not between 1 and 65535")
    return url


def _host_and_port(netloc: str) -> tuple[str, str | None]:
    if netloc.startswith("["):
        host, bracket, rest = netloc.partition("]")
        return host + bracket, rest[1:] if rest.startswith(":") else (rest or None)
    host, colon, port = netloc.partition(":")
    return host, port if colon else None
