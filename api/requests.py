"""What a request must be before any route sees it: from somebody with a key, of bounded size, and strict JSON."""

import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api.errors import BadField, Invalid, Malformed, TooLarge

MAX_DEPTH = 64
"""Levels of nesting in a body."""

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
        raise _too_deep("body") from None
    except ValueError as error:  # NaN, or an integer of thousands of digits
        raise Malformed(f"The body is not JSON: {error}.") from None
    _check(value)
    return value


def _check(value: Any) -> None:
    """Refuse deep nesting, numbers beyond a double, and text that UTF-8 cannot carry."""
    pending: list[tuple[Any, str, int]] = [(value, "", 0)]
    while pending:
        item, path, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise _too_deep(path)
        match item:
            case dict():
                for key, each in item.items():
                    _check_text(key, path)
                    pending.append((each, f"{path}.{key}" if path else key, depth + 1))
            case list():
                pending += [(each, f"{path}.{n}" if path else str(n), depth + 1) for n, each in enumerate(item)]
            case str():
                _check_text(item, path)
            case float() if item in (float("inf"), float("-inf")):
                raise Invalid.field(path, "this number is too large")


def _check_text(text: str, path: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Invalid.field(path, "half of a surrogate pair is not text")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than the {limit} bytes allowed.")


def _too_deep(path: str) -> Invalid:
    where = path[:100] or "body"
    return Invalid(
        "The request is not acceptable: see errors.",
        [BadField(path=where, detail=f"nested deeper than {MAX_DEPTH} levels")],
    )
