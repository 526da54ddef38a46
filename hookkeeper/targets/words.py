"""The words of kinds without words of their own: a target is written as JSON."""

import json
from typing import Any


def read(text: str) -> dict[str, Any]:
    """An object as JSON."""
    raise ValueError(f"{text!r} is no JSON object")


def write(item: dict[str, Any]) -> str:
    """Describe a target as the API shows it."""
    return json.dumps({name: value for name, value in item.items() if value is not None}, ensure_ascii=False)
