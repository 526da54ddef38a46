"""How many events a tenant may be starting at once: while Temporal is slow, a busy tenant would delay others there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from cachetools import TTLCache

from hookkeeper.limits import AdaptiveLimit, TenantLimit

MIN_PER_TENANT = 1
MANY = 4
"""Waiting events of a busy tenant. Another one has fewer, even after a moment in which Temporal was slow."""
REST = 2.0
"""Multiple of the time for which a slot of a busy tenant was held, in which it then rests for each activity of the
event: attempts and retries load Temporal more than the start does."""
MAX_REST = 4.0
"""Seconds, fewer than those after which an event that waits for a slot is refused."""
ACTIVE_TIME = 10.0
"""Seconds from a tenant's latest event for which the other tenants are limited in its favour. After a longer pause, its
next event is started beside up to sixteen others: some tenths of a second late."""
TROUBLE_TIME = 60.0
"""Seconds from the latest event with a webhook in trouble for which a tenant needs slots for shared runs."""
MAX_TENANTS = 10_000
"""Tenants of which this is known."""


class RecentTenants(TTLCache[str, None]):
    """The tenants that were added in the last seconds."""

    def __init__(self, seconds: float = ACTIVE_TIME) -> None:
        super().__init__(MAX_TENANTS, seconds, timer=lambda: monotonic())  # looked up at each call, for tests

    def add(self, tenant: str) -> None:
        self[tenant] = None


class StartLimit:
    """Slots for events that are being started.

    - One active tenant has up to half of them.
    - Of several active tenants, each has as many as the duration of starts allows.
    - If that is one slot, because Temporal is very busy, and many events of the tenant wait, the slot rests after each
      start: the more activities the event needs, the longer.
    """

    def __init__(self, total: int, active: RecentTenants, *, only_in_trouble: bool = False) -> None:
        """`active`: the tenants that post events, for all limits of the process.

        `only_in_trouble`: tenants need a slot only for a minute after each event with a webhook that fails or is slow.
        """
        self._active = active
        self._only_in_trouble = only_in_trouble
        self._in_trouble = RecentTenants(TROUBLE_TIME)
        self._slots = TenantLimit(total)
        self._highest = total // 2
        self._adaptive = AdaptiveLimit(MIN_PER_TENANT, self._highest)

    @asynccontextmanager
    async def slot(self, tenant: str, activities: int = 1) -> AsyncIterator[None]:
        """Hold a slot of this tenant until the block ends, if it needs one: a slot for each activity."""
        self._active.add(tenant)
        self._set()
        if self._only_in_trouble and tenant not in self._in_trouble:
            yield
            return
        await self._slots.acquire(tenant)
        begin = monotonic()
        try:
            yield
        finally:
            asyncio.get_running_loop().call_later(self._rest(tenant, begin, activities), self._slots.release, tenant)

    def note_trouble(self, tenant: str) -> None:
        """Note that a tenant posts an event with a webhook that fails or is slow."""
        self._in_trouble.add(tenant)

    def note_start(self, seconds: float, events: int = 1) -> None:
        """Adjust the limit to the time that Temporal took to start a run of `events` events."""
        for _ in range(events):
            self._adaptive.record(seconds)
        self._set()

    def _rest(self, tenant: str, begin: float, activities: int) -> float:
        """Return for how many seconds a slot is not to be used again."""
        is_crowded = self._slots.per_tenant == MIN_PER_TENANT and self._slots.waiting(tenant) >= MANY
        return min(REST * max(activities, 1) * (monotonic() - begin), MAX_REST) if is_crowded else 0.0

    def _set(self) -> None:
        self._slots.per_tenant = self._adaptive.value if self._active.currsize > 1 else self._highest
