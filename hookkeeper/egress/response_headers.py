"""The headers of a response that are kept and shown. Pure."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from hookkeeper.content.headers import MASK
from hookkeeper.egress.scrubbing import scrub_request
from hookkeeper.outcomes import HEADER_FRAME, excerpt

_SILENT = frozenset(
    """
    accept-ranges alt-svc connection content-length content-security-policy cross-origin-embedder-policy
    cross-origin-opener-policy cross-origin-resource-policy date expect-ct keep-alive nel permissions-policy
    referrer-policy report-to strict-transport-security transfer-encoding vary x-content-type-options
    x-dns-prefetch-control x-download-options x-frame-options x-permitted-cross-domain-policies x-xss-protection
    """.split()  # noqa: SIM905
)
"""Headers that are left out: those of the connection, and instructions for browsers."""
_SENSITIVE = re.compile(r"auth|cookie|csrf|key|passw|secret|session|signature|token", re.ASCII)
"""Occurs in the names of headers whose values are masked."""
_OPEN = frozenset({"proxy-authenticate", "www-authenticate"})
"""Not masked, though their names contain `auth`: they name a kind of credentials, and contain none."""


def shown_headers(
    lines: Iterable[tuple[bytes, bytes]], limit: int, url: str, headers: Mapping[str, str], *, path: bool
) -> dict[str, str]:
    """Return names, in lower case, and values of at most `limit` bytes, without the secrets of the request.

    A header that does not fit is left out. Values of the same name are joined. `path`: the path of the URL is secret.
    """
    kept: dict[str, str] = {}
    for raw_name, raw_value in lines:
        name, is_sensitive = _read_name(raw_name)
        if name in _SILENT or len(raw_value) > limit:
            continue
        value = MASK if is_sensitive else _text(raw_value)
        size = len(name.encode()) + len(value.encode()) + HEADER_FRAME
        if size > limit:
            continue
        limit -= size
        kept[name] = value if kept.get(name, value) == value else f"{kept[name]}, {value}"
    return _scrubbed(kept, url, headers, path=path) if kept else kept


def _scrubbed(kept: Mapping[str, str], url: str, headers: Mapping[str, str], *, path: bool) -> dict[str, str]:
    """Mask the secrets of the request in all values at once."""
    values = scrub_request("\n".join(kept.values()), url, headers, path=path).split("\n")
    if len(values) != len(kept):  # so many secrets that all is masked, or one with a line break
        values = [MASK] * len(kept)
    return dict(zip(kept, values, strict=True))


@lru_cache(1024)
def _read_name(raw: bytes) -> tuple[str, bool]:
    """Return a name, and whether its values are masked."""
    name = _text(raw).lower()
    return name, name not in _OPEN and bool(_SENSITIVE.search(name))


def _text(raw: bytes) -> str:
    text = raw.decode(errors="replace")
    return text if text.isprintable() else excerpt(raw, 3 * len(raw) + 1).replace("\n", " ")
