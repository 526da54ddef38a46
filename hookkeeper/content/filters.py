"""Filters, and keys of ordered webhooks: CEL expressions over `event`, evaluated by Google's own implementation.

It stops after 10,000 iterations of an expression's loops, but does not limit memory, and deep nesting ends the process:
tenants' filters are evaluated in `hookkeeper.sandbox.pool`.
"""

import json
import math
import operator
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any

from cel_expr_python import cel  # type: ignore[import-untyped]
from cel_expr_python.ext import ext_strings  # type: ignore[import-untyped]

from hookkeeper.content.errors import BadFilter

SOURCE_LIMIT = 4 * 1024
"""Maximum characters of an expression."""
_SENTENCE_LIMIT = 300

_BOOL, _DYN, _STRING, _BYTES = cel.Type.BOOL, cel.Type.DYN, cel.Type.STRING, cel.Type.BYTES
_INT, _UINT, _DOUBLE = cel.Type.INT, cel.Type.UINT, cel.Type.DOUBLE
_TIME, _DURATION = cel.Type.TIMESTAMP, cel.Type.DURATION

# Each part of the event is a variable of its own, so that `event.tpye` is an error when the filter is saved.
_VARIABLES = {
    "event.id": _STRING,
    "event.type": _STRING,
    "event.tenant": _STRING,
    "event.timestamp": _STRING,
    "event.channels": cel.Type.List(_STRING),
    "event.data": _DYN,
}
_KNOWN = f": an expression has {', '.join(_VARIABLES)}, and CEL's functions"

_LISTS = cel.Type.List(_DYN)
_NUMBERS = (_INT, _UINT, _DOUBLE)
_MIXED = ((_DOUBLE, _INT), (_INT, _DOUBLE))
_ARITHMETIC = {
    "_+_": [
        *((kind, kind, kind) for kind in (*_NUMBERS, _STRING, _BYTES, _LISTS, _DURATION)),
        (_TIME, _DURATION, _TIME),
        (_DURATION, _TIME, _TIME),
    ],
    "_-_": [
        *((kind, kind, kind) for kind in (*_NUMBERS, _DURATION)),
        (_TIME, _DURATION, _TIME),
        (_TIME, _TIME, _DURATION),
    ],
    "_*_": [(kind, kind, kind) for kind in _NUMBERS],
    "_/_": [(kind, kind, kind) for kind in _NUMBERS],
}
"""Types of each operator: CEL's own have to be repeated to add to them."""
_COMPUTE = {"_+_": operator.add, "_-_": operator.sub, "_*_": operator.mul, "_/_": operator.truediv}
_COMPARISONS = ("_<_", "_<=_", "_>_", "_>=_")
_COMPARED = [
    *((kind, kind) for kind in (_BOOL, *_NUMBERS, _STRING, _BYTES, _TIME, _DURATION)),
    *((one, other) for one in _NUMBERS for other in _NUMBERS if one != other),
]

_WHERE = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]+)")
_STATUS = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$| \(in container ''\)")
_MISSING = re.compile(r"Key not found in map : (.+)")


def check(expression: str) -> None:
    """Raise BadFilter for an invalid expression, or one that is not a boolean."""
    given = _program(expression).return_type()
    if given not in (_BOOL, _DYN):
        raise BadFilter(f"gives {given.name().lower()}, not true or false")


def check_key(expression: str) -> None:
    """Raise BadFilter for an invalid expression. A key may have any type."""
    if "\0" in expression:
        raise BadFilter("must not contain the character NUL")
    _program(expression)


def matches(expression: str, event: Mapping[str, Any]) -> bool:
    """Return whether an event passes. Raises BadFilter if it cannot be evaluated, for example for a missing field."""
    answer = _evaluated(expression, event)
    if answer.type() != _BOOL:
        raise BadFilter(f"gives {answer.type().name().lower()}, not true or false")
    return bool(answer.value())


def key_of(expression: str, event: Mapping[str, Any]) -> str:
    """Return a digest of the key of an event, which may be long and private. A missing value is the key "".

    Raises BadFilter if it cannot be evaluated.
    """
    value = _plain(_evaluated(expression, event))
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 100 and 100.0 are the same number
    key = value or "" if isinstance(value, str | None) else json.dumps(value, sort_keys=True, default=str)
    return sha256(key.encode()).hexdigest()


def _evaluated(expression: str, event: Mapping[str, Any]) -> Any:
    program = _program(expression)
    try:
        answer = program.eval(data={f"event.{name}": _for_cel(value) for name, value in event.items()})
    except (RuntimeError, ValueError) as error:
        raise BadFilter(_sentence(str(error))) from None
    if answer.type() == cel.Type.ERROR:
        raise BadFilter(_sentence(str(answer.value())))
    return answer


def _plain(value: Any) -> Any:
    """Convert a value of CEL for JSON; lists and maps have such values."""
    if isinstance(value, cel.Value):
        value = value.value()
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


@lru_cache(maxsize=256)
def _program(expression: str) -> Any:
    if len(expression) > SOURCE_LIMIT:
        raise BadFilter(f"has more than {SOURCE_LIMIT // 1024} KiB")
    try:
        expression.encode()  # a clearer error for a lone surrogate than CEL's
        return _CEL.compile(expression)
    except (RuntimeError, ValueError) as error:
        raise BadFilter(_sentence(str(error))) from None


def _environment() -> Any:
    """CEL with mixed integers and doubles, as in JSON, where 100 and 100.0 are the same number."""
    excluded = "".join(f'    - name: "{name}"\n' for name in (*_ARITHMETIC, *_COMPARISONS))
    return cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(f"stdlib:\n  exclude_functions:\n{excluded}"),
        variables=_VARIABLES,
        functions=list(_functions()),
        extensions=[ext_strings.ExtStrings()],
    )


def _functions() -> Iterator[Any]:
    for name, kinds in _ARITHMETIC.items():
        own = [_overload(name, (one, other), gives) for one, other, gives in kinds]
        yield cel.FunctionDecl(name, own + [_overload(name, pair, _DOUBLE, impl=_COMPUTE[name]) for pair in _MIXED])
    for name in _COMPARISONS:
        yield cel.FunctionDecl(name, [_overload(name, pair, _BOOL) for pair in _COMPARED])


def _overload(name: str, takes: tuple[Any, Any], gives: Any, **more: Any) -> Any:
    id_ = f"{name}({takes[0].name()},{takes[1].name()})"
    return cel.Overload(id_, return_type=gives, parameters=list(takes), is_member=False, **more)


def _for_cel(value: Any) -> Any:
    """Convert JSON for CEL: its integers have 64 bits, and its strings end at the first NUL."""
    if isinstance(value, dict):
        return {_for_cel(key): _for_cel(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_for_cel(item) for item in value]
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return _as_double(value)
    return value


def _as_double(number: int) -> float:
    """Return the nearest double; infinity beyond the largest one, which compares in the same way."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _sentence(error: str) -> str:
    if where := _WHERE.search(error):
        line, column, what = where.groups()
        position = "" if line == "-1" else f" (line {line}, column {column})"
        hint = _KNOWN if what.startswith("undeclared reference") else ""
        return _STATUS.sub("", what)[:_SENTENCE_LIMIT] + position + hint
    if missing := _MISSING.search(error):
        return f"{missing[1]} is missing; check with has(…) first"[:_SENTENCE_LIMIT]
    return _STATUS.sub("", error)[:_SENTENCE_LIMIT]


_CEL = _environment()
"""Made at import, since it takes 45 ms of CPU time, and a call of the sandbox may use 100 ms in all."""
