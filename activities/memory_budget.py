"""How much memory requests and events' data may take in this worker, in all and for each tenant.

A receiver that reads nothing keeps a request's body in this process until its timeout. Places are counted elsewhere; a
place says nothing of size: 600 bytes of events can make templates write gigabytes.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from activities.tenant_concurrency import TenantLoads
from hookkeeper.content.sizes import MAX_BODY_BYTES, memory_of
from hookkeeper.egress import link
from hookkeeper.egress.link import LocalLimitReached

COPIES = 3
"""Of a body that a receiver does not read: the body itself, what asyncio or TLS has buffered, and the kernel's part."""
REQUEST_OVERHEAD = 320 * 1024
"""Bytes that a request takes besides its body: asyncio has a read buffer of 256 KiB for each connection with TLS."""


def request_memory(body_bytes: int) -> int:
    """Give the memory that a request with such a body may take."""
    return COPIES * body_bytes + REQUEST_OVERHEAD


class MemoryBudget:
    """Bytes that tenants share. A tenant never holds more than it leaves free, so one that comes new finds some."""

    def __init__(self, total: int, per_tenant: int) -> None:
        self._total = total
        self._per_tenant = min(per_tenant, total // 2)
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[_Wish]] = {}
        """By tenant, each tenant's oldest first; the tenant that is next comes first."""

    @property
    def held(self) -> int:
        """Bytes that all tenants hold."""
        return self._held.total()

    @asynccontextmanager
    async def reserved(self, tenant: str, size: int) -> AsyncIterator["Reservation"]:
        """Wait for so many bytes of this tenant, first come, first served, and hold them until the block ends.

        Raises LocalLimitReached where they do not become free in time. One that is larger than the tenant's whole
        budget counts as just as large, and so is alone.
        """
        start = time.perf_counter()
        reservation = Reservation(self, tenant, min(size, self._per_tenant))
        try:
            async with asyncio.timeout(link.MAX_WAIT):
                await self._take(tenant, reservation.size)
        except TimeoutError:
            raise LocalLimitReached(self._refusal(tenant)) from None
        reservation.waited = time.perf_counter() - start
        try:
            yield reservation
        finally:
            self.give_back(tenant, reservation.size)

    @contextmanager
    def held_at_once(self, tenant: str, size: int) -> Iterator[None]:
        """Hold so many bytes until the block ends. Raises LocalLimitReached where they are not free now."""
        size = min(size, self._per_tenant)
        if not self._may(tenant, size):
            raise LocalLimitReached(self._refusal(tenant))
        self._held[tenant] += size
        try:
            yield
        finally:
            self.give_back(tenant, size)

    def give_back(self, tenant: str, size: int) -> None:
        self._held[tenant] -= size
        if not self._held[tenant]:
            del self._held[tenant]
        self._grant()

    async def _take(self, tenant: str, size: int) -> None:
        if tenant not in self._waiting and self._may(tenant, size):
            self._held[tenant] += size
            return
        wish = _Wish(size, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(tenant, deque()).append(wish)
        try:
            await wish.granted
        except asyncio.CancelledError:
            if wish.granted.cancelled():
                self._drop(tenant, wish)
            else:  # it was granted at that very moment
                self.give_back(tenant, size)
            raise

    def _may(self, tenant: str, size: int) -> bool:
        after = self._held[tenant] + size
        return after <= self._per_tenant and after <= self._total - self.held - size

    def _drop(self, tenant: str, wish: "_Wish") -> None:
        wishes = self._waiting[tenant]
        wishes.remove(wish)
        if not wishes:
            del self._waiting[tenant]
        self._grant()

    def _grant(self) -> None:
        """Grant what there is room for, tenant by tenant, one wish each, until no tenant's oldest wish fits."""
        granted = True
        while granted:
            granted = False
            for tenant in [*self._waiting]:
                wishes = self._waiting[tenant]
                if wishes[0].granted.cancelled() or not self._may(tenant, wishes[0].size):
                    continue  # a cancelled one is about to be dropped
                wish = wishes.popleft()
                del self._waiting[tenant]
                if wishes:
                    self._waiting[tenant] = wishes
                self._held[tenant] += wish.size
                wish.granted.set_result(None)
                granted = True

    def _refusal(self, tenant: str) -> str:
        return f"this tenant has {self._held[tenant]} of {self._per_tenant} bytes of memory under way in this worker"


@dataclass(slots=True)
class Reservation:
    """Bytes that a block holds."""

    budget: MemoryBudget
    tenant: str
    size: int
    waited: float = 0.0
    """Seconds that it took to get them."""

    def shrink_to(self, size: int) -> None:
        """Give back all but so many bytes."""
        if size < self.size:
            freed, self.size = self.size - size, size
            self.budget.give_back(self.tenant, freed)


@dataclass(frozen=True, slots=True, eq=False)
class _Wish:
    """What a tenant waits for."""

    size: int
    granted: asyncio.Future[None]


class Memory:
    """What a worker may use for requests under way, and as much again for the data of the events that they are for.

    Two budgets: with one, a tenant's events could hold all of it while their requests wait for some.
    """

    def __init__(self, total: int, per_tenant: int, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self.max_body_bytes = max_body_bytes
        self.requests = MemoryBudget(total, per_tenant)
        self.data = MemoryBudget(total, per_tenant)
        self._loads = TenantLoads()

    def request(self, tenant: str, body_bytes: int | None = None) -> AbstractAsyncContextManager[Reservation]:
        """Reserve what a request takes; where its body is not yet made, as if it were as large as it may be."""
        size = self.max_body_bytes if body_bytes is None else body_bytes
        return self.requests.reserved(tenant, request_memory(size))

    @contextmanager
    def holding(self, tenant: str, data: Any) -> Iterator[None]:
        """Hold what an event's data takes for as long as an activity uses it.

        Where the tenant's budget has no room, raise what makes Temporal try the activity again after a while.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(self.data.held_at_once(tenant, memory_of(data)))
            except LocalLimitReached as full:
                raise self._loads.of(tenant).refusal(f"{full}: waiting for the data of other events") from None
            stack.enter_context(self._loads.one_more(tenant))
            yield
