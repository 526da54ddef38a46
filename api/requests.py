"""What the body of a request must be before any route sees it: of bounded size, and strict JSON."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from math import isinf
from typing import Any, ClassVar, NamedTuple, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from api.json_marks import has_more_marks
from api.problems import Invalid, Malformed, TooLarge, UnsupportedMediaType
from hookkeeper.limits.turns import Turns

MAX_DEPTH = 64
"""Levels of nesting in a body."""
MAX_VALUES = 20_000
"""Members of all objects and arrays of a body together."""
MAX_KEY = 1024
"""Characters of a key."""
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
TOO_MANY = f"holds more than {MAX_VALUES} values"
LONG_KEY = f"has a key of more than {MAX_KEY} characters"
NO_TEXT = "half of a surrogate pair is not text"
MAX_STEP_SHOWN = 64
"""Characters of each key in the path of a bad value."""

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Of a whole batch; each of its events has the limit of an event too."""
MAX_BATCH_VALUES = 5 * MAX_VALUES
PARSED_ON_LOOP = 64 * 1024
"""Bytes of a body that is parsed without a thread, which takes longer to start."""
PARSED_AT_ONCE = 4
"""Bodies that are parsed in threads at the same time, half of them of one tenant."""
TOO_MANY_IN_BATCH = f"holds more than {MAX_BATCH_VALUES} values"


class StrictRequest(Request):
    """Reads at most `limit` bytes, and takes JSON as RFC 8259 has it: UTF-8, no NaN, no endless nesting."""

    limit: int = 0
    is_batch: bool = False

    async def stream(self) -> AsyncGenerator[bytes, None]:
        read = 0
        announced = self.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self.limit:
            raise _too_large(self.limit)
        try:
            async for chunk in super().stream():
                read += len(chunk)
                if read > self.limit:
                    raise _too_large(self.limit)
                yield chunk
        except ClientDisconnect:
            raise Malformed("The body was cut off.") from None

    async def body(self) -> bytes:
        body = await super().body()
        if body and not _is_json(self.headers.get("content-type", "")):
            raise UnsupportedMediaType("The body must be JSON, sent with `content-type: application/json`.")
        return body

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = await self._parsed(await self.body())
        return self._json

    async def _parsed(self, body: bytes) -> Any:
        """Parse, in a thread if it may take long: a batch of 8 MiB held the event loop for most of a second."""
        if len(body) <= PARSED_ON_LOOP:
            return parse(body, is_batch=self.is_batch)
        caller = getattr(self.state, "caller", None)
        turns: Turns = self.app.state.parsing
        async with turns.of((caller and caller.tenant) or ""):
            return await asyncio.to_thread(parse, body, is_batch=self.is_batch)


class StrictRoute(APIRoute):
    """A route that reads the body strictly."""

    takes_batch: ClassVar[bool] = False
    """The body is a batch of events, which may be larger. A route says so: `batch` in a path can be an id."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            limit: int = request.app.state.settings.max_event_bytes
            strict.is_batch = self.takes_batch
            strict.limit = MAX_BATCH_BYTES if strict.is_batch else limit
            return await handle(strict)

        return handle_strictly


def parse(body: bytes, *, is_batch: bool = False) -> Any:
    """Parse JSON strictly; raise `Malformed`, or `Invalid` for what JSON allows and we do not."""
    if has_more_marks(body, 2 * (MAX_BATCH_VALUES if is_batch else MAX_VALUES)):  # a value has two at most
        raise Invalid.field("body", TOO_MANY_IN_BATCH if is_batch else TOO_MANY)
    try:
        value = json.loads(body.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not UTF-8: byte {error.start} does not belong.") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise Invalid.field("body", TOO_DEEP) from None
    except ValueError:  # Python reads integers up to a limit: see `sys.set_int_max_str_digits`
        raise Invalid.field("body", "holds an integer of thousands of digits") from None
    if is_batch and isinstance(value, dict) and isinstance(events := value.get("events"), list):
        _check({**value, "events": None}, _Place())
        values = sum(_check(event, _Place(n, _Place("events", _Place()))) for n, event in enumerate(events))
        if values > MAX_BATCH_VALUES:
            raise Invalid.field("body", TOO_MANY_IN_BATCH)
    else:
        _check(value, _Place())
    return value


class _Place(NamedTuple):
    """Where a list or an object stands in a body: spelled when something is bad, since keys can be long and many."""

    step: str | int = ""
    parent: "_Place | None" = None
    depth: int = 0

    def below(self, step: str | int) -> "_Place":
        return _Place(step, self, self.depth + 1)

    @property
    def path(self) -> str:
        steps: list[str] = []
        place = self
        while place.parent:
            steps.append(str(place.step)[:MAX_STEP_SHOWN])
            place = place.parent
        return ".".join(reversed(steps)) or "body"


def _check(value: Any, root: _Place) -> int:
    """Refuse too much of anything, numbers beyond a double, and text that UTF-8 cannot carry; count the values."""
    pending: list[tuple[Any, _Place]] = [(value, root)]
    values = 0
    while pending:
        container, place = pending.pop()
        if place.depth > MAX_DEPTH:
            raise Invalid.field(place.path, TOO_DEEP)
        if isinstance(container, dict):
            _check_keys(container, place)
        values += len(container) if isinstance(container, dict | list) else 0
        if values > MAX_VALUES:
            raise Invalid.field(root.path, TOO_MANY)
        for step, item in _members(container):
            match item:
                case dict() | list():
                    pending.append((item, place.below(step)))
                case str() if not _is_text(item):
                    raise Invalid.field(place.below(step).path, NO_TEXT)
                case float() if isinf(item):
                    raise Invalid.field(place.below(step).path, "this number is too large")
    return values


def _check_keys(container: dict[str, Any], place: _Place) -> None:
    if not all(map(_is_text, container)):
        raise Invalid.field(place.path, NO_TEXT)
    if any(len(key) > MAX_KEY for key in container):
        raise Invalid.field(place.path, LONG_KEY)


def _members(container: Any) -> Iterable[tuple[str | int, Any]]:
    match container:
        case dict():
            return container.items()
        case list():
            return enumerate(container)
    return ()


def _is_text(text: str) -> bool:
    """Tell a string from one with half of a surrogate pair in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _no_constant(name: str) -> NoReturn:
    raise Malformed(f"The body is not JSON: {name} is not a number there.")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than the {limit} bytes allowed.")
