"""Encrypts every payload on its way to Temporal: inputs, results, heartbeats, memos, summaries, queries, failures.

Workflow ids, search attributes and fairness keys are not encrypted, because Temporal uses them. They contain tenants,
event ids and types, webhook ids and times, but no event data and no recipients.
"""

from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from hookkeeper.crypto.keyring import Ciphertext, Keyring

ENCODING = b"binary/encrypted"
PURPOSE = "temporal.payload"


class EncryptionCodec(PayloadCodec):
    """Encrypts payloads with the first key. Unencrypted payloads, from before there were keys, pass."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload with its own metadata."""
        return [self._encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt encrypted payloads. Raises CipherError."""
        return [self._decrypted(payload) for payload in payloads]

    def _encrypted(self, payload: Payload) -> Payload:
        key_id, data = self._keyring.encrypt(payload.SerializeToString(), PURPOSE)
        return Payload(metadata={"encoding": ENCODING, "encryption-key-id": key_id.encode()}, data=data)

    def _decrypted(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        key_id = payload.metadata.get("encryption-key-id", b"").decode(errors="replace")
        return Payload.FromString(self._keyring.decrypt(Ciphertext(key_id, payload.data), PURPOSE))
