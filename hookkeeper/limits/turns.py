"""Whose turn it is, where tenants share what there is little of: children of the sandbox, threads, starts of runs."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Lets up to `slots` have a turn at once, and each tenant as many of them as are left free for others.

    A tenant never has more than `per_tenant`.

    So somebody who comes new finds a slot, however many turns another one wants. Those who wait get theirs tenant by
    tenant, one each. Where there is one slot, it goes from tenant to tenant.
    """

    def __init__(self, slots: int, per_tenant: int | None = None) -> None:
        self._free = slots
        self.per_tenant = slots if per_tenant is None else per_tenant
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By tenant; whose turn is next comes first."""

    @asynccontextmanager
    async def of(self, tenant: str) -> AsyncIterator[None]:
        """Wait for a turn of this tenant, and have it until the block ends."""
        await self.take(tenant)
        try:
            yield
        finally:
            self.give_back(tenant)

    async def take(self, tenant: str) -> None:
        """Wait for a turn, which has to be given back."""
        if tenant not in self._waiting and self._may(tenant):
            self._begin(tenant)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came in that very moment
                self.give_back(tenant)
            raise

    def give_back(self, tenant: str) -> None:
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        for other in [*self._waiting]:
            if self._may(other) and (turn := self._next(other)):
                self._begin(other)
                turn.set_result(None)

    def _may(self, tenant: str) -> bool:
        return self._held[tenant] < min(self._free, self.per_tenant)

    def _begin(self, tenant: str) -> None:
        self._free -= 1
        self._held[tenant] += 1

    def _next(self, tenant: str) -> asyncio.Future[None] | None:
        """Give the tenant's oldest wish for which somebody still waits; after this tenant all others come first."""
        wishes = self._waiting.pop(tenant)
        while wishes:
            turn = wishes.popleft()
            if not turn.cancelled():
                if wishes:
                    self._waiting[tenant] = wishes
                return turn
        return None
