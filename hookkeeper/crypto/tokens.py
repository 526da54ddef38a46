"""Tokens that let in by themselves: API keys, links to the portal, and addresses of the API that take requests.

The last six digits of the first two are a checksum (CRC-32), as in GitHub's tokens. A mistyped or invented token is
recognised without a lookup, and scanners for leaked secrets mistake few other texts for one. Anyone can compute the
checksum.
"""

import base64
import hashlib
import hmac
import secrets
import string
from zlib import crc32

DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_DIGITS = 43
"""256 bits."""
CHECKSUM_DIGITS = 6
"""32 bits."""
MAC_BYTES, RANDOM_BYTES = 12, 9
"""Parts of the token of an address."""


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


class AddressTokens:
    """Tokens of addresses of one kind. A token names its owner and proves itself, so none is stored."""

    def __init__(self, kind: str, key: bytes) -> None:
        self._key = hashlib.sha256(kind.encode() + b"\0" + key).digest()

    def new(self, owner: str) -> str:
        """Make the token of a new address of this tenant, or of what else the owner is."""
        named = secrets.token_bytes(RANDOM_BYTES) + owner.encode()
        return base64.urlsafe_b64encode(self._mac(named) + named).decode().rstrip("=")

    def owner_of(self, token: str) -> str | None:
        """Return whose address it is; None if it is no token of ours."""
        try:
            decoded = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            mac, named = decoded[:MAC_BYTES], decoded[MAC_BYTES:]
            return named[RANDOM_BYTES:].decode() if hmac.compare_digest(mac, self._mac(named)) else None
        except ValueError:
            return None

    def _mac(self, named: bytes) -> bytes:
        return hmac.new(self._key, named, hashlib.sha256).digest()[:MAC_BYTES]
