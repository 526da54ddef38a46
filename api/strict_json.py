"""Parses JSON strictly (RFC 8259), with limits of depth, values and keys.

Values are counted before a text is parsed: `[[],[],…` takes twenty times its size in memory.
"""

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from math import isinf
from typing import Any

from pydantic_core import from_json

from api.problems import Malformed, Problem, Unprocessable
from hookkeeper.services.errors import Invalid

MAX_DEPTH = 64
"""Levels of nesting in a body."""
MAX_VALUES = 20_000
"""Members of all objects and arrays of a body together."""
MAX_KEY = 1024
"""Characters of a key."""
MAX_DIGITS = 308
"""Digits of an integer, as many as a double can have. Integers take time for the square of their digits: 8 MB of them
with 4,300 digits take 0.6 s in one step, and more whenever they are written.
"""
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
TOO_MANY = f"contains more than {MAX_VALUES} values"
LONG_KEY = f"has a key of more than {MAX_KEY} characters"
TOO_LARGE = "this number is too large"
LONG_NUMBER = f"has an integer of more than {MAX_DIGITS} digits"
MAX_STEP_SHOWN = 64
"""Characters of each key in the path of a bad value."""
MAX_BATCH_VALUES = 5 * MAX_VALUES
TOO_MANY_IN_BATCH = f"contains more than {MAX_BATCH_VALUES} values"
_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_RUN = b"0" * (MAX_DIGITS + 1)
Container = dict[str, Any] | list[Any]
_UP_TO_MARK = re.compile(rb'(?:[^",\[{]++|"(?:[^"\\]++|\\.)*+")*+[,\[{]', re.DOTALL)
"""Up to the next mark that is not within a string. Possessive: it never goes back, and so takes linear time."""


def parse(body: bytes, *, is_batch: bool = False) -> Any:
    """Parse JSON strictly; raise `Malformed`, or `Unprocessable` for what JSON allows and we do not."""
    if has_more_marks(body, 2 * (MAX_BATCH_VALUES if is_batch else MAX_VALUES)):  # a value has two at most
        raise _unprocessable("body", TOO_MANY_IN_BATCH if is_batch else TOO_MANY)
    if _LONG_RUN in body.translate(_AS_ZEROS):  # maybe in a text
        with suppress(ValueError, RecursionError):
            json.loads(body, parse_int=_refuse_long)
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        if str(error).startswith("recursion limit"):
            raise _unprocessable("body", TOO_DEEP) from None
        raise Malformed(f"The body is not JSON: {error}.") from None
    if is_batch and isinstance(value, dict) and isinstance(events := value.get("events"), list):
        _check({**value, "events": None})
        if sum(_check(event, ("events", n)) for n, event in enumerate(events)) > MAX_BATCH_VALUES:
            raise _unprocessable("body", TOO_MANY_IN_BATCH)
    else:
        _check(value)
    return value


def fault_of(problem: Problem) -> str:
    """Return what `parse` has found wrong, in words that fit a field of a form too."""
    for error in problem.errors:
        return error.detail if error.path == "body" else f"{error.path}: {error.detail}"
    return str(problem.detail).replace("The body is", "is", 1)


def _check(value: Any, start: tuple[str | int, ...] = ()) -> int:
    """Refuse too much of anything, and numbers beyond a double; count the values.

    Containers are checked level by level, without their paths: 19,000 empty lists are a small body. A path is looked
    for when there is an error.
    """
    if type(value) is float and isinf(value):
        raise _unprocessable(_written(start), TOO_LARGE)
    levels: list[list[Container]] = []
    level = [value] if isinstance(value, dict | list) else []
    values = 0
    while level:
        inner: list[Container] = []
        for container in level:
            if len(levels) > MAX_DEPTH:
                raise _unprocessable(_path(container, levels, start), TOO_DEEP)
            values += len(container)
            if values > MAX_VALUES:
                raise _unprocessable(_written(start), TOO_MANY)
            if isinstance(container, dict) and len(max(container, key=len, default="")) > MAX_KEY:
                raise _unprocessable(_path(container, levels, start), LONG_KEY)
            for item in container.values() if isinstance(container, dict) else container:
                kind = type(item)
                if kind is list or kind is dict:
                    if item or len(levels) == MAX_DEPTH:
                        inner.append(item)
                elif kind is float and isinf(item):
                    raise _unprocessable(_path(item, [*levels, level], start), TOO_LARGE)
        levels.append(level)
        level = inner
    return values


def _path(value: Any, levels: list[list[Container]], start: tuple[str | int, ...]) -> str:
    """Write the path of a value that is in a container of the last level, which is in one of the level before."""
    steps: list[str | int] = []
    for level in reversed(levels):
        step, value = next(
            (step, container) for container in level for step, item in _members(container) if item is value
        )
        steps.append(step)
    return _written((*start, *reversed(steps)))


def _members(container: Container) -> Iterable[tuple[str | int, Any]]:
    return container.items() if isinstance(container, dict) else enumerate(container)


def _written(steps: tuple[str | int, ...]) -> str:
    return ".".join(str(step)[:MAX_STEP_SHOWN] for step in steps) or "body"


def has_more_marks(text: bytes, limit: int) -> bool:
    """Return whether a text has more than `limit` commas and opening brackets outside of strings.

    For a text that is not JSON, the result may be wrong; the parser refuses such a text anyway.
    """
    if sum(text.count(mark) for mark in (b",", b"[", b"{")) <= limit:
        return False
    position = 0
    for _ in range(limit + 1):
        match = _UP_TO_MARK.match(text, position)
        if match is None:
            return False
        position = match.end()
    return True


def _refuse_long(digits: str) -> int:
    """Refuse an integer of too many digits before it is read."""
    if len(digits.removeprefix("-")) > MAX_DIGITS:
        raise _unprocessable("body", LONG_NUMBER)
    return 0


def _unprocessable(path: str, detail: str) -> Unprocessable:
    error = Invalid.field(path, detail)
    return Unprocessable(str(error), error.errors)
