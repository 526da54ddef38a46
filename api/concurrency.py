"""How many requests of one tenant the API handles at once: what a tenant asks delays that tenant only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.access import Caller
from api.problems import TooManyRequests
from hookkeeper.limits.tenant_limit import TenantLimit, TooManyWaiting

WAITING_PER_PLACE = 10
"""Requests that may wait for each place."""


class RequestConcurrency:
    """Bounds the requests of each tenant's keys, in this process. Keys for all tenants are the operator's own."""

    def __init__(self, at_most: int) -> None:
        self._limit = TenantLimit("requests", at_most, waiting=WAITING_PER_PLACE * at_most)

    @asynccontextmanager
    async def place(self, caller: Caller) -> AsyncIterator[None]:
        """Wait for a place of the caller's tenant, and hold it until the block ends. Raises TooMany."""
        if caller.tenant is None:
            yield
            return
        try:
            async with self._limit.place(caller.tenant):
                yield
        except TooManyWaiting:
            raise TooManyRequests(
                f"Tenant {caller.tenant} has too many requests waiting: {self._limit.at_most} are handled at once.",
                headers={"retry-after": "1"},
            ) from None

    def handled(self, tenant: str) -> int:
        """Give how many requests of a tenant are handled or waiting."""
        return self._limit.users(tenant)
