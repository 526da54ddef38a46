"""Asks the API of a stack whether it and its workers are ready, with Python's own client: httpx takes 5 MB of `dev`."""

import asyncio
import json
from collections.abc import Mapping
from http.client import HTTPException
from urllib.request import ProxyHandler, build_opener

TIMEOUT = 2.0
"""Seconds in which the API has to answer."""
_direct = build_opener(ProxyHandler({}))


async def read_readiness(url: str) -> Mapping[str, str]:
    """Return the answer of `GET /readyz`; nothing if there is none, or the API is not ready."""
    return await asyncio.to_thread(_read, f"{url}/readyz")


def _read(url: str) -> Mapping[str, str]:
    try:
        with _direct.open(url, timeout=TIMEOUT) as answer:
            state: Mapping[str, str] = json.load(answer)
            return state
    except (
        OSError,
        HTTPException,
        ValueError,
    ):  # an answer that is no success is an OSError; ValueError: it is not JSON
        return {}
