"""What a request must be before any route sees it: from somebody with a key, of bounded size, and strict JSON."""

import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from math import isinf
from typing import Any, NamedTuple, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api.errors import Invalid, Malformed, NotJson, TooLarge

MAX_DEPTH = 64
"""Levels of nesting in a body."""
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
NO_TEXT = "half of a surrogate pair is not text"
MAX_STEP_SHOWN = 64
"""Characters of each key in the path of a bad value."""

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Of a whole batch; each of its events has the limit of an event too."""


class StrictRequest(Request):
    """Reads at most `limit` bytes, and takes JSON as RFC 8259 has it: UTF-8, no NaN, no endless nesting."""

    limit: int = 0

    async def stream(self) -> AsyncGenerator[bytes, None]:
        read = 0
        announced = self.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self.limit:
            raise _too_large(self.limit)
        async for chunk in super().stream():
            read += len(chunk)
            if read > self.limit:
                raise _too_large(self.limit)
            yield chunk

    async def body(self) -> bytes:
        body = await super().body()
        if body and not _is_json(self.headers.get("content-type", "")):
            raise NotJson("The body must be JSON, sent with `content-type: application/json`.")
        return body

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = parse(await self.body())
        return self._json


class StrictRoute(APIRoute):
    """A route that checks the key first, then reads the body strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            request.app.state.authenticate(request)
            strict = StrictRequest(request.scope, request.receive)
            limit: int = request.app.state.settings.max_event_bytes
            strict.limit = MAX_BATCH_BYTES if request.url.path.endswith("/batch") else limit
            return await handle(strict)

        return handle_strictly


def parse(body: bytes) -> Any:
    """Parse JSON strictly; raise `Malformed`, or `Invalid` for what JSON allows and we do not."""
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
    _check(value)
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


def _check(body: Any) -> None:
    """Refuse deep nesting, numbers beyond a double, and text that UTF-8 cannot carry."""
    pending: list[tuple[Any, _Place]] = [(body, _Place())]
    while pending:
        container, place = pending.pop()
        if place.depth > MAX_DEPTH:
            raise Invalid.field(place.path, TOO_DEEP)
        if isinstance(container, dict) and not all(map(_is_text, container)):
            raise Invalid.field(place.path, NO_TEXT)
        for step, item in _members(container):
            match item:
                case dict() | list():
                    pending.append((item, place.below(step)))
                case str() if not _is_text(item):
                    raise Invalid.field(place.below(step).path, NO_TEXT)
                case float() if isinf(item):
                    raise Invalid.field(place.below(step).path, "this number is too large")


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
