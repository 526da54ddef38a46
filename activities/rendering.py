"""The body that is sent. Pure: the bytes made here are the bytes that are signed and the bytes that are sent."""

import json
from datetime import datetime
from typing import Any

from times import rfc3339


def standard_body(id_: str, type_: str, timestamp: datetime, data: Any) -> bytes:
    """Give the standard body: compact JSON in UTF-8, keys of the data in the order the event has them."""
    event = {"id": id_, "type": type_, "timestamp": rfc3339(timestamp), "data": data}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
