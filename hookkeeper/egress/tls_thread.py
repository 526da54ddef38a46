"""An event loop in a separate thread, for requests to receivers with a tenant's own certificate authorities.

Such a receiver can send a certificate chain that takes OpenSSL half a second to verify, without interruption. OpenSSL
releases the GIL meanwhile, so in a separate thread it does not delay other requests.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import httpx

Result = TypeVar("Result")
JOIN_TIMEOUT = 5.0
"""Seconds to wait for the thread to end: a handshake may be in progress."""


class TlsThread:
    """Runs calls of one client in a thread, which starts at the first call."""

    def __init__(self, make_client: Callable[[], httpx.AsyncClient]) -> None:
        self._make_client = make_client
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: httpx.AsyncClient | None = None
        self._thread: threading.Thread | None = None

    async def run(self, call: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Result]]) -> Result:
        """Run a call in the thread and return its result. Cancellation cancels the call."""
        if self._loop is None or self._client is None:
            self._client, self._loop = self._make_client(), asyncio.new_event_loop()
            self._thread = threading.Thread(target=_serve, args=(self._loop,), name="custom-tls", daemon=True)
            self._thread.start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(self._client), self._loop))

    async def close(self) -> None:
        """Close the client and end the thread."""
        if self._loop is None or self._thread is None:
            return
        try:
            await self.run(lambda client: client.aclose())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join, JOIN_TIMEOUT)
            self._loop = None


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
