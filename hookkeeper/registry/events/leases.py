"""Leases for jobs that only one process may run."""

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import delete, or_, select, update

from hookkeeper.registry.events.tables import leases
from hookkeeper.registry.storage.database import Database, insert_into
from hookkeeper.times import utc_now


class Term(NamedTuple):
    begin: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        return self.end - self.begin


class Leases:
    """Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, name: str, seconds: float) -> bool:
        """Take the lease for this time, unless another process has it. It is not given back."""
        now = utc_now()
        until = now + timedelta(seconds=seconds)
        insert = insert_into(leases, self._database.dialect.name).values(name=name, until=until)
        of_wrong_clock = leases.c.until > now + timedelta(seconds=2 * seconds)
        take = insert.on_conflict_do_update(
            index_elements=[leases.c.name],
            set_={"until": until},
            where=or_(leases.c.until <= now, of_wrong_clock),
        ).returning(leases.c.name)
        async with self._database.write() as session:
            return (await session.execute(take)).one_or_none() is not None

    async def forget(self, name: str) -> None:
        """Forget a lease with its term: the next process that asks for it gets it."""
        async with self._database.write() as session:
            await session.execute(delete(leases).where(leases.c.name == name))

    async def term(self, name: str) -> Term | None:
        """Return the term that was kept with the lease."""
        query = select(leases.c.begin, leases.c.end).where(leases.c.name == name)
        async with self._database.read() as session:
            row = (await session.execute(query)).one_or_none()
        return None if row is None or row.begin is None else Term(*row)

    async def set_term(self, name: str, term: Term) -> None:
        """Keep a term with the lease."""
        async with self._database.write() as session:
            await session.execute(update(leases).where(leases.c.name == name).values(term._asdict()))
