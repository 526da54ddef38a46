"""Events as CloudEvents 1.0, written by the official SDK: one JSON object, or with the attributes in headers."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from hookkeeper.content.text import is_line

RESERVED = frozenset(
    {"id", "source", "type", "specversion", "datacontenttype", "dataschema", "subject", "time", "data"}
)
NAME = re.compile(r"[a-z0-9]{1,20}", re.ASCII)
MAX_VALUE = 1024
INTEGERS = range(-(2**31), 2**31)
"""CloudEvents 1.0, "Type System": an Integer has 32 bits."""


def check_extensions(extensions: Mapping[str, Any]) -> None:
    """Raise ValueError for what cannot be an extension attribute: CloudEvents 1.0, "Attribute Naming Convention"."""
    for name, value in extensions.items():
        if not NAME.fullmatch(name):
            raise ValueError(f"static: {name[:64]!r} must be 1 to 20 characters a-z and 0-9 in CloudEvents")
        if name in RESERVED:
            raise ValueError(f"static must not contain {name}: it is a standard attribute of CloudEvents")
        if not _is_value(value):
            raise ValueError(
                f"static: {name} must be true, false, an integer of 32 bits, "
                f"or a line of 1 to {MAX_VALUE} characters to be an attribute of a CloudEvent"
            )


def structured(event: Mapping[str, Any], extensions: Mapping[str, Any], data: Any) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of an event that is one JSON object."""
    from cloudevents.core.bindings import http  # few webhooks send CloudEvents
    from cloudevents.core.v1.event import CloudEvent

    message = http.to_structured_event(CloudEvent(_attributes(event, extensions), data))
    return message.body, message.headers


def binary(event: Mapping[str, Any], extensions: Mapping[str, Any], data: bytes) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of an event whose body is its data alone."""
    from cloudevents.core.bindings import http
    from cloudevents.core.v1.event import CloudEvent

    # The SDK would write `True`; CloudEvents 1.0 writes a Boolean as `true`.
    spelled = {name: str(value).lower() if isinstance(value, bool) else value for name, value in extensions.items()}
    message = http.to_binary_event(CloudEvent(_attributes(event, spelled), data))
    return message.body, message.headers


def _attributes(event: Mapping[str, Any], extensions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes. The id is unique for its tenant, so the source is the tenant: `/acme`, a URI-reference."""
    return {
        "specversion": "1.0",
        "id": event["id"],
        "source": f"/{quote(event['tenant'], safe='')}",
        "type": event["type"],
        "time": datetime.fromisoformat(event["timestamp"]),
        "datacontenttype": "application/json",
        **extensions,
    }


def _is_value(value: Any) -> bool:
    match value:
        case bool():
            return True
        case int():
            return value in INTEGERS
        case str():
            return 1 <= len(value) <= MAX_VALUE and is_line(value)
    return False
