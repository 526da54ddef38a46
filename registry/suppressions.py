"""Addresses that get no more emails: they bounced for good, complained of spam, or somebody wants it so.

Each tenant has its own. Addresses are given in lower case, here and everywhere. A call does what it says or raises
RegistryUnavailable, as the store does.
"""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import delete, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from registry.database import reaching_database
from registry.models import Suppression


class Place(NamedTuple):
    """Where a suppression stands among the others: what pages are ordered by."""

    created_at: datetime
    tenant: str
    address: str


ORDER = (Suppression.created_at, Suppression.tenant, Suppression.address)


class Suppressions:
    """Keep suppressed addresses."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._writes = async_sessionmaker(engine, expire_on_commit=False)
        self._reads = async_sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"))

    async def add(self, suppression: Suppression) -> bool:
        """Keep a new suppression; False if the tenant's address has one already, which stays as it is."""
        try:
            async with reaching_database(), self._writes.begin() as session:
                session.add(suppression)
        except IntegrityError:
            return False
        return True

    async def get(self, tenant: str, address: str) -> Suppression | None:
        """Return a suppression, or None."""
        async with reaching_database(), self._reads() as session:
            return await session.get(Suppression, (tenant, address))

    async def among(self, tenant: str, addresses: Collection[str]) -> set[str]:
        """Return those of `addresses` that the tenant may not write to."""
        query = select(Suppression.address).where(Suppression.tenant == tenant, Suppression.address.in_(addresses))
        async with reaching_database(), self._reads() as session:
            return set(await session.scalars(query))

    async def page(
        self, *, tenant: str | None, address: str | None, limit: int, after: Place | None
    ) -> tuple[list[Suppression], Place | None]:
        """Return up to `limit` suppressions, newest first, and the place to go on `after`, or None on the last page."""
        query = select(Suppression).order_by(*(column.desc() for column in ORDER)).limit(limit + 1)
        if tenant is not None:
            query = query.where(Suppression.tenant == tenant)
        if address is not None:
            query = query.where(Suppression.address == address)
        if after is not None:
            query = query.where(tuple_(*ORDER) < tuple_(*after))
        async with reaching_database(), self._reads() as session:
            found = list(await session.scalars(query))
        return found[:limit], _place(found[limit - 1]) if len(found) > limit else None

    async def remove(self, tenant: str, address: str) -> bool:
        """Let the address get emails again; False if there is no such suppression."""
        query = (
            delete(Suppression)
            .where(Suppression.tenant == tenant, Suppression.address == address)
            .returning(Suppression.address)
        )
        async with reaching_database(), self._writes.begin() as session:
            return await session.scalar(query) is not None


def _place(suppression: Suppression) -> Place:
    return Place(suppression.created_at, suppression.tenant, suppression.address)
