"""Signed cursors of lists, and encrypted ids of a stream's messages. One that we did not send is refused before the
registry or Temporal reads it.

The keys are derived from the admin key, which all API processes share. Cursors from before a new admin key are refused.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import TypeVar

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from api.problems import Malformed
from hookkeeper.registry.events.change_log import END, Position
from hookkeeper.services.errors import BadField
from hookkeeper.services.fields import CountedPage, Page

SIGNATURE_BYTES = 16
MAX_LENGTH = 4096
"""Characters of a cursor."""
PURPOSE = b"hookkeeper cursor\0"
Item = TypeVar("Item")
BLOCK = 16
NUMBER = 6
"""Bytes of the number of a write."""
CHANGE = 4
STREAM_ID_LENGTH = 22
"""Characters of an id."""
PADDING = bytes(BLOCK - NUMBER - CHANGE)


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


class StreamCursors:
    """Converts positions in the log of changes to ids of messages and back.

    A position shows how much all tenants do. So an id is one block of AES: equal positions have equal ids, and an id
    that no stream has sent is recognised by its padding.
    """

    def __init__(self, key: bytes) -> None:
        derived = hashlib.sha256(b"stream\0" + key).digest()
        self._cipher = Cipher(algorithms.AES(derived), modes.ECB())  # noqa: S305 (of a single block)

    def id_of(self, position: Position) -> str:
        block = position.write.to_bytes(NUMBER) + position.change.to_bytes(CHANGE) + PADDING
        encryptor = self._cipher.encryptor()
        return base64.urlsafe_b64encode(encryptor.update(block) + encryptor.finalize()).decode().rstrip("=")

    def position(self, given: str) -> Position:
        """Return the position of an id. Raises Malformed if it is none of a stream."""
        try:
            encrypted = (
                base64.b64decode(given + "==", altchars=b"-_", validate=True) if len(given) == STREAM_ID_LENGTH else b""
            )
        except ValueError:
            encrypted = b""
        if len(encrypted) != BLOCK:
            raise _bad_id()
        decryptor = self._cipher.decryptor()
        block = decryptor.update(encrypted) + decryptor.finalize()
        position = Position(int.from_bytes(block[:NUMBER]), int.from_bytes(block[NUMBER : NUMBER + CHANGE]))
        if not block.endswith(PADDING) or position.change > END:
            raise _bad_id()
        return position


def _bad_id() -> Malformed:
    return Malformed(
        "The id of the last message is invalid.",
        [BadField(path="Last-Event-ID", detail="must be the id of a message of this stream")],
    )
