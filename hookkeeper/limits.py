"""Limits of concurrent operations: by tenant, so that a busy one delays only itself, and by how fast a server is.

The latter falls while a server responds slowly and rises while it does not: additive increase, multiplicative decrease,
as in TCP congestion control (RFC 5681, section 3.1).
"""

import asyncio
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

UNLIMITED = sys.maxsize


class TooManyWaiting(Exception):
    """A tenant has as many operations waiting for a slot as it may have."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    """An operation that waits for slots."""

    size: int
    granted: asyncio.Future[None]


class TenantLimit:
    """Grants up to `total` slots at once, and to each tenant at most `per_tenant` and as many as it leaves free.

    Another tenant therefore always finds a free slot. Waiting tenants are served in turn, one operation each; a single
    slot passes from tenant to tenant. `max_waiting` limits the waiting operations of a tenant.
    """

    def __init__(self, total: int = UNLIMITED, *, per_tenant: int = UNLIMITED, max_waiting: int = UNLIMITED) -> None:
        self.free = total
        self.per_tenant = per_tenant
        self._max_waiting = max_waiting
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[_Waiter]] = {}
        """By tenant, each tenant's oldest first; the tenant to be served next comes first."""

    @asynccontextmanager
    async def slot(self, tenant: str) -> AsyncIterator[None]:
        """Hold a slot of this tenant until the block ends. Raises TooManyWaiting."""
        await self.acquire(tenant)
        try:
            yield
        finally:
            self.release(tenant)

    async def acquire(self, tenant: str, size: int = 1) -> None:
        """Wait for slots, which the caller has to release. Raises TooManyWaiting."""
        if self.acquire_now(tenant, size):
            return
        if self._max_waiting != UNLIMITED and self.waiting(tenant) >= self._max_waiting:
            raise TooManyWaiting
        waiter = _Waiter(size, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(tenant, deque()).append(waiter)
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.cancelled():
                self._serve()  # a smaller one behind it may fit
            else:  # granted at the same moment
                self.release(tenant, size)
            raise

    def acquire_now(self, tenant: str, size: int = 1) -> bool:
        """Acquire slots if they are free and no operation of the tenant waits."""
        if tenant in self._waiting or not self._fits(tenant, size):
            return False
        self._grant(tenant, size)
        return True

    def release(self, tenant: str, size: int = 1) -> None:
        self.free += size
        self._held[tenant] -= size
        if not self._held[tenant]:
            del self._held[tenant]
        self._serve()

    def held(self, tenant: str) -> int:
        """Return how many slots a tenant holds."""
        return self._held[tenant]

    def waiting(self, tenant: str) -> int:
        """Return how many operations of a tenant wait for a slot."""
        return sum(not waiter.granted.cancelled() for waiter in self._waiting.get(tenant, ()))

    def _fits(self, tenant: str, size: int) -> bool:
        after = self._held[tenant] + size
        return after <= self.per_tenant and after <= self.free - size + 1

    def _grant(self, tenant: str, size: int) -> None:
        self.free -= size
        self._held[tenant] += size

    def _serve(self) -> None:
        """Serve the waiting tenants in turn, until no tenant's oldest operation fits."""
        served = True
        while served:
            served = False
            for tenant in [*self._waiting]:
                if self.free <= 0:
                    return
                served |= self._serve_oldest(tenant)

    def _serve_oldest(self, tenant: str) -> bool:
        """Grant the tenant's oldest operation if it fits, and move the tenant behind all others."""
        waiters = self._waiting[tenant]
        while waiters and waiters[0].granted.cancelled():
            waiters.popleft()
        if waiters and not self._fits(tenant, waiters[0].size):
            return False
        del self._waiting[tenant]
        if not waiters:
            return False
        waiter = waiters.popleft()
        if waiters:
            self._waiting[tenant] = waiters
        self._grant(tenant, waiter.size)
        waiter.granted.set_result(None)
        return True


TARGET = 0.03
"""Seconds. A faster response never counts as slow."""
TOLERANCE = 2.0
"""A response counts as slow from this multiple of the fastest recent one: a remote server need not be busy."""
DECAY = 1.001
"""Factor by which the fastest time grows with each response, so that the limit adapts to a slower server."""
DECREASE = 0.5


class AdaptiveLimit:
    """Limits concurrent calls, between `lowest` and `highest`."""

    def __init__(self, lowest: int, highest: int) -> None:
        self._lowest, self._highest = lowest, highest
        self._limit = float(highest)
        self._fastest = float("inf")

    @property
    def value(self) -> int:
        return int(self._limit)

    def record(self, seconds: float) -> None:
        """Adjust the limit to the duration of a response."""
        self._fastest = min(self._fastest * DECAY, seconds)
        if seconds > max(TARGET, TOLERANCE * self._fastest):
            self._limit = max(self._limit * DECREASE, self._lowest)
        else:
            self._limit = min(self._limit + 1 / self._limit, self._highest)
