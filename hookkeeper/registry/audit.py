"""The audit log: who changed which fields and when, without their values.

The entry of a change in the registry is written in the same transaction.
"""

import asyncio
import secrets
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Executable, Index, event, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from hookkeeper.registry.models import Base
from hookkeeper.registry.storage.database import PAUSE, ROWS_PER_DELETION, Database, RegistryUnavailable, delete_rows
from hookkeeper.registry.storage.encryption import EncryptedText
from hookkeeper.registry.storage.paging import read_page
from hookkeeper.times import utc_now

ONCE_WITHIN = timedelta(minutes=1)
log = structlog.get_logger("hookkeeper.audit")


def new_entry_id() -> str:
    return f"aud_{secrets.token_hex(12)}"


class AuditEntry(Base, kw_only=True, eq=False):
    """One action of a caller."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_at", "at", "id"), Index("ix_audit_log_tenant_at", "tenant", "at", "id"))

    id: Mapped[str] = mapped_column(primary_key=True, default_factory=new_entry_id)
    key_id: Mapped[str]
    key_name: Mapped[str]
    action: Mapped[str]
    """The kind of object and the action: `webhook.update`."""
    object_id: Mapped[str] = mapped_column(EncryptedText("audit_log.object_id"))
    """Its id; a suppression's is the address."""
    tenant: Mapped[str | None]
    """The object's tenant; None if it belongs to all tenants."""
    detail: Mapped[dict[str, Any]] = mapped_column(default_factory=dict, nullable=False)
    at: Mapped[datetime] = mapped_column(default_factory=utc_now)


def add_entry(session: AsyncSession, entry: AuditEntry | None) -> None:
    """Add the entry to this transaction, and log it after the commit."""
    if entry is not None:
        session.add(entry)
        event.listen(session.sync_session, "after_commit", lambda _: log_entry(entry), once=True)


async def execute_with_entry(database: Database, statement: Executable, entry: AuditEntry | None) -> bool:
    """Execute a statement that returns the rows it changes, and add the entry if there are any; False if not."""
    async with database.write() as session:
        changed = (await session.scalars(statement)).first() is not None
        if changed:
            add_entry(session, entry)
    return changed


def log_entry(entry: AuditEntry) -> None:
    """Log the entry, without the address of a suppression."""
    log.info(
        entry.action,
        object=None if entry.action.startswith("suppression.") else entry.object_id,
        tenant=entry.tenant,
        key=entry.key_id,
        key_name=entry.key_name,
        entry=entry.id,
        **entry.detail,
    )


class AuditLog:
    """Stores audit entries. Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, entry: AuditEntry) -> None:
        """Add the entry of an action outside of the registry that has already taken effect.

        If the registry is unavailable, the entry is only logged: the command to a run remains effective.
        """
        try:
            async with self._database.write() as session:
                add_entry(session, entry)
        except RegistryUnavailable as error:
            log_entry(entry)
            log.error("audit entry not written", entry=entry.id, detail=str(error))

    async def find(self, entry_id: str) -> AuditEntry | None:
        """Return an entry, or None."""
        async with self._database.read() as session:
            return await session.get(AuditEntry, entry_id)

    async def keep_once(self, entry: AuditEntry, changed_at: datetime) -> None:
        """Add the entry of an action that only shows something, which has last changed at this time.

        It is not added if the key has done the same in the last minute, after the change.
        """
        try:
            if await self._has_recent(entry, max(changed_at, entry.at - ONCE_WITHIN)):
                return
        except RegistryUnavailable:
            pass  # then the entry cannot be added either, and is logged
        await self.keep(entry)

    async def _has_recent(self, entry: AuditEntry, after: datetime) -> bool:
        query = select(AuditEntry).where(
            AuditEntry.tenant == entry.tenant,
            AuditEntry.at > after,
            AuditEntry.action == entry.action,
            AuditEntry.key_id == entry.key_id,
        )
        async with self._database.read() as session:
            recent = await session.scalars(query)
            return any((known.object_id, known.detail) == (entry.object_id, entry.detail) for known in recent)

    async def page(
        self, *, tenant: str | None, since: datetime | None, until: datetime | None, limit: int, cursor: str | None
    ) -> tuple[list[AuditEntry], str | None]:
        """Return up to `limit` entries, newest first, and the next cursor. Raises BadRegistryCursor."""
        query = select(AuditEntry)
        if tenant is not None:
            query = query.where(AuditEntry.tenant == tenant)
        if since is not None:
            query = query.where(AuditEntry.at >= since)
        if until is not None:
            query = query.where(AuditEntry.at < until)
        return await read_page(self._database, query, (AuditEntry.at, AuditEntry.id), limit, cursor)

    async def expire(self, before: datetime) -> None:
        """Remove the entries from before this time."""
        table = Base.metadata.tables[AuditEntry.__tablename__]
        while True:
            async with self._database.write() as session:
                if await delete_rows(session, table, AuditEntry.at < before) < ROWS_PER_DELETION:
                    return
            await asyncio.sleep(PAUSE)
