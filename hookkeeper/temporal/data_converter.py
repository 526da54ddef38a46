"""How messages become payloads: JSON without defaults, encrypted if there are keys."""

from dataclasses import replace
from typing import Any

from pydantic_core import SchemaSerializer
from pydantic_core.core_schema import any_schema
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
)

from hookkeeper.crypto.keyring import Keyring
from hookkeeper.crypto.payload_codec import EncryptionCodec

SERIALIZER = SchemaSerializer(any_schema())


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


def data_converter(keyring: Keyring | None = None) -> DataConverter:
    """Return the converter of our clients and workers. With keys, failures are encrypted too."""
    converter = DataConverter(payload_converter_class=CompactPayloadConverter)
    if keyring is None:
        return converter
    return replace(
        converter,
        payload_codec=EncryptionCodec(keyring),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
