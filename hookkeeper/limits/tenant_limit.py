"""Limits concurrent operations, in total and for each tenant, so that a busy tenant delays only itself."""

import asyncio
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

UNLIMITED = sys.maxsize


class TooManyWaiting(Exception):
    """A tenant has as many operations waiting for a slot as it may have."""


class TenantLimit:
    """Grants up to `total` slots at once, and to each tenant at most `per_tenant` and as many as it leaves free.

    Another tenant therefore always finds a free slot. Waiting tenants get one slot each in turn; with a single slot,
    it passes from tenant to tenant. `max_waiting` limits the waiting operations of a tenant.
    """

    def __init__(self, total: int = UNLIMITED, *, per_tenant: int = UNLIMITED, max_waiting: int = UNLIMITED) -> None:
        self._free = total
        self.per_tenant = per_tenant
        self._max_waiting = max_waiting
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By tenant; the next one comes first."""

    @asynccontextmanager
    async def slot(self, tenant: str) -> AsyncIterator[None]:
        """Hold a slot of this tenant until the block ends. Raises TooManyWaiting."""
        await self.acquire(tenant)
        try:
            yield
        finally:
            self.release(tenant)

    async def acquire(self, tenant: str) -> None:
        """Wait for a slot, which the caller has to release. Raises TooManyWaiting."""
        if tenant not in self._waiting and self._has_slot(tenant):
            self._grant(tenant)
            return
        if self._max_waiting != UNLIMITED and self.waiting(tenant) >= self._max_waiting:
            raise TooManyWaiting
        slot = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(slot)
        try:
            await slot
        except asyncio.CancelledError:
            if not slot.cancelled():  # granted at the same moment
                self.release(tenant)
            raise

    def release(self, tenant: str) -> None:
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        for other in [*self._waiting]:
            if self._has_slot(other) and (slot := self._next(other)):
                self._grant(other)
                slot.set_result(None)

    def held(self, tenant: str) -> int:
        """Return how many slots a tenant holds."""
        return self._held[tenant]

    def waiting(self, tenant: str) -> int:
        """Return how many operations of a tenant wait for a slot."""
        return sum(not slot.cancelled() for slot in self._waiting.get(tenant, ()))

    def _has_slot(self, tenant: str) -> bool:
        return self._held[tenant] < min(self._free, self.per_tenant)

    def _grant(self, tenant: str) -> None:
        self._free -= 1
        self._held[tenant] += 1

    def _next(self, tenant: str) -> asyncio.Future[None] | None:
        """Remove and return the tenant's oldest waiting slot, and move the tenant behind all others."""
        slots = self._waiting.pop(tenant)
        while slots:
            slot = slots.popleft()
            if not slot.cancelled():
                if slots:
                    self._waiting[tenant] = slots
                return slot
        return None
