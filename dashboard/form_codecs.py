"""How the fields of a form are read from texts, and written as texts."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from api.problems import Problem
from api.strict_json import fault_of, parse
from dashboard.rendering import read_durations, write_durations

MAX_NAME_SHOWN = 64


class Codec(NamedTuple):
    """How a field is read and written. `read` raises ValueError."""

    read: Callable[[str], Any]
    write: Callable[[Any], str]
    has_lines: bool = False


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("must be a number") from None


def _count(text: str) -> int:
    if not text.strip().isdecimal() or len(text) > 9:
        raise ValueError("must be a whole number")
    return int(text)


def _duration(text: str) -> float:
    found = read_durations(text)
    if len(found) != 1:
        raise ValueError("must be one duration such as 5s, 5m, 2h")
    return found[0]


def _json(text: str) -> Any:
    try:
        return parse(text.encode())
    except Problem as error:
        raise ValueError(fault_of(error)) from None


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not line.strip():
            continue
        if not colon:
            raise ValueError(f"line {number} has no colon: write each line as name: value")
        if name in pairs:
            raise ValueError(f"line {number} repeats {name[:MAX_NAME_SHOWN]}")
        pairs[name] = value
    return pairs


def _write_pairs(pairs: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in pairs.items())


def _pairs_or_json(text: str) -> Any:
    return _json(text) if text.lstrip().startswith("{") else _pairs(text)


def _write_pairs_or_json(pairs: Mapping[str, str]) -> str:
    """Write one pair a line; as JSON if that would read as something else, or a browser could change it."""
    text = _write_pairs(pairs)
    with suppress(ValueError):
        if all(map(str.isprintable, text.split("\n"))) and _pairs_or_json(text) == pairs:
            return text
    return JSON.write(pairs)


def choice(default: str) -> Codec:
    """Make the codec of a list of choices, whose first one is the default and has no text."""
    return Codec(str.strip, lambda value: "" if value == default else value)


LINE = Codec(str.strip, str)
TEXT = Codec(str, str, has_lines=True)
LINES = Codec(lambda text: [line.strip() for line in text.split("\n") if line.strip()], "\n".join, has_lines=True)
HEADERS = Codec(_pairs, _write_pairs, has_lines=True)
METADATA = Codec(_pairs_or_json, _write_pairs_or_json, has_lines=True)
JSON = Codec(_json, lambda value: json.dumps(value, indent=2, ensure_ascii=False) if value else "", has_lines=True)
PATTERNS = Codec(lambda text: text.replace(",", " ").split(), ", ".join)
CHECK = Codec(lambda text: text == "true", lambda value: "true" if value else "")
NUMBER = Codec(_number, lambda value: f"{value:.12g}")
COUNT = Codec(_count, str)
DURATION = Codec(_duration, lambda value: write_durations([value]))
DURATIONS = Codec(read_durations, write_durations)
