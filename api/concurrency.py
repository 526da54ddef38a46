"""Limits the concurrent requests of each tenant, so that a busy tenant delays only itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hookkeeper import metrics
from hookkeeper.limits.tenant_limit import TenantLimit, TooManyWaiting
from hookkeeper.services.caller import Caller
from hookkeeper.services.errors import RateLimited

WAITING_PER_SLOT = 10
"""Requests that may wait for each slot."""


class RequestConcurrency:
    """Limits requests by tenant, in this process. Keys of all tenants belong to the operator and have no limit."""

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
