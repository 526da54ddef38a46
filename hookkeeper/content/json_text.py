"""JSON: compact and readable output, and strict parsing."""

import json
from typing import Any

from pydantic_core import from_json

from hookkeeper.content.errors import BadTemplate
from hookkeeper.content.text import truncate


def compact(value: Any) -> str:
    """Write JSON without spaces, keys in the order they have. Raises ValueError for NaN and infinities."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def readable(value: Any, limit: int) -> str:
    """Write JSON for people, at most `limit` characters of it."""
    parts, size = [], 0
    for part in json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(value):
        parts.append(part)
        size += len(part)
        if size > limit:  # the rest is not needed, and deep data is many times as large when it is indented
            break
    return truncate("".join(parts), limit)


def check_size(value: Any, limit: int) -> None:
    """Raise ValueError unless the value is JSON of at most `limit` bytes."""
    try:
        size = len(compact(value).encode())
    except (TypeError, ValueError, RecursionError):  # among them NaN, and half of a surrogate pair
        raise ValueError("must be JSON") from None
    if size > limit:
        raise ValueError(f"must be at most {limit // 1024} KiB of JSON, and is {size} bytes")


def parse(field: str, text: str) -> Any:
    """Parse the output of a template as JSON (RFC 8259). Raises BadTemplate with the field's name and the line."""
    if not text.strip():
        raise BadTemplate(f"{field}: the template renders nothing, but JSON is required")
    try:
        value = from_json(text.encode(), allow_inf_nan=False)
        compact(value)  # jiter reads a number beyond a double as infinity
    except ValueError as error:
        raise BadTemplate(f"{field}: the output of the template is not JSON: {error}") from None
    return value


def flat_object(field: str, text: str) -> dict[str, Any]:
    """Parse the output of a template as a flat JSON object. Raises BadTemplate."""
    value = parse(field, text)
    if not isinstance(value, dict) or any(isinstance(item, dict | list) for item in value.values()):
        raise BadTemplate(f"{field}: the template must render a flat JSON object, without lists or objects as values")
    return value
