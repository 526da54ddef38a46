"""API keys, stored as digests.

A key has 256 random bits, so a single SHA-256 is sufficient, and a lookup by digest reveals nothing about the key by
its timing.
"""

import hashlib
import re
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Index, bindparam, inspect, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from hookkeeper.crypto.tokens import new_token
from hookkeeper.registry.audit import AuditEntry, add_entry, execute_with_entry
from hookkeeper.registry.models import Base
from hookkeeper.registry.storage.compiled import Compiled
from hookkeeper.registry.storage.database import Database
from hookkeeper.registry.storage.direct_reads import DirectReads
from hookkeeper.registry.storage.paging import read_page
from hookkeeper.times import utc_now

PREFIX = "hk_"
KEY_ID = re.compile(r"key_[0-9a-f]{16}", re.ASCII)
USE_INTERVAL = timedelta(minutes=1)
"""`last_used_at` is updated at most this often."""


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
    """Its tenant; None is all tenants."""
    scopes: Mapped[list[str]]
    digest: Mapped[str]
    rate_limit: Mapped[str | None] = mapped_column(default=None)
    expires_at: Mapped[datetime | None] = mapped_column(default=None)
    last_used_at: Mapped[datetime | None] = mapped_column(default=None)
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)


COLUMNS = tuple(column.key for column in inspect(ApiKey).column_attrs)
BY_DIGEST = select(*(getattr(ApiKey, name) for name in COLUMNS)).where(ApiKey.digest == bindparam("digest"))


def new_key_id() -> str:
    return f"key_{secrets.token_hex(8)}"


def new_key() -> str:
    """Make a key of 256 random bits."""
    return new_token(PREFIX)


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class KeyExists(Exception):
    """There is a key with this id."""


class ApiKeys:
    """Stores API keys. Methods raise RegistryUnavailable."""

    def __init__(self, database: Database, direct: DirectReads) -> None:
        self._database = database
        self._direct = direct
        self._by_digest = Compiled(BY_DIGEST, direct.dialect)

    async def add(self, key: ApiKey, entry: AuditEntry | None = None) -> None:
        """Add a key. Raises KeyExists if its id is taken."""
        try:
            async with self._database.write() as session:
                session.add(key)
                add_entry(session, entry)
        except IntegrityError:
            raise KeyExists(f"key {key.id} exists") from None

    async def find(self, digest: str) -> ApiKey | None:
        """Return the key with this digest, even if revoked or expired, or None."""
        rows = await self._direct.fetch(self._by_digest, digest, {"digest": digest})
        return ApiKey(**dict(zip(COLUMNS, rows[0], strict=True))) if rows else None

    async def get(self, key_id: str) -> ApiKey | None:
        """Return a key by its id, or None."""
        async with self._database.read() as session:
            return await session.get(ApiKey, key_id)

    async def names(self, ids: Collection[str]) -> dict[str, str]:
        """Return the name of each of these keys, by id."""
        async with self._database.read() as session:
            rows = await session.execute(select(ApiKey.id, ApiKey.name).where(ApiKey.id.in_(ids)))
            return {row.id: row.name for row in rows}

    async def page(self, *, tenant: str | None, limit: int, cursor: str | None) -> tuple[list[ApiKey], str | None]:
        """Return up to `limit` keys, newest first, and the next cursor. Raises BadRegistryCursor."""
        query = select(ApiKey)
        if tenant is not None:
            query = query.where(ApiKey.tenant == tenant)
        return await read_page(self._database, query, (ApiKey.created_at, ApiKey.id), limit, cursor)

    async def revoke(self, key_id: str, entry: AuditEntry | None = None) -> bool:
        """Revoke a key; False if it is revoked already or does not exist."""
        query = (
            update(ApiKey)
            .where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
            .values(revoked_at=utc_now())
            .returning(ApiKey.id)
        )
        return await execute_with_entry(self._database, query, entry)

    async def note_use(self, key_id: str) -> None:
        """Update `last_used_at`, at most once a minute."""
        now = utc_now()
        long_ago = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < now - USE_INTERVAL)
        async with self._database.write() as session:
            await session.execute(update(ApiKey).where(ApiKey.id == key_id, long_ago).values(last_used_at=now))
