"""Templates in Jinja's language, rendered by minijinja. A template cannot load another.

Fuel limits minijinja's steps and memory, but neither the parsing of a template nor the methods of Python's dicts and
lists, and deep nesting ends the process: tenants' templates are rendered in `hookkeeper.sandbox.pool`.

In JSON, an expression writes a value, or escaped text inside a string. Whether it is inside a string depends on the
text before it, which loops, conditions and macros produce. So an expression writes a mark while the template is
rendered, and the marks are replaced when all text is known. They have a random part, so no event's data can contain
one.
"""

import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from minijinja import Environment, Markup, TemplateError, safe

from hookkeeper.content.errors import BadTemplate
from hookkeeper.content.json_text import compact

Escape = Literal["none", "html", "json"]
_Result = TypeVar("_Result")

SOURCE_LIMIT = 64 * 1024
"""Maximum characters of a template."""
OUTPUT_LIMIT = 1024 * 1024
"""Maximum characters of its output."""
FUEL = 250_000
"""Fuel of a template: an instruction costs 1, and so do 64 bytes read or written."""
_SENTENCE_LIMIT = 300
_TOO_MUCH = "takes too many steps or too much memory"
_POSITION = re.compile(r" \(in <string>:\d+\)")

VARIABLES = frozenset({"event", "webhook", "static", "alert"})
"""Variables of templates. `static` exists in payloads only, `alert` in alerts."""
_WRONG_FOR_EVERY_EVENT = frozenset({"UnknownFilter", "UnknownFunction", "UnknownTest", "TemplateNotFound"})
"""Kinds of errors that occur for every event."""
EXAMPLE_EVENT_ID, EXAMPLE_WEBHOOK_ID = "evt_example", "wh_example"
_TRIAL_EVENT: dict[str, Any] = {
    "event": {
        "id": EXAMPLE_EVENT_ID,
        "type": "example.type",
        "tenant": "example",
        "timestamp": "2026-01-02T03:04:05.678Z",
        "channels": [],
        "data": {},
    },
    "webhook": {"id": EXAMPLE_WEBHOOK_ID, "name": "", "metadata": {}},
}


_START, _END = "\ufdd0", "\ufdd1"
"""Unicode reserves these for use inside a program."""
_MARK = re.compile(f"{_START}(aZ[0-9a-f]{{16}}):([0-9]+){_END}")
_DAMAGED = "a filter cannot be applied to text that already contains {{ … }}: apply it to the values"
_QUOTE_OR_ESCAPE = re.compile(r'\\.?|"', re.DOTALL)


def check(template: str, escape: Escape = "none") -> str | None:
    """Raise BadTemplate for a template that is invalid or fails for every event.

    It is rendered with an example event without data, where missing values are `null`. Return the output if it has the
    same structure for every event, because the template has no conditions and loops; else None.
    """
    _guarded(template, lambda: _environment("none").add_template("template", template))
    _check_variables(template)
    output = JsonOutput(OUTPUT_LIMIT)
    finalizer = output.mark if escape == "json" else _written
    environment = _environment(escape, finalizer, "chainable")
    try:
        text = _guarded(template, lambda: output.finish(environment.render_str(template, **_TRIAL_EVENT)))
    except BadTemplate as error:
        if error.kind in _WRONG_FOR_EVERY_EVENT:
            raise
        return None
    return None if "{%" in template or output.has_empty_fragment else text


def _check_variables(template: str) -> None:
    """Raise BadTemplate for an unknown variable, with the line of its first use."""
    known = VARIABLES | set(Environment().globals)
    for name in sorted(Environment().undeclared_variables_in_str(template) - known):
        found = re.search(rf"\b{re.escape(name)}\b", template)
        before = template[: found.start()] if found else ""
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise BadTemplate(f"unknown variable {name}: use event, webhook or static", line, column)


def render(template: str, context: Mapping[str, Any], escape: Escape = "none") -> str:
    """Render a template.

    Values other than text are written as JSON: `true`, `null`, `[1, 2]`. With `json`, each `{{ … }}` writes one JSON
    value, and inside a JSON string its text, escaped and without quotes. With `html`, values are escaped.
    Raises BadTemplate for an invalid template, a missing value, or too many steps or characters.
    """
    if escape == "json":
        return _guarded(template, lambda: _json(template, context))
    text = _guarded(template, lambda: _environment(escape, _written).render_str(template, **context))
    if len(text) > OUTPUT_LIMIT:
        raise BadTemplate(f"writes more than {OUTPUT_LIMIT // 1024} KiB")
    return text


def _json(template: str, context: Mapping[str, Any]) -> str:
    output = JsonOutput(OUTPUT_LIMIT)
    return output.finish(_environment("json", output.mark).render_str(template, **context))


def _environment(
    escape: Escape, finalizer: Callable[[Any], Any] | None = None, undefined: str = "semi_strict"
) -> Environment:
    environment = Environment(
        fuel=FUEL,
        auto_escape_callback=lambda _: None if escape == "none" else escape,
        finalizer=finalizer,
        filters=_FILTERS,
        keep_trailing_newline=True,
    )
    environment.undefined_behavior = undefined  # type: ignore[assignment]  # its stubs do not know `semi_strict`
    return environment


def _guarded(template: str, use: Callable[[], _Result]) -> _Result:
    """Raise BadTemplate for every error of a template."""
    if len(template) > SOURCE_LIMIT:
        raise BadTemplate(f"has more than {SOURCE_LIMIT // 1024} KiB")
    try:
        return use()
    except BadTemplate:
        raise
    except TemplateError as error:
        sentence = _sentence(error)[:_SENTENCE_LIMIT]
        raise BadTemplate(sentence, error.line, _column(template, error), kind=error.kind) from None
    except (MemoryError, RecursionError):
        raise BadTemplate(_TOO_MUCH) from None
    # A method of a dict or a list can raise anything: `event.pop("x")`.
    except Exception as error:  # noqa: BLE001
        raise BadTemplate(f"{type(error).__name__}: {error}"[:_SENTENCE_LIMIT]) from None


def _sentence(error: TemplateError) -> str:
    match error.kind:
        case "OutOfFuel":
            return _TOO_MUCH
        case "TemplateNotFound":
            return "cannot load another template"
        case _:
            return _POSITION.sub("", error.detail or error.message)


def _column(template: str, error: TemplateError) -> int | None:
    """Return the column of an error, counted from 1, if it is known. Minijinja gives a position in bytes of UTF-8."""
    if not error.range:
        return None
    before = template.encode(errors="replace")[: error.range[0]].decode(errors="ignore")
    return len(before) - before.rfind("\n")


def _written(value: Any) -> Any:
    """Write values other than text as JSON. NotImplemented leaves it to minijinja."""
    if value is None or isinstance(value, bool | dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return NotImplemented


def datetimeformat(value: Any, format: str = "%Y-%m-%d %H:%M", tz: str = "UTC") -> str:
    """Format an RFC 3339 time, or Unix seconds, with a pattern of strftime in a time zone."""
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromtimestamp(value, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise BadTemplate("datetimeformat needs an RFC 3339 time or Unix seconds") from None
    try:
        zone = ZoneInfo(tz)
    except (ValueError, LookupError, OSError):
        raise BadTemplate(f"datetimeformat knows no time zone {tz!r}") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(zone).strftime(format)


_FILTERS: dict[str, Callable[..., Any]] = {"datetimeformat": datetimeformat}


class _Json(NamedTuple):
    """The JSON of a value that is not text."""

    text: str


class JsonOutput:
    """The output of one JSON template: marks, and then what they stand for."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._random = f"aZ{secrets.token_hex(8)}"  # both cases: `upper` and `lower` damage a mark and do not pass
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
        for mark in self._marks(text):
            self._write_literal(text[position : mark.start()])
            self._write_value(self._values[int(mark[2])])
            position = mark.end()
        self._write_literal(text[position:])

    def _marks(self, text: str) -> Iterator[re.Match[str]]:
        return (mark for mark in _MARK.finditer(text) if mark[1] == self._random)

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
        for mark in self._marks(value):
            self._write(_escaped(self._check_undamaged(value[position : mark.start()])))
            self._write_escaped(self._values[int(mark[2])])
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
