"""Takes secrets out of what a receiver says: those of a service's URL, of a request's URL and of its headers. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, quote, unquote

MASK = "********"
SHORTEST = 4
"""Characters of the shortest part that is taken for a secret: shorter ones stand in any word."""
MARGIN = 8 * 1024
"""Bytes to read behind what is kept, so that a secret that begins in what is kept is there as a whole."""

_NO_SECRETS = frozenset({"format", "mode", "priority"})
"""Arguments whose values are words that may stand in any sentence."""
_OPEN_HEADERS = frozenset({"accept", "accept-language", "cache-control", "content-type"})
_WORDS = frozenset({"Basic", "Bearer", "Digest", "basic", "bearer", "digest", "false", "null", "true"})
"""Parts that are no secrets: they name a scheme of authentication, or are JSON."""
_BETWEEN_PARTS = re.compile(r"[/,;:@?&=#\s]+")


def scrub(text: str, url: str) -> str:
    """Mask each part of a service's URL behind its scheme that has 4 characters or more, however it is spelled."""
    location, _, query = url.partition("://")[2].partition("?")
    values = [value for name, value in parse_qsl(query) if name not in _NO_SECRETS]
    return _masked(text, (*re.split("[/@#]+", location), *values))


def scrub_request(text: str, url: str, headers: Mapping[str, str], *, path: bool) -> str:
    """Mask the secrets of a request's URL and headers likewise; those of the path where that is a secret, too.

    The host is none, and neither are media types and languages.
    """
    location, _, query = url.partition("://")[2].partition("?")
    authority, slash, below = location.partition("/")
    secrets = [authority.rpartition("@")[0]]
    secrets += [value for name, value in headers.items() if name.lower() not in _OPEN_HEADERS]
    for name, value in parse_qsl(query, keep_blank_values=True):
        secrets.append(value or name)  # `?token` is all of a secret
    if path:
        secrets += [slash + below, *below.split("/")]
    return _masked(text, secrets)


def _masked(text: str, secrets: Iterable[str]) -> str:
    spellings = {spelling for part in _parts(secrets) for spelling in _spellings(part)}
    lower = text.lower()  # compiling a pattern takes far longer than this, and mostly nothing is found
    found = {each for each in spellings if len(each) >= SHORTEST and each.lower() in lower} - _WORDS
    if not found:
        return text
    longest_first = sorted(found, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), MASK, text, flags=re.IGNORECASE)


def _parts(secrets: Iterable[str]) -> Iterator[str]:
    """Give each secret whole, and what it consists of."""
    for whole in secrets:
        yield whole
        yield from whole.split()
        yield from _BETWEEN_PARTS.split(whole)
        yield from _BETWEEN_PARTS.split(unquote(whole))


def _spellings(part: str) -> Iterator[str]:
    decoded = unquote(part)
    for spelling in (part, decoded, quote(decoded), quote(decoded, safe="")):
        yield spelling
        yield spelling.strip("#@+~!*=")
