"""A limit that each tenant has for itself: reaching it delays nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TenantLimit:
    """Lets each tenant do at most `at_most` things of one kind at once. Further ones wait, first come, first served."""

    def __init__(self, what: str, at_most: int) -> None:
        """`what` names the kind in error messages, such as `name lookups`."""
        self.what = what
        self.at_most = at_most
        self._places: dict[str, _Places] = {}

    @asynccontextmanager
    async def place(self, tenant: str) -> AsyncIterator[None]:
        """Wait for a place of this tenant, and hold it until the block ends."""
        places = self._places.setdefault(tenant, _Places(self.at_most))
        places.users += 1
        try:
            async with places:
                yield
        finally:
            places.users -= 1
            if not places.users:
                del self._places[tenant]


class _Places(asyncio.Semaphore):
    """The places of one tenant, dropped when nobody holds one or waits."""

    users = 0
