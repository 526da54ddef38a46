"""The request to a webhook's URL or an API, as httpx sends it. The API shows it, and so needs no client."""

from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache

import httpx
import yarl

from hookkeeper.content.tls import Tls

MAX_CACHED_URLS = 1024
_FRAMING = frozenset(
    "connection content-length expect host keep-alive te trailer transfer-encoding upgrade".split()  # noqa: SIM905
)
"""Headers that are set by the client only: a webhook's headers must not break the framing of a message."""

_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


def request_of(method: str, url: str, body: bytes, headers: Mapping[str, str], tls: Tls | None = None) -> httpx.Request:
    """Build the request without the headers that the client would add. Raises httpx.InvalidURL."""
    target, authorization = _target(url)
    framing = {"host": target.netloc.decode()}
    if body or method in _METHODS_WITH_BODY:
        framing["content-length"] = str(len(body))
    allowed = {name: value for name, value in headers.items() if name.lower() not in _FRAMING}
    sent = httpx.Headers(framing | allowed, encoding="utf-8")
    if authorization:
        sent.setdefault("authorization", authorization)
    # With `content`, httpx would look for the encoding of the headers, to find out what the body is.
    request = httpx.Request(method, target, headers=sent, stream=httpx.ByteStream(body), extensions={"tls": tls})
    request.read()
    return request


@lru_cache(MAX_CACHED_URLS)
def _target(url: str) -> tuple[httpx.URL, str | None]:
    """Return the URL without its credentials, of which httpx and aiohttp would each make a header, and that header."""
    try:
        target = httpx.URL(url)
        usable = target.scheme in ("http", "https") and target.host and yarl.URL(str(target))  # as aiohttp parses it
    except ValueError as exc:
        raise httpx.InvalidURL(str(exc)) from exc
    if not usable:
        raise httpx.InvalidURL("not http or https, or no host")
    if not target.userinfo:
        return target, None
    credentials = f"{target.username}:{target.password}"
    return target.copy_with(userinfo=b""), "Basic " + b64encode(credentials.encode()).decode()
