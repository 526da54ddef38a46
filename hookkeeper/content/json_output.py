"""Writes the values of a template's expressions into JSON: a value, or escaped text inside a string.

Whether an expression is inside a string depends on the text before it, which loops, conditions and macros produce. So
an expression writes a mark while the template is rendered, and the marks are replaced when all text is known. They
have a random part, so no event's data can contain one.
"""

import json
import re
import secrets
from typing import Any, NamedTuple

from minijinja import Markup, safe

from hookkeeper.content.errors import BadTemplate
from hookkeeper.content.json_text import compact

_START, _END = "\ufdd0", "\ufdd1"
"""Unicode reserves these for use inside a program."""
_DAMAGED = "a filter cannot be applied to text that already contains {{ … }}: apply it to the values"
_QUOTE_OR_ESCAPE = re.compile(r'\\.?|"', re.DOTALL)


class _Json(NamedTuple):
    """The JSON of a value that is not text."""

    text: str


class JsonOutput:
    """The output of one template."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._random = f"aZ{secrets.token_hex(8)}"  # both cases: `upper` and `lower` damage a mark and do not pass
        self._mark = re.compile(f"{_START}{self._random}:([0-9]+){_END}")
        self._values: list[str | _Json] = []
        self._written: list[str] = []
        self._size = 0
        self._in_string = self._after_backslash = False
        self.has_empty_fragment = False
        """An expression marked as `safe` was empty where a value is needed."""

    def mark(self, value: Any) -> str:
        """Store the value of an expression and return its mark."""
        self._values.append(value if isinstance(value, str) else self._json(compact(value)))
        return safe(f"{_START}{self._random}:{len(self._values) - 1}{_END}")

    def _json(self, text: str) -> str | _Json:
        """Return the JSON of a value. A list can contain output of the template, and therefore marks."""
        return safe(text) if self._random in text else _Json(text)

    def finish(self, text: str) -> str:
        """Replace the marks in the rendered text. Raises BadTemplate if the result is too long."""
        self._write_fragment(text)
        return "".join(self._written)

    def _write_fragment(self, text: str) -> None:
        """Write a part of the JSON unchanged, and replace its marks."""
        position = 0
        for mark in self._mark.finditer(text):
            self._write_literal(text[position : mark.start()])
            self._write_value(self._values[int(mark[1])])
            position = mark.end()
        self._write_literal(text[position:])

    def _write_literal(self, text: str) -> None:
        self._check_undamaged(text)
        if not text:
            return
        if self._after_backslash:  # the first character belongs to the escape
            self._after_backslash = False
            self._scan(text, 1)
        else:
            self._scan(text, 0)
        self._write(text)

    def _scan(self, text: str, start: int) -> None:
        """Follow where strings begin and end."""
        for found in _QUOTE_OR_ESCAPE.finditer(text, start):
            if found[0] == '"':
                self._in_string = not self._in_string
            elif self._in_string and found[0] == "\\":
                self._after_backslash = True

    def _write_value(self, value: str | _Json) -> None:
        if self._after_backslash:
            raise BadTemplate("a backslash before {{ … }} inside a string must be doubled")
        if self._in_string:
            self._write_escaped(value)
        elif isinstance(value, _Json):
            self._write(value.text)
        elif self._is_fragment(value):
            self.has_empty_fragment |= not value
            self._write_fragment(value)
        else:
            self._write(compact(value))

    def _write_escaped(self, value: str | _Json) -> None:
        """Write a value as text inside a string."""
        if isinstance(value, _Json) or not self._is_fragment(value):
            self._write(_escaped(value.text if isinstance(value, _Json) else value))
            return
        position = 0
        for mark in self._mark.finditer(value):
            self._write(_escaped(self._check_undamaged(value[position : mark.start()])))
            self._write_escaped(self._values[int(mark[1])])
            position = mark.end()
        self._write(_escaped(self._check_undamaged(value[position:])))

    def _is_fragment(self, value: str) -> bool:
        """Return whether a text is output of the template itself: a macro or block, or marked as `safe`."""
        return isinstance(value, Markup) or self._random in value

    def _check_undamaged(self, text: str) -> str:
        if _START in text or _END in text or self._random.lower() in text.lower():
            raise BadTemplate(_DAMAGED)
        return text

    def _write(self, text: str) -> None:
        self._size += len(text)
        if self._size > self._limit:
            raise BadTemplate(f"writes more than {self._limit // 1024} KiB")
        self._written.append(text)


def _escaped(text: str) -> str:
    return json.dumps(str(text), ensure_ascii=False)[1:-1]
