"""Takes the secrets of a service's URL out of texts. Pure."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, unquote

MASK = "********"
SHORTEST = 4
"""Characters of the shortest part that is taken for a secret: shorter ones stand in any word."""

_NO_SECRETS = frozenset({"format", "mode", "priority"})
"""Arguments whose values are words that may stand in any sentence."""
_BETWEEN_PARTS = re.compile(r"[/,;:@?&=#\s]+")


def scrub(text: str, url: str) -> str:
    """Mask each part of the URL behind its scheme that has 4 characters or more, however it is spelled."""
    spellings = {spelling for part in _parts(url) for spelling in _spellings(part) if len(spelling) >= SHORTEST}
    if not spellings:
        return text
    longest_first = sorted(spellings, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), MASK, text, flags=re.IGNORECASE)


def _parts(url: str) -> Iterator[str]:
    """Give user, password, host, segments of the path and values of the query: whole, and what they consist of."""
    location, _, query = url.partition("://")[2].partition("?")
    values = [value for name, value in parse_qsl(query) if name not in _NO_SECRETS]
    for whole in (*re.split("[/@#]+", location), *values):
        yield whole
        yield from _BETWEEN_PARTS.split(whole)
        yield from _BETWEEN_PARTS.split(unquote(whole))


def _spellings(part: str) -> Iterator[str]:
    decoded = unquote(part)
    for spelling in (part, decoded, quote(decoded), quote(decoded, safe="")):
        yield spelling
        yield spelling.strip("#@+~!*")
