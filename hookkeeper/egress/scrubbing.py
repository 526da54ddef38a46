"""Takes secrets out of what a receiver says: those of a service's URL, of a request's URL and of its headers. Pure.

Whole values are searched for, each in the spellings in which receivers repeat what they were sent. Of a long value its
beginning is enough, so a copy that was cut short is masked as well. The cost is bounded, whatever the values are.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from html import escape
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "********"
SHORTEST = 4
"""Characters of the shortest value that is taken for a secret: shorter ones stand in any word."""
BEGINNING = 32
"""Characters of a value that are searched for; where they are found, as much is masked as follows of the value."""
MARGIN = 1024
"""Bytes to read behind what is kept, so that the beginning of a secret there is seen as a whole, in any spelling."""
MAX_COMPARISONS = 2000
"""A text that repeats secrets more often than this is masked as a whole."""

_NO_SECRETS = frozenset({"format", "mode", "priority"})
"""Arguments whose values are words that may stand in any sentence."""
_OPEN_HEADERS = frozenset({"accept", "accept-language", "cache-control", "content-type"})
_WORDS = frozenset({"basic", "bearer", "digest", "false", "null", "true"})
"""Values that are no secrets: they name a scheme of authentication, or are JSON."""
_BETWEEN_PARTS = re.compile(r"[/,;:@?&=#\s]+")
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]{4,}", re.ASCII)

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)

_Spelling = Callable[[str], str]


def scrub(text: str, url: str) -> str:
    """Mask each part of a service's URL behind its scheme that has 4 characters or more, however it is spelled."""
    if not text:
        return text
    location, _, query = url.partition("://")[2].partition("?")
    secrets = re.split("[/@#]+", location)
    for name, value in _arguments(query):
        secrets += [value, unquote_plus(value)] if name not in _NO_SECRETS else []
    return _masked(text, [part for secret in secrets for part in _parts(secret)])


def scrub_request(text: str, url: str, headers: Mapping[str, str], *, path: bool) -> str:
    """Mask the secrets of a request's URL and headers likewise; those of the path where that is a secret, too.

    The host is none, and neither are media types and languages.
    """
    if not text:
        return text
    location, _, query = url.partition("://")[2].partition("?")
    authority, slash, below = location.partition("/")
    secrets = [*_credentials(authority.rpartition("@")[0])]
    for name, value in headers.items():
        secrets += _values(value) if name.lower() not in _OPEN_HEADERS else []
    for name, value in _arguments(query):
        secret = value or name  # `?token` is all of a secret
        secrets += [secret, unquote_plus(secret)]
    if path:
        secrets += [slash + below, *below.split("/"), *unquote(below).split("/")]
    return _masked(text, secrets)


def _arguments(query: str) -> Iterator[tuple[str, str]]:
    for argument in query.split("&"):
        name, _, value = argument.partition("=")
        yield name, value


def _credentials(user_info: str) -> Iterator[str]:
    """Give user and password of a URL, and how they are sent."""
    if user_info:
        plain = unquote(user_info)
        yield from (user_info, *user_info.split(":", 1), plain, *plain.split(":", 1))
        yield b64encode(plain.encode()).decode()


def _values(header: str) -> Iterator[str]:
    """Give the value of a header, and what follows the name of a scheme in it."""
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


def _parts(secret: str) -> Iterator[str]:
    """Give a part of a service's URL whole, and what it consists of; the URL has 2,048 characters at most."""
    for whole in (secret, unquote(secret)):
        yield from (whole, whole.strip("#@+~!*="), *_BETWEEN_PARTS.split(whole))


def _masked(text: str, secrets: Iterable[str]) -> str:
    values = {secret for secret in secrets if len(secret) >= SHORTEST and secret.lower() not in _WORDS}
    said = text.encode(errors="replace")
    spans = _spans(said.lower(), values)
    if spans is None:
        return MASK
    if not spans:
        return text
    return _replaced(said, spans).decode(errors="ignore")


def _spans(said: bytes, values: Iterable[str]) -> list[tuple[int, int]] | None:
    """Find where secrets stand; None where there are too many."""
    spans: list[tuple[int, int]] = []
    comparisons = 0
    for needle, origins in _needles(values, _pieces(said)).items():
        at = said.find(needle)
        if at < 0:
            continue
        wholes = {_lowered(spell(value)) for spell, value in origins if len(value) > BEGINNING}
        while at >= 0:
            comparisons += 1 + len(wholes)
            if comparisons > MAX_COMPARISONS:
                return None
            end = at + max((_common_length(said, at, whole) for whole in wholes), default=len(needle))
            spans.append((at, end))
            at = said.find(needle, end)
    return sorted(spans)


def _pieces(said: bytes) -> set[bytes]:
    """Give each run of 4 bytes in a text: a value that begins with none of them need not be searched for."""
    return {said[at : at + SHORTEST] for at in range(len(said) - SHORTEST + 1)}


def _needles(values: Iterable[str], pieces: Collection[bytes]) -> dict[bytes, list[tuple[_Spelling, str]]]:
    """Give the beginnings that the text may hold, and of each the values that begin so in one of their spellings."""
    needles: dict[bytes, list[tuple[_Spelling, str]]] = {}
    for value in values:
        if _UNRESERVED.match(value, 0, SHORTEST) and _lowered(value[:SHORTEST]) not in pieces:
            continue  # these characters are the same in all spellings
        for spell in _SPELLINGS[:1] if _UNRESERVED.fullmatch(value) else _SPELLINGS:
            needle = _lowered(spell(value[:BEGINNING]))
            if needle[:SHORTEST] in pieces:
                needles.setdefault(needle, []).append((spell, value))
    return needles


def _common_length(said: bytes, at: int, whole: bytes) -> int:
    """Give how many bytes from `at` on are the beginning of `whole`."""
    low, high = 0, min(len(whole), len(said) - at)
    while low < high:
        middle = (low + high + 1) // 2
        if said.startswith(whole[:middle], at):
            low = middle
        else:
            high = middle - 1
    return low


def _replaced(said: bytes, spans: Iterable[tuple[int, int]]) -> bytes:
    """Put one mask in the place of each run of spans that overlap."""
    pieces: list[bytes] = []
    masked_to = 0
    for start, end in spans:
        if start >= masked_to:
            pieces += (said[masked_to:start], MASK.encode())
        masked_to = max(masked_to, end)
    return b"".join((*pieces, said[masked_to:]))


def _lowered(text: str) -> bytes:
    return text.encode(errors="replace").lower()


def _as_json(value: str) -> str:
    return json.dumps(value)[1:-1]


def _as_json_with_slashes(value: str) -> str:
    """Spell as PHP does."""
    return _as_json(value).replace("/", "\\/")


def _percent_encoded(value: str) -> str:
    return quote(value, safe="")


def _as_it_is(value: str) -> str:
    return value


_SPELLINGS: tuple[_Spelling, ...] = (
    _as_it_is,
    _as_json,
    _as_json_with_slashes,
    escape,
    _percent_encoded,
    quote,
    quote_plus,
)
"""Each spells one character after the other, so that the beginning of a value becomes the beginning of its spelling."""
