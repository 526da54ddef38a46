"""The state of one outgoing request and of its connection, shared by `hookkeeper.egress.http` and the connector."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from hookkeeper import metrics
from hookkeeper.limits import TenantLimit

SLOT_TIMEOUT = 20.0
"""Seconds that a request waits for slots of its tenant. Together with the longest timeout of a webhook, that is less
than the minute of an activity."""


class LocalLimitReached(RuntimeError):
    """An internal limit prevented the request. It does not count as an attempt."""


class Reader(Protocol):
    """Reads the response of a request (`hookkeeper.egress.transport`)."""

    is_body_cut_off: bool

    def end(self, *, keep_alive: bool) -> None: ...


@dataclass(slots=True)
class RequestState:
    """The state of one request. `send` sets the first four fields and `first_byte`, the connector the others."""

    tenant: str = ""
    """Whose limits apply."""
    timeout: asyncio.Timeout | None = None
    """Paused while the request waits for a slot of its tenant."""
    fresh: bool = False
    """Do not reuse a connection."""
    waited_before: float = 0.0
    """Seconds waited for slots before this request."""
    waited: float = 0.0
    """Seconds that the request has waited for slots."""
    trusted: bool = False
    """The operator allows the host name, whatever its address."""
    awaits_proxy: bool = False
    """Not yet connected to the egress proxy."""
    reused: bool = False
    """The connection was used before."""
    connecting: float | None = None
    """Seconds for name lookup, connection and TLS handshake; None if the connection was used before."""
    connected_at: float | None = None
    """When the connection was ready for the request, by `time.perf_counter`."""
    first_byte: float | None = None
    """Seconds from then to the headers of the response."""
    reader: Reader | None = None
    """Reads the response, once the request is connected."""
    done: bool = False
    """The response was complete, so the connection can be reused."""

    def end(self) -> None:
        """Abort a connection that is not reused."""
        if self.reader is not None:
            self.reader.end(keep_alive=self.done)

    @asynccontextmanager
    async def slot_in(self, limit: TenantLimit, operations: str) -> AsyncIterator[None]:
        """Hold a slot of the request's tenant. Raises LocalLimitReached if none becomes free in time.

        Waiting does not count against the timeout of the request.
        """
        async with AsyncExitStack() as slot:
            start = time.perf_counter()
            try:
                with self._timeout_paused():
                    async with asyncio.timeout(SLOT_TIMEOUT - self.waited_before - self.waited):
                        await slot.enter_async_context(limit.slot(self.tenant))
            except TimeoutError:
                metrics.count_limit("lookups_and_handshakes")
                raise LocalLimitReached(f"the tenant already has {limit.per_tenant} {operations}") from None
            finally:
                self.waited += time.perf_counter() - start
            yield

    @contextmanager
    def _timeout_paused(self) -> Iterator[None]:
        clock = self.timeout
        if clock is None or clock.expired() or (ends := clock.when()) is None:
            yield
            return
        loop = asyncio.get_running_loop()
        left = ends - loop.time()
        clock.reschedule(None)
        try:
            yield
        finally:
            clock.reschedule(loop.time() + left)


current_request: ContextVar[RequestState | None] = ContextVar("current_request", default=None)
