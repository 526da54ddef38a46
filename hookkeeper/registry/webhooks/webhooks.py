"""The webhooks in the registry: find, change, count and delete them."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, delete, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from hookkeeper import metrics
from hookkeeper.content.search_terms import Term, has_all
from hookkeeper.ids import is_webhook_id
from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.policy import HealthStatus
from hookkeeper.registry.audit import AuditEntry, add_entry, execute_with_entry
from hookkeeper.registry.models import MOVING, Webhook, WebhookPattern, without_secrets
from hookkeeper.registry.storage.database import Database, lock
from hookkeeper.registry.storage.direct_reads import DirectReads
from hookkeeper.registry.storage.paging import read_page_of_large, read_page_of_matching
from hookkeeper.registry.webhooks.health import (
    IS_SLOW,
    begin_anew,
    drop_removed_targets,
    forget_filter_errors,
    status_column,
)
from hookkeeper.registry.webhooks.matching import Matching, MatchingWebhook, patterns_for
from hookkeeper.registry.webhooks.reads import FoundWebhooks, WebhookReads
from hookkeeper.times import rfc3339, utc_now

WEBHOOKS_BY_AGE = (Webhook.created_at, Webhook.id)
NAMES = select(Webhook.id, Webhook.name, Webhook.url)


class WebhookExists(Exception):
    """There is a webhook with this id."""


class UidTaken(Exception):
    """Another webhook of the tenant has this `uid`."""


class TooManyWebhooks(Exception):
    """The tenant has the maximum number of webhooks."""


class ChangedMeanwhile(Exception):
    """The webhook was changed since the change was checked: read it and check again."""


class PreviousKeySigns(Exception):
    """The signing key was rotated a short time ago: a further rotation would end the key that receivers still have."""


class Webhooks:
    """Stores webhooks. Returned objects are detached; change them through these methods only.

    A tenant of None means any tenant; another tenant's webhook is not found. An audit entry is written in the
    transaction of its change. Methods raise RegistryUnavailable; a write may have taken effect all the same.
    """

    def __init__(self, database: Database, reads: DirectReads) -> None:
        self._database = database
        self._matching = Matching(reads)
        self._reads = WebhookReads(reads)

    async def add(self, webhook: Webhook, at_most: int | None = None, entry: AuditEntry | None = None) -> None:
        """Add a webhook. Raises WebhookExists if its id is taken, UidTaken and TooManyWebhooks."""
        try:
            async with self._database.write() as session:
                if at_most is not None:
                    await lock(session, f"webhooks of {webhook.tenant}")
                    if await _count(session, webhook.tenant) >= at_most:
                        metrics.count_limit("webhooks")
                        raise TooManyWebhooks(f"tenant {webhook.tenant} has {at_most} webhooks, which is the maximum")
                session.add(webhook)
                add_entry(session, entry)
        except IntegrityError:
            holder = await self.get(webhook.uid, webhook.tenant) if webhook.uid else None
            if holder is None or holder.id == webhook.id:
                raise WebhookExists(f"webhook {webhook.id} exists") from None
            raise _taken(webhook.uid) from None

    async def get(self, webhook_id: str, tenant: str | None = None) -> Webhook | None:
        """Return the webhook with this id or uid, or None. Without a tenant, a uid is one of the default tenant."""
        async with self._database.read() as session:
            return await session.scalar(_the_webhook(webhook_id, tenant))

    async def ids_named(self, name: str, tenant: str | None, limit: int = 3) -> list[str]:
        """Return the ids of webhooks with this id, or with this uid or name, whose case does not matter.

        An id is found in the primary key. A name is looked for in all webhooks of the tenant.
        """
        by_name = or_(Webhook.uid == name, func.lower(Webhook.name) == name.lower())
        is_it = Webhook.id == name if is_webhook_id(name) else by_name
        async with self._database.read() as session:
            return [*await session.scalars(select(Webhook.id).where(is_it, *_of(tenant)).limit(limit))]

    async def many(self, ids: Collection[str], sharer: str = "") -> FoundWebhooks:
        """Find the webhooks with these ids. `sharer` is the tenant that reads."""
        return await self._reads.find(ids, sharer)

    async def names(self, ids: Collection[str], tenant: str | None) -> dict[str, str]:
        """Return the name of each of these webhooks; of one without, its URL for display, if it has one."""
        return await self._names(NAMES.where(Webhook.id.in_(ids), *_of(tenant)))

    async def latest_names(self, tenant: str | None, limit: int) -> dict[str, str]:
        """Return such names of the latest webhooks."""
        return await self._names(NAMES.where(*_of(tenant)).order_by(Webhook.created_at.desc()).limit(limit))

    async def latest_tenants(self, limit: int) -> list[str]:
        """Return the tenants of this many of the latest webhooks."""
        latest = select(Webhook.tenant).order_by(Webhook.created_at.desc()).limit(limit)
        async with self._database.read() as session:
            return list(dict.fromkeys(await session.scalars(latest)))

    async def _names(self, query: Select[str, str, str]) -> dict[str, str]:
        async with self._database.read() as session:
            rows = (await session.execute(query)).all()
        return {id_: name or without_secrets(url) for id_, name, url in rows if name or url}

    async def matching(self, tenant: str, event_type: str) -> list[MatchingWebhook]:
        """Return the tenant's webhooks with a matching pattern, oldest first, including disabled ones."""
        return await self._matching.find(tenant, event_type)

    async def page(
        self,
        *,
        tenant: str | None,
        event: str | None,
        enabled: bool | None,
        limit: int,
        cursor: str | None,
        status: HealthStatus | None = None,
        terms: Sequence[Term] = (),
        oldest_first: bool = False,
    ) -> tuple[list[Webhook], str | None]:
        """Return up to `limit` webhooks, newest first, and the next cursor; fewer if they are large, or few of those
        that were compared with the terms meet them.

        Without terms, the oldest can be first. Raises BadRegistryCursor.
        """
        order = WEBHOOKS_BY_AGE
        query = select(Webhook).where(*_of(tenant))
        if event is not None:
            query = query.where(_listens_to(event, tenant))
        if enabled is not None:
            query = query.where(Webhook.enabled == enabled)
        if status is not None:
            query = query.where(status_column(utc_now()) == status)
        if status in ("degraded", "failing"):
            query = query.where(Webhook.unhealthy_since.is_not(None))  # few: they have an index
        if not terms:
            return await read_page_of_large(self._database, query, order, limit, cursor, oldest_first=oldest_first)

        def meets(row: Row[*tuple[Any, ...]]) -> bool:
            return has_all(f"{row.id}\n{row.uid}\n{row.name}\n{row.url}", row.metadata_.get, terms)

        columns = (Webhook.uid, Webhook.name, Webhook.url, Webhook.metadata_)
        return await read_page_of_matching(self._database, query, order, limit, cursor, columns, meets)

    async def update(
        self,
        webhook_id: str,
        tenant: str | None,
        changes: dict[str, Any],
        entry: AuditEntry | None = None,
        checked_against: Webhook | None = None,
    ) -> Webhook | None:
        """Change attributes of a webhook and return it, or None.

        Where all have these values already, nothing is written, and there is no entry.
        Raises ChangedMeanwhile if the row was changed since the changes were checked against it. The comparison holds
        the row's lock, so a masked secret is never combined with another change's URL. Raises UidTaken.
        """
        query = _the_webhook(webhook_id, tenant).options(selectinload(Webhook.patterns)).with_for_update()
        try:
            async with self._database.write() as session:
                if (webhook := await session.scalar(query)) is None:
                    return None
                if checked_against and webhook.updated_at != checked_against.updated_at:
                    raise ChangedMeanwhile(f"webhook {webhook_id} was changed at the same time: try again")
                if _apply(changes, webhook):
                    add_entry(session, entry)
        except IntegrityError:
            raise _taken(changes.get("uid")) from None
        return webhook

    async def set_paused(
        self, webhook_id: str, tenant: str | None, paused: bool, entry: AuditEntry | None = None
    ) -> Webhook | None:
        """Pause or resume a webhook and return it, or None. Idempotent. Deliveries of a paused webhook are held."""
        async with self._database.write() as session:
            webhook = await session.scalar(_the_webhook(webhook_id, tenant).with_for_update())
            if webhook is not None and ((webhook.paused_at is not None) != paused or webhook.suspended):
                now = utc_now()
                webhook.paused_at = now if paused else None
                webhook.suspended = None
                if not paused:
                    begin_anew(webhook)  # without attempts, the pause must not count as time of failures
                webhook.updated_at = now
                add_entry(session, entry)
        return webhook

    async def count_by_state(self, tenant: str | None = None) -> dict[HealthStatus, int]:
        """Return the number of webhooks of each status that has any."""
        status = status_column(utc_now()).label("status")
        async with self._database.read() as session:
            rows = await session.execute(select(status, func.count()).where(*_of(tenant)).group_by("status"))
            return {row[0]: row[1] for row in rows}

    async def recovered(self, tenant: str | None, limit: int) -> list[Webhook]:
        """Return the webhooks whose latest incident has ended, the latest first, of the last thousand with one."""
        query = select(Webhook).where(Webhook.incident.is_not(None), *_of(tenant)).limit(1000)
        async with self._database.read() as session:
            found = [(webhook.incident, webhook) for webhook in await session.scalars(query)]
        ended = [(incident.at, webhook) for incident, webhook in found if incident and not incident.is_open]
        return [webhook for _, webhook in sorted(ended, key=lambda item: item[0], reverse=True)[:limit]]

    async def in_trouble(self, tenant: str | None, limit: int) -> list[Webhook]:
        """Return the webhooks that fail, the one that has failed for the longest time first, then slow ones."""
        sends = (Webhook.enabled, Webhook.paused_at.is_(None))
        query = select(Webhook).where(or_(Webhook.unhealthy_since.is_not(None), IS_SLOW), *sends, *_of(tenant))
        by_age = Webhook.unhealthy_since.nulls_last(), Webhook.id
        async with self._database.read() as session:
            found = await session.scalars(query.order_by(*by_age).limit(limit))
            return [*found]

    async def with_trouble(self, after: str, limit: int) -> list[str]:
        """Return ids after this one of webhooks that fail, were disabled automatically, or have had an incident."""
        has_trouble = or_(
            Webhook.unhealthy_since.is_not(None), Webhook.disabled_reason.is_not(None), Webhook.incident.is_not(None)
        )
        query = select(Webhook.id).where(Webhook.id > after, has_trouble).order_by(Webhook.id).limit(limit)
        async with self._database.read() as session:
            return [*await session.scalars(query)]

    async def count(self, tenant: str) -> int:
        """Return the number of a tenant's webhooks."""
        async with self._database.read() as session:
            return await _count(session, tenant)

    async def are_active(self, tenant: str) -> dict[str, bool]:
        """Return the tenant's webhooks by id, and whether each is active: neither paused nor disabled."""
        is_active = and_(Webhook.enabled, Webhook.paused_at.is_(None))
        async with self._database.read() as session:
            rows = await session.execute(select(Webhook.id, is_active).where(Webhook.tenant == tenant))
            return {row[0]: bool(row[1]) for row in rows}

    async def rotate_secret(
        self,
        webhook_id: str,
        tenant: str | None,
        secret: str,
        grace_seconds: float,
        entry: AuditEntry | None = None,
        *,
        replaces: str | None = None,
        ends_previous: bool = True,
        keeps: int = 1,
    ) -> Webhook | None:
        """Set a new secret and return the webhook, or None; the old secret also signs during the grace period, with
        those before it that still sign, up to `keeps` in all.

        Raises ChangedMeanwhile if the webhook has another secret than the one that it replaces, and PreviousKeySigns
        if the secret before still signs, unless it may be ended or is set again.
        """
        async with self._database.write() as session:
            webhook = await session.scalar(_the_webhook(webhook_id, tenant).with_for_update())
            if webhook is None:
                return None
            if replaces is not None and webhook.secret != replaces:
                raise ChangedMeanwhile(f"the signing key of webhook {webhook_id} was rotated at the same time")
            now = utc_now()
            until = webhook.previous_secret_expires_at
            before = [] if ends_previous else [key for key in webhook.signing_secrets(now)[1:] if key != secret]
            if until is not None and len(before) >= keeps:
                raise PreviousKeySigns(f"the previous signing key signs until {rfc3339(until)}")
            expires_at = now + timedelta(seconds=grace_seconds)
            graced = (" ".join([webhook.secret, *before]), expires_at) if grace_seconds > 0 else (None, None)
            webhook.previous_secret, webhook.previous_secret_expires_at = graced
            webhook.secret = secret
            webhook.updated_at = now
            add_entry(session, entry)
        return webhook

    async def delete(self, webhook_id: str, tenant: str | None, entry: AuditEntry | None = None) -> bool:
        """Delete a webhook and, through its foreign key, its patterns; False if there is none."""
        query = delete(Webhook).where(Webhook.id == webhook_id, *_of(tenant)).returning(Webhook.id)
        return await execute_with_entry(self._database, query, entry)


def _apply(changes: dict[str, Any], webhook: Webhook) -> bool:
    """Set the attributes and what depends on them; False if the webhook has all these values already."""
    changed = {name for name, value in changes.items() if value != getattr(webhook, name)}
    takes_over = changes.get("enabled") is False and webhook.disabled_reason in ("failing", MOVING)
    if not changed and not takes_over:
        return False
    now = utc_now()
    if "enabled" in changed:
        webhook.disabled_reason, webhook.disabled_at = (None, None) if changes["enabled"] else ("manual", now)
    elif takes_over:
        webhook.disabled_reason = "manual"  # a caller has disabled it: no probe and no move enables it again
    if "url" in changed or ("enabled" in changed and changes["enabled"]):
        begin_anew(webhook)
    if "filter" in changed:
        forget_filter_errors(webhook)
    if "rate_limit" in changed:
        webhook.next_slot_at = None  # times reserved at the old rate do not apply to the new one
    for name, value in changes.items():
        setattr(webhook, name, value)
    drop_removed_targets(webhook)
    webhook.updated_at = now
    return True


def _of(tenant: str | None) -> tuple[ColumnElement[bool], ...]:
    return () if tenant is None else (Webhook.tenant == tenant,)


def _the_webhook(webhook_id: str, tenant: str | None) -> Select[Webhook]:
    if is_webhook_id(webhook_id):
        return select(Webhook).where(Webhook.id == webhook_id, *_of(tenant))
    return select(Webhook).where(Webhook.uid == webhook_id, Webhook.tenant == (tenant or DEFAULT_TENANT))


def _taken(uid: str | None) -> UidTaken:
    return UidTaken(f"another webhook of the tenant has the uid {uid}")


def _listens_to(event_type: str, tenant: str | None) -> ColumnElement[bool]:
    """Return a subquery: a join would return a webhook once for each matching pattern."""
    listeners = select(WebhookPattern.webhook_id).where(WebhookPattern.pattern.in_(patterns_for(event_type)))
    if tenant is not None:
        listeners = listeners.where(WebhookPattern.tenant == tenant)
    return Webhook.id.in_(listeners)


async def _count(session: AsyncSession, tenant: str) -> int:
    return await session.scalar(select(func.count()).select_from(Webhook).where(Webhook.tenant == tenant)) or 0
