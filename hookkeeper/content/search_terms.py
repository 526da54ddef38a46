"""What searches are made of: keys of event data, which are paths with values, and the terms of a query. Pure.

A path is a list of names, joined by dots. It leads through objects only, and has no expressions.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from pydantic_core import to_json

KEY_PATH = r"^[A-Za-z0-9_$@-]+(\.[A-Za-z0-9_$@-]+)*$"
MAX_PATH = 100
MAX_PATHS = 5
"""Keys that an event type or a tenant can declare."""
MAX_VALUE = 256
"""Characters of a value that is indexed."""
MAX_TERMS = 5
MAX_QUERY = 400
MAX_DIGITS = 15
"""Digits of a whole number that is indexed without decimals: JSON has `4711.0` and `4711` for the same."""
_TERM = re.compile(
    r"""\s* (?: (?P<field>data|metadata) \. (?P<path>[A-Za-z0-9_$@.-]+) : \s* )?"""
    r"""(?: "(?P<quoted>[^"]*)" | (?P<word>[^\s"]+) ) (?=\s|$)""",
    re.VERBOSE,
)


class Key(NamedTuple):
    """A value in the data of an event, as a text."""

    path: str
    value: str


CHANNEL = "#channel"
"""Takes the place of the path in the key of an event's channel: no path in data is written like this."""


class Term(NamedTuple):
    """A condition: the value at a path, or a text anywhere."""

    text: str
    path: str | None = None


class BadQuery(ValueError):
    """The text is no query; `str()` says what it must be."""


def keys_of(data: Any, paths: Iterable[str]) -> tuple[Key, ...]:
    """Return the keys that data have at these paths. What cannot be indexed is left out: long texts, lists, objects."""
    found = ((path, value_at(data, path)) for path in dict.fromkeys(paths))
    return tuple(Key(path, value) for path, value in found if value and len(value) <= MAX_VALUE and _is_storable(value))


def keys_of_channels(channels: Iterable[str]) -> tuple[Key, ...]:
    """Return the keys by which the events of these channels are found."""
    return tuple(Key(CHANNEL, channel) for channel in dict.fromkeys(channels))


def value_at(data: Any, path: str) -> str | None:
    """Return the text, number or boolean at a path as a text; None if there is none."""
    for name in path.split("."):
        if not isinstance(data, dict) or name not in data:
            return None
        data = data[name]
    if isinstance(data, bool):
        return "true" if data else "false"
    if isinstance(data, float) and data.is_integer() and abs(data) < 10**MAX_DIGITS:
        return str(int(data))
    if isinstance(data, int | float):
        return json.dumps(data)
    return data if isinstance(data, str) else None


def _is_storable(value: str) -> bool:
    """Return whether every database can store the text."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def parse(query: str, field: str = "data") -> tuple[Term, ...]:
    """Read a query: words, texts in quotes, and `data.path:value`; all have to be met. Raises BadQuery."""
    terms = tuple(_terms(query.strip(), field))
    if not terms:
        raise BadQuery("must not be empty")
    if len(terms) > MAX_TERMS:
        raise BadQuery(f"must have at most {MAX_TERMS} terms")
    return terms


def _terms(query: str, field: str) -> Iterator[Term]:
    end = 0
    while end < len(query):
        found = _TERM.match(query, end)
        text = found and (found["quoted"] if found["quoted"] is not None else found["word"])
        if not found or not text or "\0" in text:
            raise BadQuery(f'must be words, texts in quotes, or {field}.path:value, such as {field}.name:"a b"')
        if found["field"] not in (None, field):
            raise BadQuery(f"searches {field}, not {found['field']}")
        yield Term(text, found["path"])
        end = found.end()


def matches(data: Any, event_id: str, terms: Iterable[Term]) -> bool:
    """Return whether an event meets all terms: by its id, or by its data as JSON."""
    quoted = [term if term.path else Term(to_json(term.text).decode()[1:-1]) for term in terms]
    return has_all(f"{event_id}\n{to_json(data).decode()}", lambda path: value_at(data, path), quoted)


def has_all(text: str, at: Callable[[str], str | None], terms: Iterable[Term]) -> bool:
    """Return whether all terms are met: the text has each text, and `at` returns the value at each path.

    Upper and lower case are the same in texts, not in values.
    """
    folded = text.casefold()
    return all(term.text.casefold() in folded if term.path is None else at(term.path) == term.text for term in terms)
