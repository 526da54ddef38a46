"""Limits of a process: tasks that wait, a tenant's requests at once, and how often held events are counted."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime

from cachetools import TTLCache

from hookkeeper import metrics
from hookkeeper.limits import TenantLimit, TooManyWaiting
from hookkeeper.services.caller import Caller
from hookkeeper.services.errors import RateLimited
from hookkeeper.temporal.server.readiness import Readiness
from hookkeeper.times import utc_now

CACHE_TIME = 2.0
"""Seconds for which a count is used: to count many takes a while."""
MAX_CACHED = 10_000
RETRY_AFTER = 5
"""Seconds."""
WAITING_PER_SLOT = 10
"""Requests that may wait for each slot."""


@contextmanager
def slot_now(
    limit: TenantLimit, tenant: str, refusal: str, retry_after: float, counted: metrics.Limit | None = None
) -> Iterator[None]:
    """Hold a slot of a tenant until the block ends. Raises RateLimited, and counts that, if none is free now."""
    if not limit.acquire_now(tenant):
        if counted:
            metrics.count_limit(counted)
        raise RateLimited(refusal, retry_after)
    try:
        yield
    finally:
        limit.release(tenant)


class BacklogLimit:
    """Back-pressure: while more tasks wait for a worker than the operator allows, new events are refused."""

    def __init__(self, readiness: Readiness, at_most: int | None) -> None:
        self._readiness = readiness
        self._at_most = at_most
        self._waiting = 0
        self._counted_at = float("-inf")

    async def check(self) -> None:
        """Raise RateLimited if more waits than is allowed, and Unavailable if Temporal does not answer."""
        if self._at_most is None:
            return
        now = time.monotonic()
        if now - self._counted_at > CACHE_TIME:
            self._counted_at = now  # other requests use the previous count meanwhile
            self._waiting = await self._readiness.count_waiting()
        if self._waiting > self._at_most:
            metrics.count_limit("backlog")
            raise RateLimited(
                "Too many deliveries are waiting: no new events are accepted until there are fewer.", RETRY_AFTER
            )


class RequestConcurrency:
    """Limits the requests of each tenant, so that a busy one delays only itself.

    Keys of all tenants belong to the operator and have no limit.
    """

    def __init__(self, at_most: int) -> None:
        self.limit = TenantLimit(per_tenant=at_most, max_waiting=WAITING_PER_SLOT * at_most)

    @asynccontextmanager
    async def slot(self, caller: Caller) -> AsyncIterator[None]:
        """Hold a slot of the caller's tenant until the block ends. Raises RateLimited."""
        if caller.tenant is None:
            yield
            return
        try:
            async with self.limit.slot(caller.tenant):
                yield
        except TooManyWaiting:
            metrics.count_limit("tenant_requests")
            raise RateLimited(
                f"Tenant {caller.tenant} has too many waiting requests: {self.limit.per_tenant} are handled at once.",
                retry_after=1,
            ) from None


class HeldCounts:
    """How many events each webhook holds, cached for a moment."""

    def __init__(self) -> None:
        self._known: TTLCache[str, tuple[int, datetime]] = TTLCache(MAX_CACHED, ttl=CACHE_TIME)
        self._counting = asyncio.Lock()

    async def of(self, webhook_id: str, count: Callable[[str], Awaitable[int]]) -> tuple[int, datetime]:
        """Return the count and the time when it was made."""
        async with self._counting:
            known = self._known.get(webhook_id)
            if known is None:
                known = self._known[webhook_id] = await count(webhook_id), utc_now()
            return known
