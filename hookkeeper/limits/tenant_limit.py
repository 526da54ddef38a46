"""A limit that each tenant has for itself: reaching it delays no other tenant."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TooManyWaiting(Exception):
    """A tenant has as many things waiting for a place as may wait."""


class TenantLimit:
    """Lets each tenant do at most `at_most` things of one kind at once. Further ones wait, first come, first served."""

    def __init__(self, what: str, at_most: int, waiting: int | None = None) -> None:
        """`what` names the kind in error messages, such as `name lookups`; `waiting` bounds how many may wait."""
        self.what = what
        self.at_most = at_most
        self._at_most_with_waiting = at_most + waiting if waiting is not None else None
        self._places: dict[str, _Places] = {}

    @asynccontextmanager
    async def place(self, tenant: str) -> AsyncIterator[None]:
        """Wait for a place of this tenant, and hold it until the block ends. Raises TooManyWaiting."""
        places = self._places.setdefault(tenant, _Places(self.at_most))
        if places.users == self._at_most_with_waiting:
            raise TooManyWaiting
        places.users += 1
        try:
            async with places:
                yield
        finally:
            places.users -= 1
            if not places.users:
                del self._places[tenant]

    def users(self, tenant: str) -> int:
        """Give how many places a tenant holds or waits for."""
        return self._places[tenant].users if tenant in self._places else 0


class _Places(asyncio.Semaphore):
    """The places of one tenant, dropped when none is held or waited for."""

    users = 0
