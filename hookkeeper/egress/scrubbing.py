"""What is kept and shown of a receiver's response: without the secrets of the request's URL and headers. Pure.

Each value is searched for in the encodings in which receivers repeat it. A match of its beginning is enough, so that
a truncated copy is masked as well. The cost is limited for any values.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from html import escape
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from hookkeeper.content.headers import MASK, SIGNATURE
from hookkeeper.messages import outcomes
from hookkeeper.messages.outcomes import HEADER_FRAME, excerpt

MIN_LENGTH = 4
"""Minimum characters of a secret: shorter values occur in ordinary words."""
PREFIX = 32
"""Characters of a value that are searched for; a match is extended as far as the value continues."""
MARGIN = 1024
"""Bytes to read beyond those that are kept, so that a secret at the end is recognised in any encoding."""
FEW = 4
"""Values that are searched for in the text itself, which costs less than its pieces do."""
MAX_COMPARISONS = 2000
"""A text with more matches is masked completely."""

_PUBLIC_HEADERS = frozenset({"accept", "accept-language", "cache-control", "content-type"})
_WORDS = frozenset({"basic", "bearer", "digest", "false", "null", "true"})
"""Values that are not secrets: names of authentication schemes, and JSON literals."""
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]{4,}", re.ASCII)

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)

_Encoding = Callable[[str], str]


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


def scrub_request(text: str, url: str, headers: Mapping[str, str], *, path: bool) -> str:
    """Mask the secrets of a request's URL and headers, and its path if `path` is set.

    The host, media types and languages are not secrets.
    """
    if not text:
        return text
    location, _, query = url.partition("://")[2].partition("?")
    authority, slash, below = location.partition("/")
    secrets = [*_credentials(authority.rpartition("@")[0])]
    for name, value in headers.items():
        if name == SIGNATURE:
            secrets += [signature.partition(",")[2] for signature in value.split()]  # each after its scheme
        elif name.lower() not in _PUBLIC_HEADERS:
            secrets += _values(value)
    for name, value in _arguments(query):
        secret = value or name  # `?token` itself is a secret
        secrets += [secret, unquote_plus(secret)]
    if path:
        secrets += [slash + below, *below.split("/"), *unquote(below).split("/")]
    return _masked(text, secrets)


def scrubbed_excerpt(body: bytes, limit: int, url: str, headers: Mapping[str, str], *, path: bool) -> str:
    """Return the start of a response as text of at most `limit` bytes, without the secrets of its request.

    `body` has `MARGIN` bytes more, if there are more.
    """
    text = outcomes.excerpt(body, limit + MARGIN)
    return outcomes.excerpt(scrub_request(text, url, headers, path=path).encode(), limit)


def _arguments(query: str) -> Iterator[tuple[str, str]]:
    for argument in query.split("&"):
        name, _, value = argument.partition("=")
        yield name, value


def _credentials(user_info: str) -> Iterator[str]:
    """Yield user and password of a URL, also in the form in which they are sent."""
    if user_info:
        plain = unquote(user_info)
        yield from (user_info, *user_info.split(":", 1), plain, *plain.split(":", 1))
        yield b64encode(plain.encode()).decode()


def _values(header: str) -> Iterator[str]:
    """Yield the value of a header, and what follows the authentication scheme in it."""
    yield header
    scheme, _, credentials = header.partition(" ")
    if credentials and _SCHEME.fullmatch(scheme):
        yield credentials.strip()
        yield credentials.strip().rstrip("=")
        yield from _of_basic(header)


def _of_basic(header: str) -> Iterator[str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return
    try:
        plain = b64decode(encoded, validate=True).decode()
    except ValueError:
        return
    yield from (plain, *plain.split(":", 1))


def _masked(text: str, secrets: Iterable[str]) -> str:
    values = {secret for secret in secrets if len(secret) >= MIN_LENGTH and secret.lower() not in _WORDS}
    if not values:
        return text
    response = text.encode(errors="replace")
    spans = _spans(response.lower(), values)
    if spans is None:
        return MASK
    if not spans:
        return text
    return _replaced(response, spans).decode(errors="ignore")


def _spans(response: bytes, values: Collection[str]) -> list[tuple[int, int]] | None:
    """Return the positions of secrets, or None if there are too many."""
    spans: list[tuple[int, int]] = []
    comparisons = 0
    for needle, origins in _needles(values, response if len(values) <= FEW else _pieces(response)).items():
        at = response.find(needle)
        if at < 0:
            continue
        wholes = {_lowered(encode(value)) for encode, value in origins if len(value) > PREFIX}
        while at >= 0:
            comparisons += 1 + len(wholes)
            if comparisons > MAX_COMPARISONS:
                return None
            end = at + max((_common_length(response, at, whole) for whole in wholes), default=len(needle))
            spans.append((at, end))
            at = response.find(needle, end)
    return sorted(spans)


def _pieces(response: bytes) -> set[bytes]:
    """Return every sequence of 4 bytes in a text: only values that start with one of them can occur."""
    return {response[at : at + MIN_LENGTH] for at in range(len(response) - MIN_LENGTH + 1)}


def _needles(values: Iterable[str], pieces: bytes | set[bytes]) -> dict[bytes, list[tuple[_Encoding, str]]]:
    """Return the prefixes that the text may contain, each with the values and encodings that start with it."""
    needles: dict[bytes, list[tuple[_Encoding, str]]] = {}
    for value in values:
        if _UNRESERVED.match(value, 0, MIN_LENGTH) and _lowered(value[:MIN_LENGTH]) not in pieces:
            continue  # these characters are the same in all encodings
        for encode in _ENCODINGS[:1] if _UNRESERVED.fullmatch(value) else _ENCODINGS:
            needle = _lowered(encode(value[:PREFIX]))
            if needle[:MIN_LENGTH] in pieces:
                needles.setdefault(needle, []).append((encode, value))
    return needles


def _common_length(response: bytes, at: int, whole: bytes) -> int:
    """Return how many bytes from `at` on match `whole`."""
    low, high = 0, min(len(whole), len(response) - at)
    while low < high:
        middle = (low + high + 1) // 2
        if response.startswith(whole[:middle], at):
            low = middle
        else:
            high = middle - 1
    return low


def _replaced(response: bytes, spans: Iterable[tuple[int, int]]) -> bytes:
    """Replace each group of overlapping spans by one mask."""
    pieces: list[bytes] = []
    masked_to = 0
    for start, end in spans:
        if start >= masked_to:
            pieces += (response[masked_to:start], MASK.encode())
        masked_to = max(masked_to, end)
    return b"".join((*pieces, response[masked_to:]))


def _lowered(text: str) -> bytes:
    return text.encode(errors="replace").lower()


def _as_json(value: str) -> str:
    return json.dumps(value)[1:-1]


def _as_json_with_slashes(value: str) -> str:
    """As PHP does."""
    return _as_json(value).replace("/", "\\/")


def _percent_encoded(value: str) -> str:
    return quote(value, safe="")


_ENCODINGS: tuple[_Encoding, ...] = (
    str,
    _as_json,
    _as_json_with_slashes,
    escape,
    _percent_encoded,
    quote,
    quote_plus,
)
"""Each encodes one character after the other, so a prefix of a value is encoded as a prefix of its encoding."""


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
    if len(values) != len(kept):  # secrets fill it, or one has a line break
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
