"""How many events a tenant may be starting at once: while Temporal is slow, a busy tenant would delay others there."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic

from hookkeeper.limits.adaptive_limit import AdaptiveLimit
from hookkeeper.limits.tenant_limit import TenantLimit

MIN_PER_TENANT = 1
MANY = 4
"""Waiting events of a busy tenant. Another one has fewer, even after a moment in which Temporal was slow."""
REST = 2.0
"""Multiple of the time for which a slot of a busy tenant was held, in which it then rests."""
ACTIVE_TIME = 60.0
"""Seconds from a tenant's latest event for which the others are limited for its sake, or it is itself."""


class StartLimit:
    """Slots for events that are being started. A tenant has up to half of them. If several tenants are active, it has
    as many as the duration of starts allows. If that is one, because Temporal is very busy, and many of its events
    wait, the slot rests after each start.
    """

    def __init__(self, total: int, *, only_in_trouble: bool = False) -> None:
        """`only_in_trouble`: tenants need a slot only for a minute after each event with a webhook that fails or is
        slow.
        """
        self._only_in_trouble = only_in_trouble
        self._in_trouble: dict[str, float] = {}
        """The time of each tenant's latest event with such a webhook; the longest ago comes first."""
        self._slots = TenantLimit(total)
        self._highest = total // 2
        self._adaptive = AdaptiveLimit(MIN_PER_TENANT, self._highest)
        self._active: dict[str, float] = {}
        """The time of each tenant's latest event; the longest ago comes first."""

    @asynccontextmanager
    async def slot(self, tenant: str) -> AsyncIterator[None]:
        """Hold a slot of this tenant until the block ends, if it needs one."""
        now = monotonic()
        _note(self._active, tenant, now)
        self._set()
        if self._only_in_trouble and now - self._in_trouble.get(tenant, -math.inf) > ACTIVE_TIME:
            yield
            return
        await self._slots.acquire(tenant)
        begin = monotonic()
        try:
            yield
        finally:
            asyncio.get_running_loop().call_later(self._rest(tenant, begin), self._slots.release, tenant)

    def note_trouble(self, tenant: str) -> None:
        """Note that a tenant posts an event with a webhook that fails or is slow."""
        _note(self._in_trouble, tenant, monotonic())

    @contextmanager
    def timed(self, events: int = 1) -> Iterator[None]:
        """Adjust the limit to the duration of the block, in which Temporal starts a run of so many events."""
        begin = monotonic()
        try:
            yield
        finally:
            seconds = monotonic() - begin
            for _ in range(events):
                self._adaptive.record(seconds)
            self._set()

    def _rest(self, tenant: str, begin: float) -> float:
        """Return for how many seconds a slot is not to be used again."""
        is_crowded = self._slots.per_tenant == MIN_PER_TENANT and self._slots.waiting(tenant) >= MANY
        return REST * (monotonic() - begin) if is_crowded else 0.0

    def _set(self) -> None:
        self._slots.per_tenant = self._adaptive.value if len(self._active) > 1 else self._highest


def _note(times: dict[str, float], tenant: str, now: float) -> None:
    """Keep the time of a tenant, and forget those that are too long ago."""
    times.pop(tenant, None)
    times[tenant] = now
    while now - times[longest_ago := next(iter(times))] > ACTIVE_TIME:
        del times[longest_ago]
