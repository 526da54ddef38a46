"""The number of webhooks in each state and of each tenant. A webhook counts in the first state that applies."""

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.database import Database
from hookkeeper.registry.models import Webhook

STATE = case(
    (Webhook.enabled.is_(False) & Webhook.disabled_reason.is_distinct_from("manual"), "disabled_by_failures"),
    (Webhook.enabled.is_(False), "disabled"),
    (Webhook.paused_at.is_not(None), "paused"),
    (Webhook.failing_since.is_not(None), "failing"),
    else_="active",
)


async def count_by_state(database: Database) -> dict[str, int]:
    """Return the number of webhooks in each state that has any. Raises RegistryUnavailable."""
    state = STATE.label("state")
    async with database.read() as session:
        rows = await session.execute(select(state, func.count()).group_by("state"))
        return {row[0]: row[1] for row in rows}


async def count_of(session: AsyncSession, tenant: str) -> int:
    """Return the number of a tenant's webhooks."""
    return await session.scalar(select(func.count()).select_from(Webhook).where(Webhook.tenant == tenant)) or 0


async def count_by_tenant(
    database: Database, limit: int, after: str | None
) -> tuple[list[tuple[str, int]], str | None]:
    """Return up to `limit` tenants with their number of webhooks, by name, and the name to continue after."""
    query = select(Webhook.tenant, func.count()).group_by(Webhook.tenant).order_by(Webhook.tenant).limit(limit + 1)
    if after is not None:
        query = query.where(Webhook.tenant > after)
    async with database.scan() as session:
        found = [(row[0], row[1]) for row in await session.execute(query)]
    return found[:limit], found[limit - 1][0] if len(found) > limit else None
