"""The ids of messages of a stream: positions in the log of changes, encrypted.

A position shows how much all tenants do. A cursor is one block of AES: equal positions have equal ids, and an id that
no stream has sent is recognised by its padding. The key is derived from the admin key, as for the cursors of lists.
"""

import base64
import hashlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from api.problems import Malformed
from hookkeeper.registry.index.change_log import END, Position
from hookkeeper.services.errors import BadField

BLOCK = 16
NUMBER = 6
"""Bytes of the number of a write."""
CHANGE = 4
LENGTH = 22
"""Characters of an id."""
PADDING = bytes(BLOCK - NUMBER - CHANGE)


class StreamCursors:
    """Converts positions to ids and back."""

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
            encrypted = base64.b64decode(given + "==", altchars=b"-_", validate=True) if len(given) == LENGTH else b""
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
