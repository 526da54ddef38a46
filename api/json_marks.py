"""How much is in a JSON text? Counted before it is parsed: `[[],[],…` takes twenty times its size in memory."""

import re

_UP_TO_MARK = re.compile(rb'(?:[^",\[{]++|"(?:[^"\\]++|\\.)*+")*+[,\[{]', re.DOTALL)
"""Up to the next mark that is not within a string. Possessive: it never goes back, and so takes linear time."""


def has_more_marks(text: bytes, limit: int) -> bool:
    """Tell whether more than `limit` commas and opening brackets stand outside of strings.

    Text that is no JSON may be judged wrongly once it is none: the parser says so then.
    """
    if sum(text.count(mark) for mark in (b",", b"[", b"{")) <= limit:
        return False
    position = 0
    for _ in range(limit + 1):
        match = _UP_TO_MARK.match(text, position)
        if match is None:
            return False
        position = match.end()
    return True
