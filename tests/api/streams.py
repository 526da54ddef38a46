"""Readers of the stream of events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from timeouts import WAIT_TIMEOUT

PATH = "/v1/events/stream"


@dataclass
class Message:
    kind: str = ""
    id: str = ""
    data: dict[str, Any] = field(default_factory=dict)


class Stream:
    """A reader of server-sent events."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()
        self.last_id = ""

    async def next(self) -> Message:
        """Return the next message that is not only a comment or an id. Raises StopAsyncIteration at the end."""
        async with asyncio.timeout(WAIT_TIMEOUT):
            while True:
                message = await self._block()
                self.last_id = message.id or self.last_id
                if message.kind:
                    return message

    async def _block(self) -> Message:
        message = Message()
        while line := await anext(self._lines):
            name, _, value = line.partition(": ")
            if name == "data":
                message.data = json.loads(value)
            elif name == "event":
                message.kind = value
            elif name == "id":
                message.id = value
        return message

    async def ends(self) -> list[Message]:
        """Return the messages until the server ends the stream."""
        messages = []
        try:
            while True:
                messages.append(await self.next())
        except StopAsyncIteration:
            return messages

    async def ids(self, number: int) -> list[str]:
        """Return the ids of the next events. A stream that is resumed is ready in between."""
        found: list[str] = []
        while len(found) < number:
            message = await self.next()
            assert message.kind in ("event", "ready")
            found += [message.data["id"]] if message.kind == "event" else []
        return found


@asynccontextmanager
async def opened(port: int, key: str, last_id: str = "", **query: Any) -> AsyncIterator[Stream]:
    """Open a stream, or resume it after the message with this id."""
    headers = {"authorization": f"Bearer {key}"} | ({"last-event-id": last_id} if last_id else {})
    async with (
        httpx.AsyncClient(timeout=WAIT_TIMEOUT, trust_env=False) as http,
        http.stream("GET", f"http://127.0.0.1:{port}{PATH}", params=query, headers=headers) as answer,
    ):
        if answer.status_code != 200:
            await answer.aread()
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Stream(answer)
