"""Parses JSON strictly (RFC 8259), with limits of depth, values and keys.

Values are counted before a text is parsed: `[[],[],…` takes twenty times its size in memory.
"""

import json
import re
from math import isinf
from typing import Any, NamedTuple, NoReturn

from api.problems import Malformed, Problem, Unprocessable
from hookkeeper.services.errors import Invalid

MAX_DEPTH = 64
"""Levels of nesting in a body."""
MAX_VALUES = 20_000
"""Members of all objects and arrays of a body together."""
MAX_KEY = 1024
"""Characters of a key."""
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
TOO_MANY = f"contains more than {MAX_VALUES} values"
LONG_KEY = f"has a key of more than {MAX_KEY} characters"
NO_TEXT = "a lone surrogate is not text"
MAX_STEP_SHOWN = 64
"""Characters of each key in the path of a bad value."""
MAX_BATCH_VALUES = 5 * MAX_VALUES
TOO_MANY_IN_BATCH = f"contains more than {MAX_BATCH_VALUES} values"
_UP_TO_MARK = re.compile(rb'(?:[^",\[{]++|"(?:[^"\\]++|\\.)*+")*+[,\[{]', re.DOTALL)
"""Up to the next mark that is not within a string. Possessive: it never goes back, and so takes linear time."""


def parse(body: bytes, *, is_batch: bool = False) -> Any:
    """Parse JSON strictly; raise `Malformed`, or `Unprocessable` for what JSON allows and we do not."""
    if has_more_marks(body, 2 * (MAX_BATCH_VALUES if is_batch else MAX_VALUES)):  # a value has two at most
        raise _unprocessable("body", TOO_MANY_IN_BATCH if is_batch else TOO_MANY)
    try:
        value = json.loads(body.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not UTF-8: byte {error.start} is invalid.") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise _unprocessable("body", TOO_DEEP) from None
    except ValueError:  # Python reads integers up to a limit: see `sys.set_int_max_str_digits`
        raise _unprocessable("body", "holds an integer of thousands of digits") from None
    if is_batch and isinstance(value, dict) and isinstance(events := value.get("events"), list):
        _check({**value, "events": None}, _Location())
        values = sum(_check(event, _Location(n, _Location("events", _Location()))) for n, event in enumerate(events))
        if values > MAX_BATCH_VALUES:
            raise _unprocessable("body", TOO_MANY_IN_BATCH)
    else:
        _check(value, _Location())
    return value


def fault_of(problem: Problem) -> str:
    """Return what `parse` has found wrong, in words that fit a field of a form too."""
    for error in problem.errors:
        return error.detail if error.path == "body" else f"{error.path}: {error.detail}"
    return str(problem.detail).replace("The body is", "is", 1)


class _Location(NamedTuple):
    """The location of a list or an object in a body. Its path is made only for an error, since keys can be long."""

    step: str | int = ""
    parent: "_Location | None" = None
    depth: int = 0

    def child(self, step: str | int) -> "_Location":
        return _Location(step, self, self.depth + 1)

    @property
    def path(self) -> str:
        steps: list[str] = []
        location = self
        while location.parent:
            steps.append(str(location.step)[:MAX_STEP_SHOWN])
            location = location.parent
        return ".".join(reversed(steps)) or "body"


def _check(value: Any, root: _Location) -> int:
    """Refuse too much of anything, numbers beyond a double, and text that UTF-8 cannot carry; count the values."""
    if detail := _fault(value):
        raise _unprocessable(root.path, detail)
    pending = [(value, root)] if isinstance(value, dict | list) else []
    values = 0
    while pending:
        container, location = pending.pop()
        if location.depth > MAX_DEPTH:
            raise _unprocessable(location.path, TOO_DEEP)
        if isinstance(container, dict):
            _check_keys(container, location)
        values += len(container)
        if values > MAX_VALUES:
            raise _unprocessable(root.path, TOO_MANY)
        for step, item in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(item, dict | list):
                pending.append((item, location.child(step)))
            elif detail := _fault(item):
                raise _unprocessable(location.child(step).path, detail)
    return values


def _fault(value: Any) -> str | None:
    """Return why a string or a number cannot be sent; None if it can be."""
    if isinstance(value, str) and not _is_text(value):
        return NO_TEXT
    if isinstance(value, float) and isinf(value):
        return "this number is too large"
    return None


def _check_keys(container: dict[str, Any], location: _Location) -> None:
    if not all(map(_is_text, container)):
        raise _unprocessable(location.path, NO_TEXT)
    if any(len(key) > MAX_KEY for key in container):
        raise _unprocessable(location.path, LONG_KEY)


def _is_text(text: str) -> bool:
    """Return whether a string contains no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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


def _no_constant(name: str) -> NoReturn:
    raise Malformed(f"The body is not JSON: {name} is not a valid number.")


def _unprocessable(path: str, detail: str) -> Unprocessable:
    error = Invalid.field(path, detail)
    return Unprocessable(str(error), error.errors)
