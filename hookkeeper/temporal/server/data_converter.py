"""How messages and errors become payloads: JSON without defaults, encrypted if there are keys."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import SchemaSerializer
from pydantic_core.core_schema import any_schema
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadCodec,
    PayloadConverter,
)
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from hookkeeper.crypto.keyring import Ciphertext, Keyring

SERIALIZER = SchemaSerializer(any_schema())


ENCODING = b"binary/encrypted"
PURPOSE = "temporal.payload"


class CompactJsonConverter(PydanticJSONPlainPayloadConverter):
    """Leaves out the fields of models that have their default values: a history keeps every payload."""

    def to_payload(self, value: Any) -> Payload:
        data = SERIALIZER.to_json(value, exclude_defaults=True)
        return Payload(metadata={"encoding": self.encoding.encode()}, data=data)


class CompactPayloadConverter(CompositePayloadConverter):
    """Temporal's default converter with our JSON."""

    def __init__(self) -> None:
        json = CompactJsonConverter()
        converters = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(
            *(json if isinstance(converter, JSONPlainPayloadConverter) else converter for converter in converters)
        )


class CompactFailureConverter(DefaultFailureConverter):
    """Leaves out the stack of benign errors. Activities that wait for a slot end with one, often thousands at once, and
    the stack would be most of what the server stores of each.
    """

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        if isinstance(exception, ApplicationError) and exception.category == ApplicationErrorCategory.BENIGN:
            exception.__traceback__ = None
        super().to_failure(exception, payload_converter, failure)


class EncryptedFailureConverter(CompactFailureConverter):
    """Passes messages and stacks through the payload codec too."""

    def __init__(self) -> None:
        super().__init__(encode_common_attributes=True)


class EncryptionCodec(PayloadCodec):
    """Encrypts every payload on its way to Temporal with the first key: inputs, results, heartbeats, memos, summaries,
    queries, failures. Unencrypted payloads, from before there were keys, pass.

    Workflow ids, search attributes and fairness keys are not encrypted, because Temporal uses them. They contain
    tenants, event ids and types, webhook ids and times, but no event data and no recipients.
    """

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


def data_converter(keyring: Keyring | None = None) -> DataConverter:
    """Return the converter of our clients and workers. With keys, failures are encrypted too."""
    converter = DataConverter(
        payload_converter_class=CompactPayloadConverter, failure_converter_class=CompactFailureConverter
    )
    if keyring is None:
        return converter
    return replace(
        converter,
        payload_codec=EncryptionCodec(keyring),
        failure_converter_class=EncryptedFailureConverter,
    )
