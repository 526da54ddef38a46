"""Which process does what one process does at a time: the sweep of a task queue, a reindex, the retention. And how far
the first two have come.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import or_, select, update

from hookkeeper.registry.database import Database, insert_into
from hookkeeper.registry.index.tables import index_sweep
from hookkeeper.times import utc_now


class SweepPosition(NamedTuple):
    """How far a sweep has come: runs that were opened or closed before `until` are in the index."""

    since: datetime | None
    """Of a reindex: where it began. Of a sweep: since when there are runs that it could not decrypt."""
    until: datetime | None


class Leases:
    """Each has a name, and the process that holds it. Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lease(self, name: str, holder: str, seconds: float) -> SweepPosition | None:
        """Let a process do the work for this time, and return its position; None if another one does it."""
        insert = insert_into(index_sweep, self._database.dialect.name)
        now = utc_now()
        until = index_sweep.c.leased_until
        of_wrong_clock = until > now + timedelta(seconds=2 * seconds)
        is_free = or_(until.is_(None), until < now, of_wrong_clock)
        lease = (
            update(index_sweep)
            .where(index_sweep.c.name == name, or_(index_sweep.c.holder == holder, is_free))
            .values(holder=holder, leased_until=now + timedelta(seconds=seconds))
            .returning(index_sweep.c.since, index_sweep.c.swept_until)
        )
        async with self._database.write() as session:
            await session.execute(insert.values(name=name).on_conflict_do_nothing())
            row = (await session.execute(lease)).one_or_none()
        return None if row is None else SweepPosition(*row)

    async def release(self, name: str, holder: str) -> None:
        """Let another process do the work at once."""
        query = update(index_sweep).where(index_sweep.c.name == name, index_sweep.c.holder == holder)
        async with self._database.write() as session:
            await session.execute(query.values(leased_until=None))

    async def swept_until(self, name: str) -> datetime | None:
        """Return the time of Temporal until which all runs are in the index; None before the first sweep."""
        query = select(index_sweep.c.swept_until).where(index_sweep.c.name == name)
        async with self._database.read() as session:
            return (await session.execute(query)).scalar_one_or_none()

    async def set_position(self, name: str, position: SweepPosition) -> None:
        """Keep how far the work has come."""
        query = update(index_sweep).where(index_sweep.c.name == name)
        async with self._database.write() as session:
            await session.execute(query.values(since=position.since, swept_until=position.until))
