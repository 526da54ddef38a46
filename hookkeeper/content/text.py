"""Lines, invisible characters and the length of texts."""

import re
import unicodedata

API_KEY = re.compile(r"[!-~]([ -~]*[!-~])?")
"""A key that the header `Authorization: Bearer <key>` can carry."""
LINES, WORD, SECONDS = "lines", "word", "seconds"
"""Marks of types, in `Annotated`: a text of several lines, one without blanks, a number that is a duration."""
_NOT_IN_A_LINE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: controls (CR and LF among them), surrogates, line and paragraph separators."""

# C0 but tab and line feed, DEL and C1; the marks and embeddings that turn the direction of text (Unicode UAX #9);
# line and paragraph separators; zero-width characters that are no joiners; half of a surrogate pair.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def is_line(text: str) -> bool:
    """Return whether a text is valid in a header: without line breaks and control characters."""
    return not any(unicodedata.category(character) in _NOT_IN_A_LINE for character in text)


def check_line(text: str) -> str:
    """Return the text. Raises ValueError unless it is valid in a header."""
    if not is_line(text):
        raise ValueError("must be one line without control characters")
    return text


def is_visible_line(text: str) -> bool:
    """Return whether a text is one line without invisible characters."""
    return not ("\n" in text or "\t" in text or _INVISIBLE.search(text))


def visible(text: str) -> str:
    r"""Write invisible characters as Python does (`\x1b`, `\u202e`); tabs and line feeds stay."""
    return _INVISIBLE.sub(lambda match: ascii(match[0])[1:-1], text)


def truncate(text: str, limit: int) -> str:
    """Shorten a text to `limit` characters; the last one of a shortened text is `…`."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
