"""Removes what is older than the retention from the index and the audit log, and forgets tenants that were deleted
before, once an hour; mends the totals of all tenants, once a day. Each worker process runs it, and a lease in the
registry lets one of them do so.

The time is that of Temporal, or this machine's if it is earlier: a clock that is ahead must not remove anything early.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta

import structlog

from hookkeeper.asyncio_tasks import in_background
from hookkeeper.registry.audit import AuditLog
from hookkeeper.registry.events.index import EventIndex
from hookkeeper.registry.events.leases import Term
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.tenants.tenants import Tenants
from hookkeeper.times import utc_now

LEASE_NAME = "retention"
FIRST_DELAY = 60.0
"""Seconds from the start of a process."""
RECOUNT_LEASE_NAME, RECOUNT_INTERVAL = "recount", 86_400.0
INTERVAL = 3600.0
"""Seconds between two times, and of a lease. A lease is not given back, so no other process follows within the hour."""
MAX_DIFFERENCE = timedelta(minutes=10)
"""Between this machine's clock and Temporal's: a larger one is logged. Temporal's time is that of a recent poll."""
log = structlog.get_logger("hookkeeper.index")


def longest_in_force(known: Term | None, now: datetime, retention: timedelta) -> Term:
    """Return when the longest retention was in force last, and until when Temporal keeps what ended before.

    Temporal keeps a run for the retention that was in force when the run ended.
    """
    if known is not None and known.end > now and known.length > retention:
        return known
    return Term(now, now + retention)


class RetentionTask:
    """One for the worker process."""

    def __init__(
        self,
        index: EventIndex,
        retention: timedelta,
        server_time: Callable[[], Awaitable[datetime | None]],
        audit: AuditLog | None = None,
        audit_retention: timedelta | None = None,
        tenants: Tenants | None = None,
    ) -> None:
        """`server_time` returns Temporal's time, up to some minutes late, or None if it is unknown."""
        self._index = index
        self._retention = retention
        self._server_time = server_time
        self._audit = audit
        self._audit_retention = audit_retention
        self._tenants = tenants

    def running(self) -> AbstractAsyncContextManager[None]:
        """Remove what is older than the retention, once an hour, until the block ends."""
        return in_background(self._expire_regularly(), "apply the retention")

    async def _expire_regularly(self) -> None:
        await asyncio.sleep(FIRST_DELAY)
        while True:
            try:
                await self.expire()
            except RegistryUnavailable as error:
                log.warning("retention not applied", error=str(error))
            except Exception:
                log.exception("retention not applied")
            await asyncio.sleep(INTERVAL)

    async def expire(self) -> None:
        """Remove what is older than the retention, unless another process does. Raises RegistryUnavailable."""
        if not await self._index.leases.take(LEASE_NAME, INTERVAL):
            return
        if (now := await self._earlier_time()) is None:
            log.warning("retention not applied", error="Temporal's time is unknown")
            return
        longest = longest_in_force(await self._index.leases.term(LEASE_NAME), now, self._retention)
        await self._index.leases.set_term(LEASE_NAME, longest)
        await self._index.expire(now, longest.length)
        if self._audit and self._audit_retention:
            await self._audit.expire(now - self._audit_retention)
        if self._tenants:
            await self._tenants.forget_deleted(now - longest.length)
        await self._recount()

    async def _recount(self) -> None:
        """Mend what code of another release has not counted. Nothing else makes totals wrong, so it is logged."""
        if not await self._index.leases.take(RECOUNT_LEASE_NAME, RECOUNT_INTERVAL):
            return
        if rows := await self._index.recount():
            log.warning("totals of all tenants mended", rows=rows)

    async def _earlier_time(self) -> datetime | None:
        """Return the time by Temporal's clock or this machine's, whichever is earlier; None if it is unknown."""
        server, machine = await self._server_time(), utc_now()
        if server is None:
            return None
        if abs(machine - server) > MAX_DIFFERENCE:
            log.warning(
                "this machine's clock is not Temporal's", seconds_ahead=round((machine - server).total_seconds())
            )
        return min(server, machine)
