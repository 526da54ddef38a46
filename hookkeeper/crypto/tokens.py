"""Tokens that let in by themselves: API keys, and links to the portal.

The last six digits are a checksum (CRC-32), as in GitHub's tokens. A mistyped or invented token is recognised without
a lookup, and scanners for leaked secrets mistake few other texts for one. Anyone can compute the checksum.
"""

import secrets
import string
from zlib import crc32

DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_DIGITS = 43
"""256 bits."""
CHECKSUM_DIGITS = 6
"""32 bits."""


def new_token(prefix: str = "") -> str:
    """Make a token of 256 random bits."""
    text = prefix + "".join(secrets.choice(DIGITS) for _ in range(RANDOM_DIGITS))
    return text + _checksum(text)


def is_token(text: str, prefix: str = "") -> bool:
    """Return whether a text can be a token with this prefix."""
    digits = text.removeprefix(prefix)
    return (
        text == prefix + digits
        and len(digits) == RANDOM_DIGITS + CHECKSUM_DIGITS
        and digits.isascii()
        and digits.isalnum()
        and digits.endswith(_checksum(text[:-CHECKSUM_DIGITS]))
    )


def _checksum(text: str) -> str:
    number, digits = crc32(text.encode()), ""
    for _ in range(CHECKSUM_DIGITS):
        number, digit = divmod(number, len(DIGITS))
        digits = DIGITS[digit] + digits
    return digits
