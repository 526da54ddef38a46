"""How many runs bulk work changes at once: fewer while Temporal is slow, since other tenants wait there too."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hookkeeper.limits import AdaptiveLimit
from hookkeeper.tenant_limits import BULK_RUNS

MIN_PER_TENANT = 2


class BulkLimit:
    """Slots for runs, of releases or of recoveries. One of each for the process."""

    def __init__(self) -> None:
        self._slots = BULK_RUNS.limit()
        self._adaptive = AdaptiveLimit(MIN_PER_TENANT, BULK_RUNS.most)

    @asynccontextmanager
    async def slot(self, tenant: str) -> AsyncIterator[None]:
        """Wait for a slot, and hold it until the block ends."""
        async with self._slots.slot(tenant):
            yield

    async def acquire(self, tenant: str) -> None:
        """Wait for a slot, which has to be released."""
        await self._slots.acquire(tenant)

    def acquire_now(self, tenant: str) -> bool:
        """Take a slot if one is free, and no other bulk work of the tenant waits for it. It has to be released."""
        return self._slots.acquire_now(tenant)

    def release(self, tenant: str, size: int = 1) -> None:
        self._slots.release(tenant, size)

    def record(self, seconds: float) -> None:
        """Adjust the limit to the time that a change of a run took, which needs Temporal but no receiver."""
        self._adaptive.record(seconds)
        self._slots.per_tenant = self._adaptive.value
