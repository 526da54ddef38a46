"""Which webhooks have the most deliveries that need attention. The cost does not grow with the number of webhooks."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.messages.event import NEED_ATTENTION
from hookkeeper.registry.index.tables import NOT_SUCCEEDED, deliveries

MAX_READ = 20_000
"""Deliveries that are counted. Of more, the webhooks with the most are still likely to be found."""


async def webhooks_needing_attention(
    session: AsyncSession, since: datetime, tenant: str | None, limit: int
) -> list[tuple[str, str]]:
    """Return tenant and id of webhooks, those with the most such deliveries of events accepted `since` first."""
    found = (
        select(deliveries.c.tenant, deliveries.c.webhook_id)
        .where(
            deliveries.c.status.in_(NEED_ATTENTION),
            NOT_SUCCEEDED,
            deliveries.c.accepted_at >= since,
            *([] if tenant is None else [deliveries.c.tenant == tenant]),
        )
        .limit(MAX_READ)
        .subquery()
    )
    webhook = found.c.tenant, found.c.webhook_id
    most = select(*webhook).group_by(*webhook).order_by(func.count().desc(), *webhook).limit(limit)
    return [(row.tenant, row.webhook_id) for row in await session.execute(most)]
