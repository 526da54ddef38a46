"""Links to the customers' portal, and the sessions that they begin.

A link and its session are one row: opening the link turns the one into the other, once. The registry stores a digest
of the link's token, as of keys.
"""

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Index, and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from hookkeeper import metrics
from hookkeeper.registry.audit import AuditEntry, add_entry, execute_with_entry
from hookkeeper.registry.models import Base
from hookkeeper.registry.storage.database import Database, lock
from hookkeeper.registry.storage.paging import read_page
from hookkeeper.times import utc_now

ID_PREFIX = "prt_"
"""Tells the id of a portal session from that of a key."""
TOKEN_PREFIX = "hkp_"  # noqa: S105 - not a token
"""Tells the token of a session, which proves it to Svix's API, from that of a link, which opens pages once."""
MAX_OPEN_SESSIONS = 200
"""Open links and sessions of one tenant."""


class TooManyPortalSessions(Exception):
    """The tenant has the maximum number of open links and sessions."""


class PortalSession(Base, kw_only=True, eq=False, repr=False):
    """A link, and from its opening on a session."""

    __tablename__ = "portal_sessions"
    __table_args__ = (
        Index("ix_portal_sessions_digest", "digest", unique=True),
        Index("ix_portal_sessions_created_at", "created_at", "id"),
        Index("ix_portal_sessions_tenant_created_at", "tenant", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    name: Mapped[str]
    capabilities: Mapped[list[str]]
    path: Mapped[str]
    """The page that the link opens."""
    digest: Mapped[str]
    key_id: Mapped[str]
    """The key that made the link. Without it, link and session are void."""
    session_lifetime: Mapped[int]
    """In seconds."""
    expires_at: Mapped[datetime]
    """The end of the link; once it was opened, that of the session."""
    opened_at: Mapped[datetime | None] = mapped_column(default=None)
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)
    frame_origins: Mapped[list[str]] = mapped_column(default_factory=list)
    """Origins whose pages may show the portal in a frame."""
    theme: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    """Name, mode and colours of the pages, and the media type of the logo."""
    logo: Mapped[bytes | None] = mapped_column(default=None, deferred=True)
    """Read by `PortalSessions.logo` only, since lists and caches have many sessions."""
    pages: Mapped[list[str] | None] = mapped_column(default=None)
    """Pages beside those that all customers need."""
    language: Mapped[str | None] = mapped_column(default=None)
    """None: the one that the browser asks for."""
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)

    def is_over(self, now: datetime) -> bool:
        """Return whether it was revoked or has expired."""
        return self.revoked_at is not None or self.expires_at <= now


def new_portal_session_id() -> str:
    return ID_PREFIX + secrets.token_hex(8)


class PortalSessions:
    """Stores links and sessions. Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, link: PortalSession, entry: AuditEntry) -> None:
        """Add a link. Raises TooManyPortalSessions.

        Links and sessions that are over are deleted, but for the tenant's newest ones.
        """
        async with self._database.write() as session:
            await lock(session, f"portal sessions of {link.tenant}")
            await self._delete_old(session, link.tenant)
            if await _count_open(session, link.tenant) >= MAX_OPEN_SESSIONS:
                metrics.count_limit("portal_sessions")
                raise TooManyPortalSessions(
                    f"tenant {link.tenant} has {MAX_OPEN_SESSIONS} open links and sessions of the portal,"
                    " which is the maximum"
                )
            session.add(link)
            add_entry(session, entry)

    async def count_open(self, tenant: str) -> int:
        """Return the number of a tenant's links and sessions that are not over."""
        async with self._database.read() as session:
            return await _count_open(session, tenant)

    async def find(self, digest: str) -> PortalSession | None:
        """Return the link with this digest, even if it was opened or is over, or None."""
        async with self._database.read() as session:
            return await session.scalar(select(PortalSession).where(PortalSession.digest == digest))

    async def get(self, session_id: str, tenant: str | None = None) -> PortalSession | None:
        """Return a link or session, or None. A tenant of None is any tenant."""
        async with self._database.read() as session:
            return await session.scalar(select(PortalSession).where(PortalSession.id == session_id, _of(tenant)))

    async def logo(self, session_id: str) -> bytes | None:
        """Return the logo of a session, or None."""
        async with self._database.read() as session:
            return await session.scalar(select(PortalSession.logo).where(PortalSession.id == session_id))

    async def open(self, link: PortalSession, entry: AuditEntry) -> datetime | None:
        """Begin the session of a link; return when it ends. None if the link was opened before, or is over."""
        now = utc_now()
        end = now + timedelta(seconds=link.session_lifetime)
        query = (
            update(PortalSession)
            .where(PortalSession.id == link.id, PortalSession.opened_at.is_(None), _is_current(now))
            .values(opened_at=now, expires_at=end)
            .returning(PortalSession.id)
        )
        return end if await execute_with_entry(self._database, query, entry) else None

    async def names(self, ids: Collection[str]) -> dict[str, str]:
        """Return the name of each of these links and sessions, by id."""
        async with self._database.read() as session:
            rows = await session.execute(select(PortalSession.id, PortalSession.name).where(PortalSession.id.in_(ids)))
            return {row.id: row.name for row in rows}

    async def page(
        self, *, tenant: str | None, limit: int, cursor: str | None
    ) -> tuple[list[PortalSession], str | None]:
        """Return up to `limit` links and sessions, newest first, and the next cursor. Raises BadRegistryCursor."""
        order = (PortalSession.created_at, PortalSession.id)
        return await read_page(self._database, select(PortalSession).where(_of(tenant)), order, limit, cursor)

    async def revoke(self, session_id: str, entry: AuditEntry) -> bool:
        """Revoke a link or session; False if it is revoked already or does not exist."""
        query = (
            update(PortalSession)
            .where(PortalSession.id == session_id, PortalSession.revoked_at.is_(None))
            .values(revoked_at=utc_now())
            .returning(PortalSession.id)
        )
        return await execute_with_entry(self._database, query, entry)

    async def _delete_old(self, session: AsyncSession, tenant: str) -> None:
        newest = (
            select(PortalSession.id)
            .where(_of(tenant))
            .order_by(PortalSession.created_at.desc(), PortalSession.id.desc())
            .limit(MAX_OPEN_SESSIONS)
        )
        is_over = or_(PortalSession.revoked_at.is_not(None), PortalSession.expires_at <= utc_now())
        await session.execute(delete(PortalSession).where(_of(tenant), is_over, PortalSession.id.not_in(newest)))


async def _count_open(session: AsyncSession, tenant: str) -> int:
    query = select(func.count()).select_from(PortalSession).where(_of(tenant), _is_current(utc_now()))
    return await session.scalar(query) or 0


def _of(tenant: str | None) -> ColumnElement[bool]:
    return PortalSession.tenant == tenant if tenant is not None else PortalSession.id.is_not(None)


def _is_current(now: datetime) -> ColumnElement[bool]:
    return and_(PortalSession.revoked_at.is_(None), PortalSession.expires_at > now)
