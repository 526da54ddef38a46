"""Signed cursors of lists. A cursor that no list returned is refused before the registry or Temporal reads it.

The key is derived from the admin key, which all API processes share. Cursors from before a new admin key are refused.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import TypeVar

from api.problems import Malformed
from hookkeeper.services.errors import BadField
from hookkeeper.services.fields import CountedPage, Page

SIGNATURE_BYTES = 16
MAX_LENGTH = 4096
"""Characters of a cursor."""
PURPOSE = b"hookkeeper cursor\0"
Item = TypeVar("Item")


class PageCursor:
    """Where a page begins; it encodes where the next one does."""

    def __init__(self, key: bytes, path: str, given: str | None) -> None:
        self._key, self._path = key, path
        self.start = None if given is None else self._verified(given)

    def page(self, items: Sequence[Item], end: str | None) -> Page[Item]:
        """Make a page; `end` is where the next one begins."""
        return Page(items=list(items), next_cursor=None if end is None else self._signed(end))

    def counted_page(self, items: Sequence[Item], end: str | None, total: int | None) -> CountedPage[Item]:
        """Make a page with the number of all matches."""
        return CountedPage(items=list(items), next_cursor=None if end is None else self._signed(end), total=total)

    def _signed(self, text: str) -> str:
        return base64.urlsafe_b64encode(self._signature(text.encode()) + text.encode()).decode().rstrip("=")

    def _verified(self, cursor: str) -> str:
        if len(cursor) > MAX_LENGTH:
            raise bad_cursor()
        try:
            signed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            signature, text = signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]
            if hmac.compare_digest(signature, self._signature(text)):
                return text.decode()
        except ValueError:
            pass
        raise bad_cursor()

    def _signature(self, text: bytes) -> bytes:
        signed = self._path.encode() + b"\0" + text
        return hmac.new(self._key, signed, hashlib.sha256).digest()[:SIGNATURE_BYTES]


def bad_cursor() -> Malformed:
    return Malformed(
        "The cursor is invalid.",
        [BadField(path="cursor", detail="must be the next_cursor of a page of this list")],
    )


def cursor_key(admin_key: str) -> bytes:
    """Derive the key that signs cursors."""
    return hmac.new(admin_key.encode(), PURPOSE, hashlib.sha256).digest()
