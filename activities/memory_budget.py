"""How much memory requests and events' data may take in this worker, in all and for each tenant.

A receiver that reads nothing keeps a request's body in this process until its timeout. A concurrency limit does not
limit sizes: templates can turn 600 bytes of events into gigabytes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from activities.tenant_concurrency import TenantLoads
from hookkeeper import metrics
from hookkeeper.content.sizes import MAX_BODY_BYTES, memory_of
from hookkeeper.egress import request_state
from hookkeeper.egress.request_state import LocalLimitReached
from hookkeeper.limits import TenantLimit

COPIES = 3
"""Copies of a body that a receiver does not read: the body itself, the buffer of asyncio or TLS, the kernel's."""
REQUEST_OVERHEAD = 320 * 1024
"""Bytes that a request needs besides its body: asyncio has a read buffer of 256 KiB for each connection with TLS."""


def request_memory(body_bytes: int) -> int:
    """Return the memory that a request with such a body may need."""
    return COPIES * body_bytes + REQUEST_OVERHEAD


class MemoryBudget:
    """Bytes that tenants share. A tenant never has more than it leaves free, so a tenant that has none finds some."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._bytes = TenantLimit(total, per_tenant=total // 2)

    @property
    def held(self) -> int:
        """Bytes of all tenants."""
        return self._total - self._bytes.free

    @asynccontextmanager
    async def reserved(self, tenant: str, size: int) -> AsyncIterator["Reservation"]:
        """Reserve bytes for the length of the block; requests of a tenant are served in order.

        Raises LocalLimitReached if they do not become free in time. A request for more than the tenant's whole budget
        counts as the whole budget, and so runs alone.
        """
        start = time.perf_counter()
        size = min(size, self._bytes.per_tenant)
        if not self._bytes.acquire_now(tenant, size):
            try:
                async with asyncio.timeout(request_state.SLOT_TIMEOUT):
                    await self._bytes.acquire(tenant, size)
            except TimeoutError:
                raise self._refusal(tenant) from None
        reservation = Reservation(self._bytes, tenant, size, waited=time.perf_counter() - start)
        try:
            yield reservation
        finally:
            self._bytes.release(tenant, reservation.size)

    @contextmanager
    def reserved_now(self, tenant: str, size: int) -> Iterator[None]:
        """Reserve bytes for the length of the block. Raises LocalLimitReached if they are not free now."""
        size = min(size, self._bytes.per_tenant)
        if not self._bytes.acquire_now(tenant, size):
            raise self._refusal(tenant)
        try:
            yield
        finally:
            self._bytes.release(tenant, size)

    def _refusal(self, tenant: str) -> LocalLimitReached:
        held, limit = self._bytes.held(tenant), self._bytes.per_tenant
        metrics.count_limit("memory")
        return LocalLimitReached(f"this tenant has {held} of {limit} bytes of memory in use in this worker")


@dataclass(slots=True)
class Reservation:
    """Bytes that are reserved for a block."""

    budget: TenantLimit
    tenant: str
    size: int
    waited: float
    """Seconds until they were granted."""

    def shrink_to(self, size: int) -> None:
        """Free all above this number of bytes."""
        if size < self.size:
            freed, self.size = self.size - size, size
            self.budget.release(self.tenant, freed)


class WorkerMemory:
    """The memory that a worker may use for requests in flight, and as much again for the data of their events.

    Two budgets: with one, a tenant's events could use all of it while their requests wait.
    """

    def __init__(self, total: int, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._max_body_bytes = max_body_bytes
        self.requests = MemoryBudget(total)
        self.data = MemoryBudget(total)
        self._loads = TenantLoads()

    def request(self, tenant: str, body_bytes: int | None = None) -> AbstractAsyncContextManager[Reservation]:
        """Reserve the memory of a request; before its body is rendered, that of the largest body."""
        size = self._max_body_bytes if body_bytes is None else body_bytes
        return self.requests.reserved(tenant, request_memory(size))

    @contextmanager
    def event_data(self, tenant: str, data: Any) -> Iterator[None]:
        """Reserve the memory of an event's data for as long as an activity uses it.

        Raises ApplicationError if the tenant's budget is used up; Temporal then retries the activity later.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(self.data.reserved_now(tenant, memory_of(data)))
            except LocalLimitReached as full:
                raise self._loads.of(tenant).refusal(f"{full}: waiting for the data of other events") from None
            stack.enter_context(self._loads.counted(tenant))
            yield
