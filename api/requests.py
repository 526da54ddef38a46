"""Reads the body of a request, before any route: of limited size, and strict JSON."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import partial
from typing import Any, ClassVar, ParamSpec, TypeVar
from urllib.parse import parse_qs

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from api.problems import ContentTooLarge, Malformed, UnsupportedMediaType
from api.state import state_of
from api.strict_json import parse

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Bytes of a whole batch; each of its events has the limit of an event too."""
PARSED_ON_LOOP = 8 * 1024
"""Bytes of a body that is parsed without a thread. Whatever is in them, that takes less than a millisecond; a thread
costs 45 µs, twice as much as parsing an event of 1 KB."""
_Given = ParamSpec("_Given")
_Read = TypeVar("_Read")
MAX_FIELDS = 100
"""Fields of a form."""
READ_ON_LOOP = 32 * 1024
"""Bytes of a form that is read without a thread: a large one takes tens of milliseconds."""


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
            raise Malformed("The body is incomplete.") from None

    async def body(self) -> bytes:
        body = await super().body()
        if body and not _is_json(self.headers.get("content-type", "")):
            raise UnsupportedMediaType("The body must be JSON, sent with `content-type: application/json`.")
        if body and (encoding := self.headers.get("content-encoding", "identity")).lower() != "identity":
            raise UnsupportedMediaType(f"The body must not be compressed: its `content-encoding` is {encoding[:32]!r}.")
        return body

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = await self._parsed(await self.body())
        return self._json

    async def _parsed(self, body: bytes) -> Any:
        """Parse, in a thread if it may take long: a batch of 8 MiB held the event loop for most of a second."""
        if len(body) <= PARSED_ON_LOOP:
            return parse(body, is_batch=self.is_batch)
        return await in_thread(self, parse, body, is_batch=self.is_batch)


async def in_thread(
    request: Request, read: Callable[_Given, _Read], *args: _Given.args, **kwargs: _Given.kwargs
) -> _Read:
    """Read what a tenant has written in a thread, of which the caller's tenant has a share."""
    caller = getattr(request.state, "caller", None)
    async with state_of(request).parsing.slot((caller and caller.tenant) or ""):
        return await asyncio.to_thread(read, *args, **kwargs)


class StrictRoute(APIRoute):
    """A route that reads the body strictly."""

    max_body_bytes: ClassVar[int | None] = None
    """None: as large as an event."""
    takes_batch: ClassVar[bool] = False
    """The body is a batch of events. A route says so: `batch` in a path can be an id."""

    def endpoint_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what calls the endpoint with the parameters of a request."""
        return super().get_route_handler()

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = self.endpoint_handler()

        async def handle_strictly(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            strict.is_batch = self.takes_batch
            strict.limit = self.max_body_bytes or state_of(request).settings.max_event_bytes
            return await handle(strict)

        return handle_strictly


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _too_large(limit: int) -> ContentTooLarge:
    return ContentTooLarge(f"The body is larger than the {limit} bytes allowed.")


async def read_form(request: Request, max_fields: int = MAX_FIELDS) -> dict[str, str]:
    """Read the fields of a form; of a repeated one, the first. The route limits its size."""
    body = b"".join([chunk async for chunk in request.stream()])
    read = partial(parse_qs, body.decode(errors="replace"), keep_blank_values=True, max_num_fields=max_fields)
    try:
        fields = await in_thread(request, read) if len(body) > READ_ON_LOOP else read()
    except ValueError:
        raise Malformed("The form has too many fields.") from None
    return {name: values[0] for name, values in fields.items()}
