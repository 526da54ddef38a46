"""Encrypts every payload on its way to Temporal: inputs, results, heartbeats, memos, summaries, queries, failures.

What Temporal itself works with it gets as it is: workflow ids, search attributes and fairness keys. They hold tenants,
event ids and types, ids of webhooks and times, and nothing of an event's data or of a receiver.
"""

from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from hookkeeper.crypto.keyring import Keyring, Sealed

ENCODING = b"binary/encrypted"
PURPOSE = "temporal.payload"


class EncryptionCodec(PayloadCodec):
    """Encrypts payloads with the first key. What is not encrypted passes: it was written before there were keys."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload with its own metadata."""
        return [self._encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt what is encrypted. Raises CipherError."""
        return [self._decrypted(payload) for payload in payloads]

    def _encrypted(self, payload: Payload) -> Payload:
        key_id, data = self._keyring.encrypt(payload.SerializeToString(), PURPOSE)
        return Payload(metadata={"encoding": ENCODING, "encryption-key-id": key_id.encode()}, data=data)

    def _decrypted(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        key_id = payload.metadata.get("encryption-key-id", b"").decode(errors="replace")
        return Payload.FromString(self._keyring.decrypt(Sealed(key_id, payload.data), PURPOSE))
