"""Pauses and resumes webhooks. Deliveries of a paused webhook are held."""

from sqlalchemy import not_, or_, select

from hookkeeper.registry.audit import AuditEntry, note
from hookkeeper.registry.database import Database
from hookkeeper.registry.health import reset_health
from hookkeeper.registry.models import Webhook
from hookkeeper.times import utc_now


class Pauses:
    """Stores whether webhooks are paused. Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def off(self, tenant: str) -> frozenset[str]:
        """Return the tenant's webhooks that are paused or disabled."""
        off = or_(not_(Webhook.enabled), Webhook.paused_at.is_not(None))
        async with self._database.read() as session:
            return frozenset(await session.scalars(select(Webhook.id).where(Webhook.tenant == tenant, off)))

    async def set(
        self, webhook_id: str, tenant: str | None, paused: bool, entry: AuditEntry | None = None
    ) -> Webhook | None:
        """Pause or resume a webhook, and return it, or None. Idempotent."""
        query = select(Webhook).where(Webhook.id == webhook_id).with_for_update()
        if tenant is not None:
            query = query.where(Webhook.tenant == tenant)
        async with self._database.write() as session:
            webhook = await session.scalar(query)
            if webhook is not None and (webhook.paused_at is not None) != paused:
                now = utc_now()
                webhook.paused_at = now if paused else None
                if not paused:
                    reset_health(webhook)  # without attempts, the pause must not count as failing
                webhook.updated_at = now
                note(session, entry)
        return webhook
