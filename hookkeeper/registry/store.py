"""Where webhooks live.

A call does what it says or raises RegistryUnavailable. Whether a write was done is then unknown.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import Any, Self

from sqlalchemy import ColumnElement, Select, delete, func, select, tuple_, update
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import selectinload

from hookkeeper.crypto.keyring import Keyring
from hookkeeper.registry.alerts import Alerts
from hookkeeper.registry.api_keys import ApiKeys
from hookkeeper.registry.audit import AuditEntry, AuditLog, note
from hookkeeper.registry.catalogue import Catalogue
from hookkeeper.registry.cursors import BadCursor, read_cursor, write_cursor
from hookkeeper.registry.database import Database, RegistryUnavailable, in_turn, migrate, open_engine, reaching_database
from hookkeeper.registry.health import Health, reset_health
from hookkeeper.registry.models import Webhook, WebhookPattern, utc_now
from hookkeeper.registry.numbering import first, renumber
from hookkeeper.registry.patterns import patterns_for
from hookkeeper.registry.pausing import Pauses
from hookkeeper.registry.re_encryption import re_encrypt
from hookkeeper.registry.slots import Slots
from hookkeeper.registry.suppressions import Suppressions

__all__ = ["BadCursor", "ChangedMeanwhile", "RegistryUnavailable", "Store", "TooManyWebhooks"]

CHANGEABLE = frozenset(
    {
        *("name", "description", "url", "events", "headers", "secret", "retry", "timeout", "enabled", "metadata_"),
        *("rate_limit", "ordered", "disable_after"),
        *("payload", "filter", "emails", "notifications", "on_failure", "tls"),
    }
)


class TooManyWebhooks(Exception):
    """The tenant has all the webhooks that it may have."""


class ChangedMeanwhile(Exception):
    """The webhook is no longer what the change was checked against: read it again, and check again."""


class Store:
    """Keep webhooks. They come back detached: read them freely, change them through the store.

    Wherever a tenant can be given, None means any, and another tenant's webhook is as good as none. An audit entry is
    kept if the change is made, and only then.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._database = database = Database(engine)
        self.catalogue = Catalogue(database)
        self.suppressions = Suppressions(database)
        self.alerts = Alerts(database)
        self.health = Health(database)
        self.pauses = Pauses(database)
        self.slots = Slots(database)
        self.api_keys = ApiKeys(database)
        self.audit = AuditLog(database)

    @classmethod
    def connect(cls, database_url: str, keyring: Keyring | None = None) -> Self:
        """Make a store on `sqlite+aiosqlite:///…` or `postgresql+asyncpg://…`; it connects at first use."""
        return cls(open_engine(database_url, keyring))

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    async def ping(self) -> None:
        """Raise RegistryUnavailable unless the database answers."""
        async with self._database.read() as session:
            await session.execute(select(1))

    async def ready(self) -> None:
        """Raise RegistryUnavailable unless the database answers, has our tables, and our keys open what is in it."""
        await self.ping()
        async with self._database.read() as session:
            try:
                await session.scalar(select(Webhook.secret).limit(1))
            except (OperationalError, ProgrammingError) as fault:
                raise RegistryUnavailable("the registry has no tables yet: run `hookkeeper migrate`") from fault

    async def migrate(self) -> None:
        """Bring the schema up to date; safe from many processes at once. Takes as long as it takes."""
        async with reaching_database(seconds=None):
            await migrate(self._engine)

    async def re_encrypt(self) -> int:
        """Encrypt with the first key what it has not encrypted yet; give the number of rows that were changed."""
        async with reaching_database(seconds=None):
            return await re_encrypt(self._engine)

    async def add(self, webhook: Webhook, at_most: int | None = None, entry: AuditEntry | None = None) -> None:
        """Keep a new webhook; SQLAlchemy's IntegrityError if its id is taken.

        TooManyWebhooks where its tenant has `at_most` already.
        """
        async with self._database.write() as session:
            if at_most is not None:
                await in_turn(session, f"webhooks of {webhook.tenant}")
                query = select(func.count()).select_from(Webhook).where(Webhook.tenant == webhook.tenant)
                if (await session.scalar(query) or 0) >= at_most:
                    raise TooManyWebhooks(f"tenant {webhook.tenant} has {at_most} webhooks, which is the maximum")
            session.add(webhook)
            note(session, entry)

    async def get(self, webhook_id: str, tenant: str | None = None) -> Webhook | None:
        """Return a webhook, or None."""
        async with self._database.read() as session:
            return await session.scalar(_the_webhook(webhook_id, tenant))

    async def many(self, ids: Collection[str]) -> dict[str, Webhook]:
        """Return those of `ids` that exist, by id."""
        async with self._database.read() as session:
            found = await session.scalars(select(Webhook).where(Webhook.id.in_(ids)))
            return {webhook.id: webhook for webhook in found}

    async def matching(self, tenant: str, event_type: str) -> list[Webhook]:
        """Return the tenant's webhooks that listen to this type, oldest first; also the disabled ones."""
        query = select(Webhook).where(_listens_to(event_type, tenant)).order_by(Webhook.created_at, Webhook.id)
        async with self._database.read() as session:
            return list(await session.scalars(query))

    async def page(
        self, *, tenant: str | None, event: str | None, enabled: bool | None, limit: int, cursor: str | None
    ) -> tuple[list[Webhook], str | None]:
        """Return up to `limit` webhooks, newest first, and the next page's cursor; BadCursor for garbage."""
        query = select(Webhook).order_by(Webhook.created_at.desc(), Webhook.id.desc()).limit(limit + 1)
        if tenant is not None:
            query = query.where(Webhook.tenant == tenant)
        if event is not None:
            query = query.where(_listens_to(event, tenant))
        if enabled is not None:
            query = query.where(Webhook.enabled == enabled)
        if cursor is not None:
            query = query.where(tuple_(Webhook.created_at, Webhook.id) < tuple_(*read_cursor(cursor)))
        async with self._database.read() as session:
            found = list(await session.scalars(query))
        last = found[limit - 1] if len(found) > limit else None
        return found[:limit], write_cursor(last.created_at, last.id) if last else None

    async def update(
        self,
        webhook_id: str,
        tenant: str | None,
        changes: dict[str, Any],
        entry: AuditEntry | None = None,
        checked_against: Webhook | None = None,
    ) -> Webhook | None:
        """Change attributes of a webhook and return it, or None; ValueError for what cannot be changed.

        Raises ChangedMeanwhile where the row no longer equals what the changes were checked against. The comparison
        holds the row's lock, so a masked secret is never combined with another change's URL.
        """
        if unknown := changes.keys() - CHANGEABLE:
            raise ValueError(f"cannot change {', '.join(sorted(unknown))}")
        query = _the_webhook(webhook_id, tenant).options(selectinload(Webhook.patterns)).with_for_update()
        async with self._database.write() as session:
            if (webhook := await session.scalar(query)) is None:
                return None
            if checked_against and any(getattr(webhook, name) != getattr(checked_against, name) for name in CHANGEABLE):
                raise ChangedMeanwhile(f"webhook {webhook_id} was changed at the same time: try again")
            now = utc_now()
            changed = {name for name, value in changes.items() if value != getattr(webhook, name)}
            if "enabled" in changed:
                webhook.disabled_reason, webhook.disabled_at = (None, None) if changes["enabled"] else ("manual", now)
            elif changes.get("enabled") is False and webhook.disabled_reason == "failing":
                webhook.disabled_reason = "manual"  # somebody wants it so: no probe enables it again
            if "url" in changed or ("enabled" in changed and changes["enabled"]):
                reset_health(webhook)
            if changes.get("filter", webhook.filter) != webhook.filter:
                webhook.filter_errors = webhook.filter_error = None
            if "rate_limit" in changed:
                webhook.next_slot_at = None  # slots that were reserved at the old rate are no measure for the new one
            _renumber(webhook, changes)
            for name, value in changes.items():
                setattr(webhook, name, value)
            webhook.updated_at = now
            note(session, entry)
        return webhook

    async def rotate_secret(
        self,
        webhook_id: str,
        tenant: str | None,
        secret: str,
        grace_seconds: float,
        entry: AuditEntry | None = None,
    ) -> Webhook | None:
        """Give a webhook a new secret and return it, or None; the old one also signs during the grace."""
        async with self._database.write() as session:
            webhook = await session.scalar(_the_webhook(webhook_id, tenant).with_for_update())
            if webhook is None:
                return None
            now = utc_now()
            expires_at = now + timedelta(seconds=grace_seconds)
            graced = (webhook.secret, expires_at) if grace_seconds > 0 else (None, None)
            webhook.previous_secret, webhook.previous_secret_expires_at = graced
            webhook.secret = secret
            webhook.updated_at = now
            note(session, entry)
        return webhook

    async def note_filter_error(self, webhook_id: str, error: str) -> None:
        """Count an event that the filter failed for."""
        count = func.coalesce(Webhook.filter_errors, 0) + 1
        query = update(Webhook).where(Webhook.id == webhook_id).values(filter_errors=count, filter_error=error)
        async with self._database.write() as session:
            await session.execute(query)

    async def delete(self, webhook_id: str, tenant: str | None, entry: AuditEntry | None = None) -> bool:
        """Delete a webhook and, through its foreign key, its patterns; False if there is none."""
        query = delete(Webhook).where(Webhook.id == webhook_id, *_of(tenant)).returning(Webhook.id)
        async with self._database.write() as session:
            deleted = await session.scalar(query) is not None
            if deleted:
                note(session, entry)
        return deleted


def _renumber(webhook: Webhook, changes: dict[str, Any]) -> None:
    """Let each email and notification keep its number, and so its deliveries, through a change."""
    if "emails" in changes:
        old = webhook.email_numbers or first(len(webhook.emails))
        webhook.email_numbers = renumber(changes["emails"], webhook.emails, old)
    if "notifications" in changes:
        old = webhook.notification_numbers or first(len(webhook.notifications))
        webhook.notification_numbers = renumber(changes["notifications"], webhook.notifications, old)


def _of(tenant: str | None) -> tuple[ColumnElement[bool], ...]:
    return () if tenant is None else (Webhook.tenant == tenant,)


def _the_webhook(webhook_id: str, tenant: str | None) -> Select[Webhook]:
    return select(Webhook).where(Webhook.id == webhook_id, *_of(tenant))


def _listens_to(event_type: str, tenant: str | None) -> ColumnElement[bool]:
    """Say it as a subquery: a join would return a webhook once for each of its patterns that match."""
    listeners = select(WebhookPattern.webhook_id).where(WebhookPattern.pattern.in_(patterns_for(event_type)))
    if tenant is not None:
        listeners = listeners.where(WebhookPattern.tenant == tenant)
    return Webhook.id.in_(listeners)
