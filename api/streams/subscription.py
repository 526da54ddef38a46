"""One open stream: its filters, and the messages that wait for its reader."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi.sse import ServerSentEvent

from hookkeeper.messages.rows import EventRow
from hookkeeper.registry.events.change_log import Position
from hookkeeper.registry.events.conditions import Matcher, Search
from hookkeeper.services.caller import Caller

MAX_WAITING = 1000
MAX_WAITING_BYTES = 1024 * 1024
"""Messages and bytes that may wait for a slow reader. It is then cut off, and resumes where it was."""


@dataclass(frozen=True, slots=True)
class Update:
    """A message about a change, made once for all streams."""

    event: EventRow
    message: ServerSentEvent


class Subscription:
    """The stream of one reader. The feed puts messages, and the response takes them."""

    def __init__(self, caller: Caller, search: Search, after: Position | None, began: float) -> None:
        self.caller = caller
        self.search = search
        self._matcher = Matcher(search)
        self.after = after
        """How far the reader has come that resumes its stream; None for a new one, and once it has caught up."""
        self.live_from: Position | None = None
        """From here on, the feed puts updates. None: it has not taken the stream up yet."""
        self.began = began
        self.is_over = False
        self._waiting: deque[ServerSentEvent] = deque()
        self._bytes = 0
        self._has_changed = asyncio.Event()

    @property
    def tenants(self) -> Sequence[str] | None:
        """The tenants whose changes it shows; None for all."""
        return None if self.search.tenant is None else [self.search.tenant]

    def put(self, message: ServerSentEvent) -> None:
        """Let a message wait for the reader. A reader that is too slow is cut off."""
        if self.is_over:
            return
        self._waiting.append(message)
        self._bytes += len(message.raw_data or "")
        if len(self._waiting) > MAX_WAITING or self._bytes > MAX_WAITING_BYTES:
            self.end()
        self._has_changed.set()

    def end(self) -> None:
        """End the stream after the message that is being sent."""
        self.is_over = True
        self._waiting.clear()
        self._has_changed.set()

    async def next(self) -> ServerSentEvent | None:
        """Wait for the next message; None if the stream is over."""
        while not self._waiting and not self.is_over:
            self._has_changed.clear()
            await self._has_changed.wait()
        if self.is_over:
            return None
        message = self._waiting.popleft()
        self._bytes -= len(message.raw_data or "")
        return message

    def shows(self, event: EventRow) -> bool:
        """Return whether an event meets the filters. Those on a delivery have to be met by one that has changed."""
        return self._matcher.meets(event, event.deliveries)
