"""Keys to the API: who may come in, and to do what. Only their digests are kept.

A key has 256 random bits, so one round of SHA-256 is as good as many; and finding it by its digest tells nobody who
measures time anything of the key.
"""

import hashlib
import re
import secrets
from datetime import datetime, timedelta

from sqlalchemy import Index, or_, select, tuple_, update
from sqlalchemy.orm import Mapped, mapped_column

from hookkeeper.registry.audit import AuditEntry, note
from hookkeeper.registry.cursors import read_cursor, write_cursor
from hookkeeper.registry.database import Database
from hookkeeper.registry.models import Base, utc_now

PREFIX = "hk_"
KEY = re.compile(r"hk_[A-Za-z0-9_-]{43}", re.ASCII)
USED_EVERY = timedelta(minutes=1)
"""`last_used_at` is written no more often: it tells which keys are in use, not each use."""


class ApiKey(Base, kw_only=True, eq=False, repr=False):
    """A key, without the key itself."""

    __tablename__ = "api_keys"
    __table_args__ = (
        Index("ix_api_keys_digest", "digest", unique=True),
        Index("ix_api_keys_created_at", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    tenant: Mapped[str | None]
    """The one tenant that it is for; None is all."""
    scopes: Mapped[list[str]]
    digest: Mapped[str]
    rate_limit: Mapped[str | None] = mapped_column(default=None)
    expires_at: Mapped[datetime | None] = mapped_column(default=None)
    last_used_at: Mapped[datetime | None] = mapped_column(default=None)
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)


def new_key_id() -> str:
    return f"key_{secrets.token_hex(8)}"


def new_key() -> str:
    """Make a key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class ApiKeys:
    """Keep keys. A call does what it says or raises RegistryUnavailable, as the store does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: ApiKey, entry: AuditEntry | None = None) -> None:
        """Keep a new key."""
        async with self._database.write() as session:
            session.add(key)
            note(session, entry)

    async def find(self, key: str) -> ApiKey | None:
        """Return what is known of a key, be it revoked or expired; None for one that was never ours."""
        if KEY.fullmatch(key) is None:
            return None
        async with self._database.read() as session:
            return await session.scalar(select(ApiKey).where(ApiKey.digest == digest_of(key)))

    async def get(self, key_id: str) -> ApiKey | None:
        """Return a key by its id, or None."""
        async with self._database.read() as session:
            return await session.get(ApiKey, key_id)

    async def page(self, *, tenant: str | None, limit: int, cursor: str | None) -> tuple[list[ApiKey], str | None]:
        """Return up to `limit` keys, newest first, and the next page's cursor; BadCursor for garbage."""
        query = select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id.desc()).limit(limit + 1)
        if tenant is not None:
            query = query.where(ApiKey.tenant == tenant)
        if cursor is not None:
            query = query.where(tuple_(ApiKey.created_at, ApiKey.id) < tuple_(*read_cursor(cursor)))
        async with self._database.read() as session:
            found = list(await session.scalars(query))
        last = found[limit - 1] if len(found) > limit else None
        return found[:limit], write_cursor(last.created_at, last.id) if last else None

    async def revoke(self, key_id: str, entry: AuditEntry | None = None) -> bool:
        """Let the key in no more; False if it was revoked before, or there is none."""
        query = (
            update(ApiKey)
            .where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
            .values(revoked_at=utc_now())
            .returning(ApiKey.id)
        )
        async with self._database.write() as session:
            revoked = await session.scalar(query) is not None
            if revoked:
                note(session, entry)
        return revoked

    async def note_use(self, key_id: str) -> None:
        """Remember that the key was used just now, unless somebody did within the last minute."""
        now = utc_now()
        long_ago = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < now - USED_EVERY)
        async with self._database.write() as session:
            await session.execute(update(ApiKey).where(ApiKey.id == key_id, long_ago).values(last_used_at=now))
