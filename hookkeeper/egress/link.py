"""One request on its way out: what `hookkeeper.egress.http` and the connector below it tell each other."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from hookkeeper.limits.tenant_limit import TenantLimit

MAX_WAIT = 20.0
"""Seconds that one request waits for places of its tenant. With the longest timeout of a webhook, that is within an
activity's minute."""


class LocalLimitReached(RuntimeError):
    """A limit of ours kept the request from being made. It is not the receiver's fault and costs no attempt."""


class Exchange(Protocol):
    """The side of the connection that reads answers."""

    idle: bool


@dataclass(slots=True)
class Link:
    """The connection of one request: what its sender and the connector tell each other."""

    tenant: str = ""
    """Asked: count what it takes for this tenant."""
    timeout: asyncio.Timeout | None = None
    """Asked: stop this clock while the request waits for a place of its tenant."""
    fresh: bool = False
    """Asked: take no connection that was used before."""
    waited_before: float = 0.0
    """Asked: count these seconds as waited already."""
    waited: float = 0.0
    """Told: seconds that the request has waited for places of its tenant."""
    trusted: bool = False
    """Told: the operator allows the name, wherever it leads."""
    awaits_proxy: bool = False
    """Told: no connection has been made to the egress proxy yet."""
    reused: bool = False
    """Told: it was used before."""
    protocol: Exchange | None = None
    transport: asyncio.Transport | None = None
    done: bool = False
    """Told: the answer came whole, so the connection may be kept."""

    def end(self) -> None:
        """Drop a connection that is not kept: a mere close waits until the peer has read all, if it ever does."""
        if self.protocol is None or self.transport is None:
            return
        if not self.done or self.transport.is_closing():
            self.transport.abort()
        self.protocol.idle = True

    @asynccontextmanager
    async def place_in(self, limit: TenantLimit) -> AsyncIterator[None]:
        """Hold a place of this request's tenant. Raises LocalLimitReached if none becomes free in time.

        The time spent waiting does not count against the timeout of the request.
        """
        async with AsyncExitStack() as place:
            start = time.perf_counter()
            try:
                with self._clock_stopped():
                    async with asyncio.timeout(MAX_WAIT - self.waited_before - self.waited):
                        await place.enter_async_context(limit.place(self.tenant))
            except TimeoutError:
                raise LocalLimitReached(f"the tenant already has {limit.at_most} {limit.what}") from None
            finally:
                self.waited += time.perf_counter() - start
            yield

    @contextmanager
    def _clock_stopped(self) -> Iterator[None]:
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


current_link: ContextVar[Link | None] = ContextVar("current_link", default=None)
