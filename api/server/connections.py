"""Limits of client connections: the size of the head, the time for each stage, the number of connections, and what
waits for clients that do not read.

uvicorn closes connections that are idle between two requests, and no others. Here a client that connects and sends
nothing, that sends its headers or body a byte at a time, or that does not read its answer, is disconnected.

Requests that offer another protocol (`Upgrade: h2c`, `websocket`) are read as if they did not, as HTTP allows
(RFC 9110, "Upgrade"). httptools ends such a request at its headers, and the connection with it: its body would be lost.
Java's HTTP client and `curl --http2` offer HTTP/2 with every first request.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

import httptools
import structlog
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.server.refusals import (
    FULL,
    HEAD_TOO_LARGE,
    MAX_HEAD,
    MAX_HEADERS,
    MAX_URL,
    NO_HTTP,
    NOT_ONE_HOST,
    TOO_SLOW,
    URL_TOO_LONG,
    written,
)
from hookkeeper import metrics

BYTES_PER_SECOND = 16 * 1024
"""Minimum rate of a body or an answer, once the timeout of its stage is over."""

MAX_CONNECTIONS = 800
"""Open connections of a process; a further one closes the one that has waited longest for its client."""
MAX_UNREAD = 64 * 1024 * 1024
"""Bytes of answers that wait for their clients, in a process. A connection with at most 64 KiB is not counted."""
DRAIN = "hookkeeper.drain"
"""The ASGI extension that waits until the client has read all but 64 KiB of what was sent."""

Stage = Literal["head", "body", "work", "idle", "rest"]
"""What a connection waits for: the end of the headers, the end of the body, our answer, another request, or the rest of
a request that was answered before its end."""
log = structlog.get_logger("hookkeeper.api")


class ClientTimeouts(NamedTuple):
    """Seconds that a client has for each stage."""

    head: float = 10.0
    """To send all headers, from the connection or their first byte on."""
    body: float = 30.0
    """To send the body, and one more for each `BYTES_PER_SECOND` that were received."""
    answer: float = 30.0
    """To read the answer, and one more for each `BYTES_PER_SECOND` of it."""
    rest: float = 5.0
    """To finish a request that was answered before its end."""


class _Parser(httptools.HttpRequestParser):
    """Gives a request that offers an upgrade to another parser, without the offer."""

    def __init__(self, protocol: "UpgradelessProtocol") -> None:
        super().__init__(protocol)
        self._protocol = protocol
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    @property
    def is_offered_upgrade(self) -> bool:
        return self.should_upgrade() and self.get_method() != b"CONNECT"

    def feed_data(self, data: Any) -> None:
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self.is_offered_upgrade:
                raise
            head = self._protocol.head_without_offer()
            self._protocol.parser = parser = _Parser(self._protocol)
            parser.feed_data(head + data[upgrade.args[0] :])


class UpgradelessProtocol(HttpToolsProtocol):
    """uvicorn's connection, which stays with HTTP/1.1."""

    parser: _Parser

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = _Parser(self)

    def on_headers_complete(self) -> None:
        if not self.parser.is_offered_upgrade:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.is_offered_upgrade:
            super().on_message_complete()

    def head_without_offer(self) -> bytes:
        """Return the head of the request that was read last."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])


class _Refused(Exception):
    """Ends the parsing of a request."""


class BoundedProtocol(UpgradelessProtocol):
    """uvicorn's connection, with time limits for everything that depends on the client."""

    timeouts = ClientTimeouts()
    max_connections = MAX_CONNECTIONS
    max_unread = MAX_UNREAD
    stopping = False
    """Whether the server stops: a connection that was accepted a moment before has one answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stage: Stage = "head"
        self._since = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_for: tuple[Stage, float] | None = None
        self._abort_timer: asyncio.TimerHandle | None = None
        self._unread_since = 0.0
        self._refusal = NO_HTTP
        self._refused = False
        self._chunk = self._unparsed = self._head_bytes = self._body_bytes = 0

    # Stages

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._make_room()
        self._schedule_timeout()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._stage == "idle":
            self._enter("head")
        self._chunk = len(data)
        super().data_received(data)
        if self._stage == "head":  # the parser reports only whole headers, and buffers the rest
            self._unparsed += len(data)
            if self._unparsed > MAX_HEAD:
                self._refuse(HEAD_TOO_LARGE)
        self._schedule_timeout()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {DRAIN: {"wait": self.flow.drain}}
        self._head_bytes = 0
        self._unparsed = -self._chunk  # which can contain the end of another request
        if self._stage != "head":  # else the time runs since the connection or an earlier byte
            self._enter("head")

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL:
            self._give_up(URL_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if len(self.url) + self._head_bytes > MAX_HEAD or len(self.headers) >= MAX_HEADERS:
            self._give_up(HEAD_TOO_LARGE)
        if self._stage == "head":  # trailers are dropped: they would join headers that were checked already
            # Before 3.12.6, Python unquotes 32 KB of backslashes for seconds. No cookie has any (RFC 6265, "Syntax").
            super().on_header(name, value.replace(b"\\", b"") if name.lower() == b"cookie" else value)

    def on_headers_complete(self) -> None:
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            self._give_up(NOT_ONE_HOST)
        super().on_headers_complete()
        if self.stopping and self.cycle is not None:
            self.cycle.keep_alive = False
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
        self._schedule_timeout()

    def _enter(self, stage: Stage) -> None:
        self._stage, self._since = stage, self.loop.time()

    # Timeouts of stages

    def _schedule_timeout(self) -> None:
        """Run the timer of the present stage. A request that arrives whole needs none."""
        now = (self._stage, self._since)
        if self.transport.is_closing():
            self._stop_timer()
            self._abort_later()
        elif now != self._timer_for:
            self._stop_timer()
            if (due := self._due()) is not None:
                self._timer_for, self._timer = now, self.loop.call_at(due, self._check_timeout)

    def _due(self) -> float | None:
        """Return when the stage times out; None while we work, and on idle connections, which uvicorn closes."""
        match self._stage:
            case "head":
                return self._since + self.timeouts.head
            case "body":
                return self._since + self.timeouts.body + self._body_bytes / BYTES_PER_SECOND
            case "rest":
                return self._since + self.timeouts.rest
        return None

    def _check_timeout(self) -> None:
        """Disconnect the client, unless it has earned more time or cannot send because we do not read."""
        due = self._due()
        if due is None or self.transport.is_closing():
            return
        if self._stage != "rest" and self._waits_for_us():
            self._enter(self._stage)
            self._schedule_timeout()
        elif due > self.loop.time():
            self._timer = self.loop.call_at(due, self._check_timeout)
        else:
            log.info("slow client cut off", stage=self._stage, client=self.client and self.client[0])
            if self._stage == "body":
                self._refuse(TOO_SLOW)
            else:
                self._close()

    def _waits_for_us(self) -> bool:
        answering = self._stage == "head" and self.cycle is not None and not self.cycle.response_complete
        return answering or bool(self.pipeline) or self.flow.read_paused

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timer_for = None

    # Answers that are not read

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since = self.loop.time()
        self._abort_later()
        self._bound_unread()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._abort_timer is not None and not self.transport.is_closing():
            self._abort_timer.cancel()
            self._abort_timer = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._schedule_timeout()

    def _abort_later(self) -> None:
        """Give the client time to read what is written. Closing alone would wait for that without limit."""
        if self._abort_timer is None:
            timeout = self.timeouts.answer + self._unread / BYTES_PER_SECOND
            self._abort_timer = self.loop.call_later(timeout, self.transport.abort)

    def _bound_unread(self) -> None:
        """Over the limit, abort connections of the address for which most waits, first the one that waits longest."""
        connections = cast("set[BoundedProtocol]", self.connections)
        unread = [connection for connection in connections if connection.flow.write_paused]
        while sum(connection._unread for connection in unread) > self.max_unread:
            of_address: Counter[str] = Counter()
            for connection in unread:
                of_address[connection._address] += connection._unread
            ((most, _),) = of_address.most_common(1)
            of_most = [connection for connection in unread if connection._address == most]
            longest = min(of_most, key=lambda connection: connection._unread_since)
            metrics.count_limit("unread_answers")
            unread.remove(longest)
            longest.transport.abort()

    @property
    def _unread(self) -> int:
        return self.transport.get_write_buffer_size()

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_timer()
        if self._abort_timer is not None:
            self._abort_timer.cancel()

    # Refusals

    def _give_up(self, refusal: Response) -> None:
        self._refusal = refusal
        raise _Refused

    def send_400_response(self, msg: str) -> None:
        """Answer why parsing ended, in place of uvicorn."""
        self._refuse(self._refusal)

    def _refuse(self, refusal: Response) -> None:
        """Answer in place of a route, unless an answer has begun, and read no more."""
        cycle = None if self.cycle is None or self.cycle.response_complete else self.cycle
        if cycle and (cycle.response_started or self.pipeline):
            self._close()
            return
        if cycle:
            cycle.disconnected = True  # the route may still send, and must not after our answer
            cycle.message_event.set()
        self._refused = True
        self.transport.write(written(refusal))
        self.transport.write_eof()  # closed with something unread, the client would see a reset instead of the answer
        self._enter("rest")
        self._schedule_timeout()

    def _close(self) -> None:
        self.transport.close()
        self._schedule_timeout()

    # The number of connections

    def _make_room(self) -> None:
        """Over the limit, abort the connection that has waited longest for its client, or else refuse the new one."""
        if len(self.connections) <= self.max_connections:
            return
        connections = cast("set[BoundedProtocol]", self.connections)
        waiting = [connection for connection in connections if connection is not self and connection._stage != "work"]
        if waiting:
            longest = min(waiting, key=lambda connection: connection._since)
            connections.discard(longest)
            longest.transport.abort()
        else:
            metrics.count_limit("connections")
            self.app = cast(Any, FULL)


def bounded(max_connections: int, timeouts: ClientTimeouts) -> type[BoundedProtocol]:
    """Return a protocol with these limits."""
    return type("Bounded", (BoundedProtocol,), {"max_connections": max_connections, "timeouts": timeouts})


async def until_read(scope: Mapping[str, Any]) -> None:
    """Wait until the client has read the answer, but for what the connection buffers, or is disconnected."""
    if drain := scope.get("extensions", {}).get(DRAIN):
        await drain["wait"]()
