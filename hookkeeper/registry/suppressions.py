"""Suppressed addresses: they bounced, reported spam, or were added by a request.

Each tenant has its own. Addresses are in lower case. Methods raise RegistryUnavailable.

A tenant has a maximum number of added addresses, and as many reported ones. At the maximum no more are added, while a
reported one takes the place of the oldest: it would be reported again.

In an encrypted registry, an address is searched by its HMAC with each key; that of the first key is stored.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Select, delete, func, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper import metrics
from hookkeeper.crypto.keyring import Keyring
from hookkeeper.registry.audit import AuditEntry, add_entry, execute_with_entry
from hookkeeper.registry.models import Suppression
from hookkeeper.registry.storage.database import Database, insert_into
from hookkeeper.registry.storage.encryption import keyring_of
from hookkeeper.registry.storage.paging import read_page

MAX_ROWS = 500
"""Maximum rows of one transaction: databases limit the number of parameters."""
MANUAL = "manual"
REPORTED = ("bounced", "spam_report")
"""Reasons, in the order in which they make room."""
ORDER = (Suppression.created_at, Suppression.tenant, Suppression.address_token)


class TooManySuppressions(Exception):
    """The tenant has the maximum number of added addresses."""


class Suppressions:
    """Stores suppressed addresses."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keyring = keyring_of(database.dialect)

    async def add(self, suppression: Suppression, entry: AuditEntry | None = None, at_most: int | None = None) -> bool:
        """Add a suppression; False if the tenant's address is suppressed already. Raises TooManySuppressions.

        Requests at the same time may exceed the maximum slightly.
        """
        tokens = self._tokens(suppression.address)
        if at_most is not None and await self._number(suppression.tenant, MANUAL, at_most) >= at_most:
            if await self.get(suppression.tenant, suppression.address) is not None:
                return False
            metrics.count_limit("suppressions")
            raise TooManySuppressions(
                f"tenant {suppression.tenant} has added {at_most} suppressed addresses, which is the maximum"
            )
        suppression.address_token = tokens[0]
        try:
            async with self._database.write() as session:
                # The primary key covers the first token only; rows not yet re-encrypted have another one.
                if tokens[1:] and await session.scalar(_of(suppression.tenant, tokens[1:])):
                    return False
                session.add(suppression)
                add_entry(session, entry)
        except IntegrityError:
            return False
        return True

    async def add_reported(self, suppressions: Sequence[Suppression], at_most: int | None = None) -> None:
        """Add suppressions, many in one transaction; addresses already suppressed are skipped.

        Only the newest `at_most` reported ones of a tenant are kept, and bounced ones go first.
        """
        for start in range(0, len(suppressions), MAX_ROWS):
            await self._add_rows(suppressions[start : start + MAX_ROWS])
        if at_most is not None:
            for tenant in sorted({suppression.tenant for suppression in suppressions}):
                await self._make_room(tenant, at_most, len(suppressions) + MAX_ROWS)

    async def _make_room(self, tenant: str, at_most: int, removed: int) -> None:
        """Remove reported suppressions above the maximum: a bounded number for each reason at once."""
        spare = at_most
        for reason in reversed(REPORTED):
            number = await self._number(tenant, reason, spare + removed)
            if number > spare:
                await self._remove_oldest(tenant, reason, number - spare)
            spare = max(spare - number, 0)

    async def _remove_oldest(self, tenant: str, reason: str, number: int) -> None:
        key = (Suppression.tenant, Suppression.address_token)
        oldest = select(*key).where(Suppression.tenant == tenant, Suppression.reason == reason)
        oldest = oldest.order_by(Suppression.created_at).limit(number)
        async with self._database.write() as session:
            await session.execute(delete(Suppression).where(tuple_(*key).in_(oldest)))

    async def _number(self, tenant: str, reason: str, at_most: int) -> int:
        """Count a tenant's suppressions with this reason, up to a number."""
        query = select(Suppression.tenant).where(Suppression.tenant == tenant, Suppression.reason == reason)
        async with self._database.read() as session:
            return await session.scalar(select(func.count()).select_from(query.limit(at_most).subquery())) or 0

    async def _add_rows(self, suppressions: Sequence[Suppression]) -> None:
        tokens = {
            (suppression.tenant, suppression.address): self._tokens(suppression.address) for suppression in suppressions
        }
        older = {(tenant, token) for (tenant, _), of_address in tokens.items() for token in of_address[1:]}
        async with self._database.write() as session:
            known = await self._among(session, older)
            rows = {
                (tenant, of_address[0]): _row(suppression, of_address[0])
                for suppression in reversed(suppressions)  # the first one for an address counts
                for tenant, of_address in [(suppression.tenant, tokens[suppression.tenant, suppression.address])]
                if not any((tenant, token) in known for token in of_address[1:])
            }
            if rows:
                insert = insert_into(Suppression.__table__, self._database.dialect.name)
                in_order = [rows[key] for key in sorted(rows)]  # in one order, so that no two transactions deadlock
                connection = await session.connection()
                await connection.execute(insert.on_conflict_do_nothing(), in_order)

    async def _among(self, session: AsyncSession, pairs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return the pairs of tenant and token that exist."""
        found: set[tuple[str, str]] = set()
        for tenant in {tenant for tenant, _ in pairs}:
            tokens = [token for of, token in pairs if of == tenant]
            query = select(Suppression.address_token).where(
                Suppression.tenant == tenant, Suppression.address_token.in_(tokens)
            )
            found |= {(tenant, token) for token in await session.scalars(query)}
        return found

    async def get(self, tenant: str, address: str) -> Suppression | None:
        """Return a suppression, or None."""
        async with self._database.read() as session:
            return await session.scalar(_of(tenant, self._tokens(address)).limit(1))

    async def among(self, tenant: str, addresses: Collection[str]) -> set[str]:
        """Return the `addresses` that are suppressed for the tenant."""
        asked = {token: address for address in addresses for token in self._tokens(address)}
        suppressed = Suppression.address_token.in_(asked)
        query = select(Suppression.address_token).where(Suppression.tenant == tenant, suppressed)
        async with self._database.read() as session:
            return {asked[token] for token in await session.scalars(query)}

    async def page(
        self, *, tenant: str | None, address: str | None, limit: int, cursor: str | None
    ) -> tuple[list[Suppression], str | None]:
        """Return up to `limit` suppressions, newest first, and the next cursor. Raises BadRegistryCursor."""
        query = select(Suppression)
        if tenant is not None:
            query = query.where(Suppression.tenant == tenant)
        if address is not None:
            query = query.where(Suppression.address_token.in_(self._tokens(address)))
        return await read_page(self._database, query, ORDER, limit, cursor)

    async def remove(self, tenant: str, address: str, entry: AuditEntry | None = None) -> bool:
        """Remove a suppression; False if there is none."""
        query = (
            delete(Suppression)
            .where(Suppression.tenant == tenant, Suppression.address_token.in_(self._tokens(address)))
            .returning(Suppression.address_token)
        )
        return await execute_with_entry(self._database, query, entry)

    def _tokens(self, address: str) -> tuple[str, ...]:
        return tokens_of(address, self._keyring)


def tokens_of(address: str, keyring: Keyring | None) -> tuple[str, ...]:
    """Return the tokens by which an address is searched. The first one is stored.

    The last is the address itself, which is the token in rows from before encryption was enabled.
    """
    return (*(keyring.tokens(address, "suppressions.address") if keyring else ()), address)


def _of(tenant: str, tokens: Collection[str]) -> Select[Suppression]:
    return select(Suppression).where(Suppression.tenant == tenant, Suppression.address_token.in_(tokens))


def _row(suppression: Suppression, token: str) -> dict[str, Any]:
    row = {name: getattr(suppression, name) for name in ("tenant", "address", "reason", "detail", "created_at")}
    return row | {"address_token": token}
