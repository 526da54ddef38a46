"""How messages and errors become payloads: JSON without defaults, encrypted if there are keys."""

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
    PayloadConverter,
)
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

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
