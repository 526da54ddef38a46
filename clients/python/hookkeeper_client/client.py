"""The two clients: `Client` for threads and `AsyncClient` for asyncio."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, Self

import httpx

from hookkeeper_client.base import WAITS, Call, Lines, Message, Outcome, Page, T, settings
from hookkeeper_client.routes import Routes


class Items(Generic[T]):
    """A list, read by iteration over all items or page by page."""

    def __init__(self, client: "Client", call: Call[Page[T]]) -> None:
        self._client, self._call = client, call

    def page(self, cursor: str | None = None) -> Page[T]:
        """Read the page at a cursor; without one, the first page."""
        query = self._call.query | {"cursor": cursor}
        return self._client.execute(replace(self._call, query=query))

    def __iter__(self) -> Iterator[T]:
        cursor = None
        while True:
            page = self.page(cursor)
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return


class AsyncItems(Generic[T]):
    """A list, read by iteration over all items or page by page."""

    def __init__(self, client: "AsyncClient", call: Call[Page[T]]) -> None:
        self._client, self._call = client, call

    async def page(self, cursor: str | None = None) -> Page[T]:
        """Read the page at a cursor; without one, the first page."""
        query = self._call.query | {"cursor": cursor}
        return await self._client.execute(replace(self._call, query=query))

    async def __aiter__(self) -> AsyncIterator[T]:
        cursor = None
        while True:
            page = await self.page(cursor)
            for item in page.items:
                yield item
            if (cursor := page.next_cursor) is None:
                return


class Client(Routes):
    """A client for threads. `options` are arguments of `httpx.Client`, such as `timeout`."""

    def __init__(
        self, url: str | None = None, key: str | None = None, *, waits: Sequence[float] = WAITS, **options: Any
    ) -> None:
        self._waits = waits
        self._http = httpx.Client(**settings(url, key, options))

    def execute(self, call: Call[T]) -> T:
        waits = list(self._waits)
        while True:
            outcome = self._outcome(call)
            call = call.named(outcome)
            if (wait := call.wait(outcome, waits)) is None:
                return call.result(outcome)
            time.sleep(wait)

    def items(self, call: Call[Page[T]]) -> Items[T]:
        return Items(self, call)

    def follow(self, call: Call[T]) -> Iterator[Message[T]]:
        """Yield messages without end. A stream ends after 15 minutes or with its connection, and is opened again."""
        lines = Lines(call, self._waits)
        while True:
            options = lines.options(self._http.timeout)
            outcome: Outcome
            try:
                with self._http.stream(call.method, call.path, **options) as outcome:
                    if outcome.is_success:
                        for line in outcome.iter_lines():
                            if message := lines.message(line):
                                yield message
                    else:
                        outcome.read()
            except httpx.TransportError as error:
                outcome = error
            time.sleep(lines.wait(outcome))

    def _outcome(self, call: Call[Any]) -> Outcome:
        try:
            return self._http.request(call.method, call.path, **call.options())
        except httpx.TransportError as error:
            return error

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncClient(Routes):
    """A client for asyncio. `options` are arguments of `httpx.AsyncClient`, such as `timeout`."""

    def __init__(
        self, url: str | None = None, key: str | None = None, *, waits: Sequence[float] = WAITS, **options: Any
    ) -> None:
        self._waits = waits
        self._http = httpx.AsyncClient(**settings(url, key, options))

    async def execute(self, call: Call[T]) -> T:
        waits = list(self._waits)
        while True:
            outcome = await self._outcome(call)
            call = call.named(outcome)
            if (wait := call.wait(outcome, waits)) is None:
                return call.result(outcome)
            await asyncio.sleep(wait)

    def items(self, call: Call[Page[T]]) -> AsyncItems[T]:
        return AsyncItems(self, call)

    async def follow(self, call: Call[T]) -> AsyncIterator[Message[T]]:
        """Yield messages without end. A stream ends after 15 minutes or with its connection, and is opened again."""
        lines = Lines(call, self._waits)
        while True:
            options = lines.options(self._http.timeout)
            outcome: Outcome
            try:
                async with self._http.stream(call.method, call.path, **options) as outcome:
                    if outcome.is_success:
                        async for line in outcome.aiter_lines():
                            if message := lines.message(line):
                                yield message
                    else:
                        await outcome.aread()
            except httpx.TransportError as error:
                outcome = error
            await asyncio.sleep(lines.wait(outcome))

    async def _outcome(self, call: Call[Any]) -> Outcome:
        try:
            return await self._http.request(call.method, call.path, **call.options())
        except httpx.TransportError as error:
            return error

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()
