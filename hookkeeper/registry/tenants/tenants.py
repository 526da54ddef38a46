"""The tenants: those that an operator has described, and those that events, webhooks and keys have named.

Methods raise RegistryUnavailable.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Row, Table, and_, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.content.search_terms import Term, has_all
from hookkeeper.registry.audit import AuditEntry, add_entry
from hookkeeper.registry.events.rollup import DAY, HOUR
from hookkeeper.registry.events.tables import NOT_SUCCEEDED, deliveries, rollups
from hookkeeper.registry.models import Suppression, Tenant, TenantSearchKeys, Webhook
from hookkeeper.registry.schedules import Schedule
from hookkeeper.registry.storage.database import ROWS_PER_DELETION, Database, delete_rows, insert_into
from hookkeeper.registry.storage.paging import read_page_of_large, read_page_of_matching
from hookkeeper.registry.tenants.api_keys import ApiKey
from hookkeeper.registry.tenants.portal import PortalSession
from hookkeeper.registry.webhooks.health import CLEAN
from hookkeeper.times import utc_now

BEING_DELETED = "It is being deleted."
"""Why a tenant is suspended while it is deleted."""
IS_THERE = Tenant.deleted_at.is_(None)
MOVED = "It has moved to another cell."
"""Why a tenant is suspended in a cell that it has left."""
TENANTS_BY_AGE = (Tenant.created_at, Tenant.id)


class TenantExists(Exception):
    """There is a tenant with this id."""


class TenantDeleted(Exception):
    """The tenant was deleted, and nothing has added it again on purpose."""

    def __init__(self, tenant: str) -> None:
        super().__init__(f"The tenant {tenant} was deleted. PUT /v1/tenants/{tenant} adds it again.")


class Tenants:
    """Stores tenants. Returned objects are detached; change them through these methods only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tenant: Tenant, entry: AuditEntry, *, again: bool = True) -> None:
        """Add a tenant. Raises TenantExists, and TenantDeleted for one that was deleted, unless it is added `again`."""
        try:
            async with self._database.write() as session:
                if again:
                    await session.execute(delete(Tenant).where(Tenant.id == tenant.id, Tenant.deleted_at.is_not(None)))
                await _check_not_deleted(session, tenant.id)
                session.add(tenant)
                if tenant.suspended_at:
                    await _hold(session, tenant.id)
                add_entry(session, entry)
        except IntegrityError:
            raise TenantExists(f"the tenant {tenant.id} exists") from None

    async def note(self, tenant: str) -> None:
        """Add a tenant that a request has named, unless it is known. Raises TenantDeleted."""
        now = utc_now()
        row = {"id": tenant, "name": "", "metadata": {}, "reason": "", "created_at": now, "updated_at": now}
        query = insert_into(Tenant.__table__, self._database.dialect.name).values(row).on_conflict_do_nothing()
        async with self._database.write() as session:
            await session.execute(query)
            await _check_not_deleted(session, tenant)

    async def get(self, tenant: str) -> Tenant | None:
        """Return a tenant, or None."""
        async with self._database.read() as session:
            return await session.scalar(select(Tenant).where(Tenant.id == tenant, IS_THERE))

    async def page(
        self, *, only: str | None, terms: Sequence[Term], limit: int, cursor: str | None, oldest_first: bool = False
    ) -> tuple[list[Tenant], str | None]:
        """Return up to `limit` tenants, or one, newest first, and the next cursor. Raises BadRegistryCursor.

        Without terms, the oldest can be first.
        """
        order = TENANTS_BY_AGE
        query = select(Tenant).where(IS_THERE, *(() if only is None else (Tenant.id == only,)))
        if not terms:
            return await read_page_of_large(self._database, query, order, limit, cursor, oldest_first=oldest_first)

        def meets(row: Row[*tuple[Any, ...]]) -> bool:
            return has_all(f"{row.id}\n{row.name}", row.metadata_.get, terms)

        columns = (Tenant.name, Tenant.metadata_)
        return await read_page_of_matching(self._database, query, order, limit, cursor, columns, meets)

    async def latest_ids(self, limit: int) -> list[str]:
        """Return the ids of the latest tenants, sorted."""
        latest = select(Tenant.id).where(IS_THERE).order_by(Tenant.created_at.desc(), Tenant.id.desc()).limit(limit)
        async with self._database.read() as session:
            return sorted(await session.scalars(latest))

    async def counts(self, tenants: Collection[str]) -> tuple[dict[str, int], dict[str, int]]:
        """Return how many webhooks these tenants have, and how many of their events were accepted in about 24 hours.

        One that has none is left out.
        """
        webhooks = select(Webhook.tenant, func.count()).where(Webhook.tenant.in_(tenants)).group_by(Webhook.tenant)
        c, since = rollups.c, int(utc_now().timestamp()) - DAY
        hourly = c.seconds == HOUR, c.tenant.in_(tenants), c.at > since, c.webhook_id == "", c.channel == ""
        events = select(c.tenant, func.sum(c.events)).where(*hourly).group_by(c.tenant)
        async with self._database.read() as session:
            found = [await session.execute(query) for query in (webhooks, events)]
            return {row[0]: row[1] for row in found[0]}, {row[0]: int(row[1]) for row in found[1]}

    async def update(self, tenant: str, changes: dict[str, Any], entry: AuditEntry) -> Tenant | None:
        """Change attributes of a tenant and return it, or None. `suspended` pauses its webhooks, and resumes them.

        Where all have these values already, nothing is written, and there is no entry.
        """
        changes = dict(changes)
        suspended = changes.pop("suspended", None)
        async with self._database.write() as session:
            known = await session.get(Tenant, tenant, with_for_update=True)
            if known is None or known.deleted_at:
                return None
            changed = {name: value for name, value in changes.items() if getattr(known, name) != value}
            if suspended is not None and suspended != (known.suspended_at is not None):
                changed["suspended_at"] = utc_now() if suspended else None
                await (_hold if suspended else _resume)(session, tenant)
            for name, value in changed.items():
                setattr(known, name, value)
            if changed:
                known.updated_at = utc_now()
                add_entry(session, entry)
        return known

    async def close(self, tenant: str) -> None:
        """Suspend a tenant that is to be deleted, revoke its keys, and end its sessions of the portal. Idempotent."""
        async with self._database.write() as session:
            await _hold(session, tenant)
            await _shut_out(session, tenant, BEING_DELETED)

    async def leave(self, tenant: str) -> None:
        """Shut out a tenant that has moved to another cell. What was accepted of it before is delivered."""
        await self.note(tenant)
        async with self._database.write() as session:
            await _shut_out(session, tenant, MOVED)

    async def remove(self, tenant: str) -> None:
        """Remove a tenant without events, and all that it has but its entries of the audit log. Its row says so."""
        for kind in (Webhook, Suppression, Schedule, TenantSearchKeys, PortalSession, ApiKey):
            await self._remove_rows(cast(Table, kind.__table__), kind.tenant == tenant)
        await self._remove_rows(rollups, rollups.c.tenant == tenant)
        now = utc_now()
        removed = Tenant(id=tenant, suspended_at=now, reason=BEING_DELETED, deleted_at=now)
        async with self._database.write() as session:
            await session.execute(delete(Tenant).where(Tenant.id == tenant))
            session.add(removed)

    async def forget_deleted(self, before: datetime) -> None:
        """Forget the tenants and the schedules that were deleted before this time."""
        await self._remove_rows(cast(Table, Tenant.__table__), Tenant.deleted_at < before)
        was_deleted = and_(Schedule.plan.is_(None), Schedule.updated_at < before)
        await self._remove_rows(cast(Table, Schedule.__table__), was_deleted)

    async def _remove_rows(self, table: Table, where: ColumnElement[bool]) -> None:
        while True:
            async with self._database.write() as session:
                if await delete_rows(session, table, where) < ROWS_PER_DELETION:
                    return

    async def holding(self, tenant: str) -> list[str]:
        """Return the tenant's webhooks that hold deliveries, although they are neither paused nor disabled."""
        is_held = deliveries.c.webhook_id == Webhook.id, deliveries.c.status == "held", NOT_SUCCEEDED
        held = select(deliveries.c.id).where(*is_held).exists()
        query = select(Webhook.id).where(Webhook.tenant == tenant, Webhook.enabled, Webhook.paused_at.is_(None), held)
        async with self._database.read() as session:
            return [*await session.scalars(query)]


async def _check_not_deleted(session: AsyncSession, tenant: str) -> None:
    if await session.scalar(select(Tenant.deleted_at).where(Tenant.id == tenant)):
        raise TenantDeleted(tenant)


async def _shut_out(session: AsyncSession, tenant: str, reason: str) -> None:
    """Accept nothing more of a tenant, revoke its keys, and end its sessions of the portal."""
    now = utc_now()
    for kind in (ApiKey, PortalSession):
        ends = update(kind).where(kind.tenant == tenant, kind.revoked_at.is_(None)).values(revoked_at=now)
        await session.execute(ends)
    query = update(Tenant).where(Tenant.id == tenant, IS_THERE)
    await session.execute(query.values(suspended_at=now, reason=reason, updated_at=now))


async def _hold(session: AsyncSession, tenant: str) -> None:
    """Pause the webhooks of a tenant that are not paused."""
    now = utc_now()
    query = update(Webhook).where(Webhook.tenant == tenant, Webhook.paused_at.is_(None))
    await session.execute(query.values(paused_at=now, suspended=True, updated_at=now))


async def _resume(session: AsyncSession, tenant: str) -> None:
    """Resume the webhooks that the suspension has paused, as `Webhooks.set_paused` does."""
    query = update(Webhook).where(Webhook.tenant == tenant, Webhook.suspended.is_(True))
    await session.execute(query.values(**CLEAN, paused_at=None, suspended=None, updated_at=utc_now()))
