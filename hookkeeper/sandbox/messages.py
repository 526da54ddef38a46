"""Requests to children of the sandbox and their answers, as JSON: neither side executes what the other sends.

A message is its length, followed by JSON in UTF-8. A request has one function and the arguments of one or more calls.
Each call has one answer: `{"result": …}`, `{"content_error": [class, arguments]}`, or `{"error": text}` for an internal
error. An empty message ends the answers. A child may end them early; the remaining calls are then requested again.
"""

import json
import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, Union

from hookkeeper.content import errors
from hookkeeper.content.errors import ContentError
from hookkeeper.kind import load
from hookkeeper.sandbox.functions import Function

LENGTH = struct.Struct("!Q")
MAX_ANSWER = 16 * 1024 * 1024
_CONTENT_ERRORS = {
    "ContentError": errors.__name__,
    "BadTemplate": errors.__name__,
    "BadFilter": errors.__name__,
    "TooCostly": errors.__name__,
    "BadTls": "hookkeeper.content.tls",
}
"""Content errors that a child may raise, and their modules."""


class BadAnswer(Exception):
    """A child has sent an invalid answer."""


class ChildRequest(NamedTuple):
    """Calls for a child, with arguments not yet decoded."""

    function: str
    arguments: list[list[Any]]
    """One list for each call."""
    shared: list[Any]
    """Arguments of all calls, after their own."""
    named: dict[str, Any]


def dumps(value: Any) -> str:
    """Return compact JSON. Raises RecursionError for deep nesting."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def message(text: str) -> bytes:
    content = text.encode("utf-8", "surrogatepass")
    return LENGTH.pack(len(content)) + content


def request(name: str, arguments: Sequence[str], shared: str, named: str) -> bytes:
    """Return a request made of parts that are JSON already."""
    return message(
        f'{{"function":{dumps(name)},"arguments":[{",".join(arguments)}],"shared":{shared},"named":{named}}}'
    )


def read_request(content: bytes) -> ChildRequest:
    return ChildRequest(**json.loads(content))


def encoded(function: Function, arguments: Sequence[Any], position: int = 0) -> str:
    """Return arguments as JSON; the first one has this `position` among the function's arguments."""
    types = function.takes[position:]
    typed = [
        _plain((type_,), value) if type_ and value is not None else value
        for type_, value in zip(types, arguments, strict=False)
    ]
    return dumps([*typed, *arguments[len(types) :]])


def decoded(function: Function, arguments: Sequence[Any]) -> list[Any]:
    typed = [
        _adapter((type_,)).validate_python(value) if type_ and value is not None else value
        for type_, value in zip(function.takes, arguments, strict=False)
    ]
    return [*typed, *arguments[len(function.takes) :]]


def result(function: Function, value: Any) -> bytes:
    """Return a result as a message. Raises RecursionError for deep nesting."""
    return message(dumps({"result": _plain(function.gives, value) if function.gives else value}))


def content_error(raised: ContentError) -> bytes:
    name = next(kind.__name__ for kind in type(raised).__mro__ if kind.__name__ in _CONTENT_ERRORS)
    return message(dumps({"content_error": [name, list(raised.args)]}))


def error(text: str) -> bytes:
    return message(dumps({"error": text}))


def read_answer(function: Function, content: bytes) -> Any:
    """Return the result, or the exception that the child has raised. Raises BadAnswer for an invalid answer."""
    try:
        answer = json.loads(content)
        ((kind, value),) = answer.items()
        return _READ[kind](function, value)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as bad:
        raise BadAnswer(f"a child of the sandbox gave an invalid answer: {type(bad).__name__}") from None


def name_of(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _read_result(function: Function, value: Any) -> Any:
    return _adapter(function.gives).validate_python(value) if function.gives else value


def _read_content_error(_: Function, value: Any) -> ContentError:
    name, arguments = value
    if not all(isinstance(argument, str | int | None) for argument in arguments):
        raise TypeError("arguments of a content error are texts and numbers")
    made: ContentError = load(f"{_CONTENT_ERRORS[name]}:{name}")(*arguments)
    return made


def _read_error(_: Function, value: Any) -> RuntimeError:
    return RuntimeError(str(value))


_READ: dict[str, Callable[[Function, Any], Any]] = {
    "result": _read_result,
    "content_error": _read_content_error,
    "error": _read_error,
}


def _plain(types: tuple[str, ...], value: Any) -> Any:
    """Return a value of one of these types as plain JSON. Raises RecursionError for deep nesting."""
    try:
        return _adapter(types).dump_python(value, mode="json")
    except ValueError as error:
        if "depth exceeded" in str(
            error
        ):  # Pydantic's limit is 255; before Python 3.12, that of the interpreter is less
            raise RecursionError(str(error)) from error
        raise


@cache
def _adapter(types: tuple[str, ...]) -> Any:
    """Return an adapter for values of one of these types."""
    from pydantic import TypeAdapter  # a child without such types does not load Pydantic

    union: Any = Union[tuple(load(type_) for type_ in types)]  # noqa: UP007
    return TypeAdapter(union)
