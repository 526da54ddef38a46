"""Answers in place of a route: problem documents, after which the connection is closed. After `BUSY` it stays open."""

import asyncio

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import RETRY_AFTER_SECONDS
from api.problems import (
    HeadersTooLarge,
    Malformed,
    Problem,
    RequestTimeout,
    ServiceUnavailable,
    UriTooLong,
    as_response,
    title,
)

MAX_URL = 8 * 1024
MAX_HEAD = 32 * 1024
"""Bytes of the URL and all headers together; trailers count too."""
MAX_HEADERS = 100


def _refusal(problem: Problem) -> Response:
    response = as_response(problem)
    response.headers["connection"] = "close"
    return response


def written(refusal: Response) -> bytes:
    """Write an answer as it goes over the wire."""
    status_line = b"HTTP/1.1 %d %s" % (refusal.status_code, title(refusal.status_code).encode())
    return b"\r\n".join([status_line, *map(b": ".join, refusal.raw_headers), b"", bytes(refusal.body)])


NO_HTTP = _refusal(Malformed("This is not HTTP/1.1."))
NOT_ONE_HOST = _refusal(Malformed("The request needs one `Host` header."))
TOO_SLOW = _refusal(RequestTimeout("The body was sent too slowly."))
URL_TOO_LONG = _refusal(UriTooLong(f"The URL is longer than {MAX_URL} bytes."))
HEAD_TOO_LARGE = _refusal(
    HeadersTooLarge(f"URL and headers are larger than {MAX_HEAD} bytes, or there are more than {MAX_HEADERS} headers.")
)
FULL = _refusal(
    ServiceUnavailable(
        "Too many requests are in progress: try again.", headers={"retry-after": str(RETRY_AFTER_SECONDS)}
    )
)
BUSY = as_response(
    ServiceUnavailable(
        "Too many events are being accepted, so nothing was done for this one: try again.",
        headers={"retry-after": str(RETRY_AFTER_SECONDS)},
    )
)
STOPPING = _refusal(
    ServiceUnavailable(
        "This process stops, and the request took too long. It may have taken effect: repeat it, with the same id if it"
        " has one.",
        headers={"retry-after": str(RETRY_AFTER_SECONDS)},
    )
)


def answering_cancelled(app: ASGIApp) -> ASGIApp:
    """Answer requests that the server cancels as it stops, which for uvicorn are errors of the app (500)."""

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await app(scope, receive, send_and_note)
        except asyncio.CancelledError:
            if has_begun or scope["type"] != "http":
                raise
            await STOPPING(scope, receive, send)

    return answering
