"""Answers to connections without a valid request: problem documents, after which the connection is closed."""

from starlette.responses import Response

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
