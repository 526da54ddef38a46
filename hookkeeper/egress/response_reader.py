"""Reads a response on its connection, within limits that aiohttp does not have."""

import asyncio

from aiohttp import ClientPayloadError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader

MAX_HEADER_BYTES = 64 * 1024
"""Bytes of a response's headers, including interim responses: aiohttp alone would accept a megabyte."""
MAX_INTERIM_RESPONSES = 64
"""1xx responses to one request: reading more of them at full speed would block the worker."""
MAX_FRAMING_BYTES = 8 * 1024
"""Bytes of a body's chunk sizes, extensions and trailers. Chunks of a byte cost the worker a hundred times what a whole
body does."""
PORTION = 4 * 1024
"""Bytes that are parsed at once: no limit is exceeded by more."""


class ResponseReader(ResponseHandler):
    """Aborts the connection on unsolicited data, which aiohttp would buffer without limit.

    Also limits interim responses, the size of headers, and what a body has besides its content.
    """

    idle = False
    is_body_cut_off = False
    """The body has too much framing. No more of it is read; its status counts, as with a body that is too large."""
    _connection: asyncio.Transport | None = None
    """The transport of the request, which aiohttp removes from the reader when it closes it."""
    _interim = 0
    _header_bytes = 0
    _has_headers = False
    _body: StreamReader | None = None
    _body_bytes = 0
    """Bytes of the body, as received, except for what came together with the headers."""

    def begin(self) -> None:
        """Expect the response to one request."""
        self._connection = self.transport
        self.idle, self._interim, self._header_bytes, self._has_headers = False, 0, 0, False
        self.is_body_cut_off, self._body, self._body_bytes = False, None, 0

    def end(self, *, keep_alive: bool) -> None:
        """Expect no data. Without `keep_alive`, abort: `close` would wait until the peer has read everything."""
        if self._connection and (not keep_alive or self._connection.is_closing()):
            self._connection.abort()
        self.idle = True

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        is_interim = data[0].code in range(100, 200)
        self._interim += is_interim
        self._has_headers = not is_interim
        self._body = data[1]
        if self._interim <= MAX_INTERIM_RESPONSES:
            super().feed_data(data, size)
        elif self.exception() is None:
            self.set_exception(HttpProcessingError(message="too many interim responses"))

    def data_received(self, data: bytes) -> None:
        if self.idle:
            self.abort()
            return
        for begin in range(0, len(data) or 1, PORTION):  # aiohttp itself passes no bytes to continue
            if self.exception() is None:
                self._parse(data[begin : begin + PORTION])

    def _parse(self, data: bytes) -> None:
        self._body_bytes += len(data) if self._has_headers else 0
        super().data_received(data)
        if self.exception() is not None:
            return
        if not self._has_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self.set_exception(HttpProcessingError(message="too many bytes of headers"))
        elif self._body is not None and self._body_bytes - self._body.total_bytes > MAX_FRAMING_BYTES:
            self.is_body_cut_off = True
            error = ClientPayloadError("too many bytes of framing")
            self.set_exception(error)
            self._body.set_exception(error)
