"""Connections of clients: a bounded head, a bounded time for all that a client has to do, and a bounded number.

uvicorn ends connections that are idle between two requests, and no others. Here a client that connects and says
nothing, that sends its headers or its body a byte at a time, or that does not take its answer, is cut off: such a
client holds a socket and some kilobytes, and not for long.
"""

import asyncio
from typing import Any, Literal, NamedTuple, cast

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.refusals import FULL, HEAD_TOO_LARGE, MAX_HEAD, MAX_HEADERS, MAX_URL, NO_HTTP, TOO_SLOW, URL_TOO_LONG, Refusal

BYTES_PER_SECOND = 16 * 1024
"""What a body or an answer has to come to, once the first patience is over."""

Stage = Literal["head", "body", "work", "idle", "rest"]
"""What a connection waits for: the end of the headers, of the body, our answer, another request, the unread rest."""
log = structlog.get_logger("hookkeeper.api")


class Patience(NamedTuple):
    """Seconds that a client has."""

    head: float = 10.0
    """To send all headers, from the connection or their first byte on."""
    body: float = 30.0
    """To send the body, and one more for each `BYTES_PER_SECOND` of it that have come."""
    answer: float = 30.0
    """To take what is written, and one more for each `BYTES_PER_SECOND` of it."""
    rest: float = 5.0
    """To end what was answered before its end."""


class _Refused(Exception):
    """Ends the parsing of a request."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's connection, with an end to everything that a client can draw out."""

    patience = Patience()
    max_connections = 800

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stage: Stage = "head"
        self._since = self.loop.time()
        self._clock: asyncio.TimerHandle | None = None
        self._clock_for: tuple[Stage, float] | None = None
        self._abortion: asyncio.TimerHandle | None = None
        self._refusal = NO_HTTP
        self._refused = False
        self._chunk = self._unparsed = self._head_bytes = self._body_bytes = 0

    # What the client has to do next

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._make_room()
        self._mind()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._stage == "idle":
            self._enter("head")
        self._chunk = len(data)
        super().data_received(data)
        if self._stage == "head":  # the parser tells of a header when it is whole, and keeps what it has until then
            self._unparsed += len(data)
            if self._unparsed > MAX_HEAD:
                self._refuse(HEAD_TOO_LARGE)
        self._mind()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._unparsed = -self._chunk  # which can hold the end of another request
        if self._stage != "head":  # else its time began with the connection, or with a byte before
            self._enter("head")

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL:
            self._give_up(URL_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if len(self.url) + self._head_bytes > MAX_HEAD or len(self.headers) >= MAX_HEADERS:
            self._give_up(HEAD_TOO_LARGE)
        if self._stage == "head":  # a trailer is not kept: it would stand among headers that were checked already
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._body_bytes = self._unparsed = 0
        self._enter("body")

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._stage == "body":
            self._enter("work")

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        super().on_response_complete()
        if is_last and self._stage == "work":
            self._enter("idle")
        elif is_last and self._stage == "body":
            self._enter("rest")
        self._mind()

    def _enter(self, stage: Stage) -> None:
        self._stage, self._since = stage, self.loop.time()

    # The clock

    def _mind(self) -> None:
        """Have the clock run for what the connection waits for now. A request that comes whole needs none."""
        now = (self._stage, self._since)
        if self.transport.is_closing():
            self._stop_clock()
            self._abort_later()
        elif now != self._clock_for:
            self._stop_clock()
            if (due := self._due()) is not None:
                self._clock_for, self._clock = now, self.loop.call_at(due, self._judge)

    def _due(self) -> float | None:
        """Say when the client's time is up. None while we work, or uvicorn's own clock runs: on idle connections."""
        match self._stage:
            case "head":
                return self._since + self.patience.head
            case "body":
                return self._since + self.patience.body + self._body_bytes / BYTES_PER_SECOND
            case "rest":
                return self._since + self.patience.rest
        return None

    def _judge(self) -> None:
        """End the connection, unless the client has earned more time, or cannot send since we do not read."""
        due = self._due()
        if due is None or self.transport.is_closing():
            return
        if self._stage != "rest" and self._is_ours_to_go_on():
            self._enter(self._stage)
            self._mind()
        elif due > self.loop.time():
            self._clock = self.loop.call_at(due, self._judge)
        else:
            log.info("slow client cut off", stage=self._stage, client=self.client and self.client[0])
            if self._stage == "body":
                self._refuse(TOO_SLOW)
            else:
                self._close()

    def _is_ours_to_go_on(self) -> bool:
        answering = self._stage == "head" and self.cycle is not None and not self.cycle.response_complete
        return answering or bool(self.pipeline) or self.flow.read_paused

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
        self._clock = self._clock_for = None

    # Answers that are not taken

    def pause_writing(self) -> None:
        super().pause_writing()
        self._abort_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._abortion is not None and not self.transport.is_closing():
            self._abortion.cancel()
            self._abortion = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._mind()

    def _abort_later(self) -> None:
        """Leave the client some time to take what is written. Closing alone would wait for that for ever."""
        if self._abortion is None:
            size = self.transport.get_write_buffer_size()
            patience = self.patience.answer + size / BYTES_PER_SECOND
            self._abortion = self.loop.call_later(patience, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_clock()
        if self._abortion is not None:
            self._abortion.cancel()

    # Refusing

    def _give_up(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise _Refused

    def send_400_response(self, msg: str) -> None:
        """Say, in uvicorn's place, why parsing ended."""
        self._refuse(self._refusal)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer in the place of a route, and read no more. Without an answer where one has begun."""
        cycle = None if self.cycle is None or self.cycle.response_complete else self.cycle
        if cycle and (cycle.response_started or self.pipeline):
            self._close()
            return
        if cycle:
            cycle.disconnected = True  # what its route may still send would come after our answer
            cycle.message_event.set()
        self._refused = True
        self.transport.write(refusal.written())
        self.transport.write_eof()  # closed with something unread, the client would see a reset instead of the answer
        self._enter("rest")
        self._mind()

    def _close(self) -> None:
        self.transport.close()
        self._mind()

    # The number of connections

    def _make_room(self) -> None:
        """Where there are too many, end the one that has waited longest for its client; without any, refuse this."""
        if len(self.connections) <= self.max_connections:
            return
        everyone = cast("set[BoundedProtocol]", self.connections)
        waiting = [connection for connection in everyone if connection is not self and connection._stage != "work"]
        if waiting:
            longest = min(waiting, key=lambda connection: connection._since)
            everyone.discard(longest)
            longest.transport.abort()
        else:
            self.app = FULL.app


def bounded(max_connections: int, patience: Patience) -> type[BoundedProtocol]:
    """Make a protocol with these bounds."""
    return type("Bounded", (BoundedProtocol,), {"max_connections": max_connections, "patience": patience})
