"""A request as a command line of curl, which is data only: no part of it is read by the shell, curl or the terminal."""

from base64 import b64encode
from shlex import quote

import httpx
import yarl

MAX_ARGUMENT = 96 * 1024
"""Bytes of a body that is an argument. Linux allows 128 KiB for one."""
SET_BY_CURL = ("host", "content-length")
ADDED_BY_CURL = ("accept", "content-type")
"""Headers that curl adds by itself; one without a value removes them."""


def curl_command(request: httpx.Request) -> str:
    """Write a command for a POSIX shell that sends exactly this request."""
    headers = {name: value for name, value in request.headers.items() if name not in SET_BY_CURL}
    removed = [f"{name}:" for name in ADDED_BY_CURL if name not in headers]
    lines = [_header(name, value) for name, value in headers.items()] + removed
    url = str(yarl.URL(str(request.url)))  # as aiohttp sends it
    options = [f"--header {quote(line)}" for line in lines]
    start = f"curl --globoff --path-as-is --request {request.method} {quote(url)}"
    text = _argument(request.content)
    if text is not None:
        return " \\\n  ".join([start, *options, f"--data-raw {quote(text)}"])
    encoded = b64encode(request.content).decode()
    return f"printf %s {quote(encoded)} | base64 --decode |\n" + " \\\n  ".join([start, *options, "--data-binary @-"])


def _header(name: str, value: str) -> str:
    return f"{name}: {value}" if value else f"{name};"


def _argument(content: bytes) -> str | None:
    """Return the body as text; None if it is too long, or has characters by which a terminal can be controlled."""
    if len(content) > MAX_ARGUMENT:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return text if text.replace("\n", "").isprintable() else None
