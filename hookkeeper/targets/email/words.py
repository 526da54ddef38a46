"""Emails in a few words, for the command line."""

import re
from typing import Any

_ENTRY = re.compile(r'(?:"[^"]*"|\{\{.*?\}\}|\{%.*?%\}|[^,])+')
"""Text between two commas; commas in quotes and in templates do not count."""


def read(text: str) -> dict[str, Any]:
    """One or more addresses, separated by commas, or an email as JSON."""
    return {"to": [entry.strip() for entry in _ENTRY.findall(text)]}


def write(item: dict[str, Any]) -> str:
    """Describe an email by its recipients and subject."""
    to = ", ".join(item["to"])
    return f"{to}  “{item['subject']}”" if item.get("subject") else to
