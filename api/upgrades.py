"""Requests that offer another protocol (`Upgrade: h2c`, `websocket`) are read as if they did not, as HTTP allows
(RFC 9110, "Upgrade").

httptools ends such a request at its headers, and the connection with it: its body would be lost. Java's HTTP client
and `curl --http2` offer HTTP/2 with every first request.
"""

from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


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
