"""Invisible characters, which control a terminal or mislead readers."""

import re

# C0 but tab and line feed, DEL and C1; the marks and embeddings that turn the direction of text (Unicode UAX #9);
# line and paragraph separators; zero-width characters that are no joiners; half of a surrogate pair.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""Write invisible characters as Python does (`\x1b`, `\u202e`); tabs and line feeds stay."""
    return _INVISIBLE.sub(lambda match: ascii(match[0])[1:-1], text)


def is_visible_line(text: str) -> bool:
    """Return whether a text is one line without invisible characters."""
    return not ("\n" in text or "\t" in text or _INVISIBLE.search(text))
