"""Answers that no route gives, since there is no request yet: problem documents too."""

from typing import Any, NamedTuple

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

from api.errors import RETRY_AFTER_SECONDS
from api.problems import MEDIA_TYPE, ProblemDocument, title

MAX_URL = 8 * 1024
MAX_HEAD = 32 * 1024
"""Bytes of the URL and all headers together; trailers count too."""
MAX_HEADERS = 100


class Refusal(NamedTuple):
    """One such answer; the connection is closed after it."""

    status: int
    kind: str
    detail: str
    retry_after: int | None = None

    @property
    def body(self) -> bytes:
        document = ProblemDocument(
            type=f"urn:hookkeeper:problem:{self.kind}",
            title=title(self.status),
            status=self.status,
            detail=self.detail,
        )
        return document.model_dump_json().encode()

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        again = [(b"retry-after", b"%d" % self.retry_after)] if self.retry_after else []
        length = (b"content-length", b"%d" % len(self.body))
        return [(b"content-type", MEDIA_TYPE.encode()), length, (b"connection", b"close"), *again]

    def written(self) -> bytes:
        """Write the answer as it goes over the wire."""
        lines = [b"HTTP/1.1 %d %s" % (self.status, title(self.status).encode()), *map(b": ".join, self.headers)]
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body

    async def app(self, _: Scope, __: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Give the answer to any request: an ASGI app."""
        start: Any = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


NO_HTTP = Refusal(400, "malformed", "This is not HTTP/1.1.")
TOO_SLOW = Refusal(408, "request-timeout", "The body was sent too slowly.")
URL_TOO_LONG = Refusal(414, "uri-too-long", f"The URL is longer than {MAX_URL} bytes.")
HEAD_TOO_LARGE = Refusal(
    431,
    "request-header-fields-too-large",
    f"URL and headers are larger than {MAX_HEAD} bytes, or there are more than {MAX_HEADERS} headers.",
)
FULL = Refusal(503, "unavailable", "Too many requests are in progress: try again.", RETRY_AFTER_SECONDS)
