"""How long the latest deliveries took, from acceptance of their event, or its `deliver_at`, until they succeeded."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import FromClause, Select, and_, select
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.events.tables import deliveries, events

LATEST = 1000
"""Deliveries of a webhook that are read, or events."""


class DeliveryTimes(NamedTuple):
    """Seconds. One that has not succeeded yet counts with its age; those that never will, or are held, do not count."""

    median: float
    p95: float
    number: int


async def delivery_times(
    session: AsyncSession, now: datetime, tenant: str | None, webhook_id: str | None
) -> DeliveryTimes | None:
    """Return the times of the latest deliveries of a webhook, a tenant, or all; None without any."""
    return summary(await session.execute(_latest(tenant, webhook_id)), now)


def summary(rows: Iterable[Any], now: datetime) -> DeliveryTimes | None:
    """Return the quantiles. Each row: accepted_at, deliver_at, status, finished_at."""
    times = []
    for accepted_at, deliver_at, status, finished_at in rows:
        due_at = max(accepted_at, deliver_at or accepted_at)
        until = finished_at if status == "succeeded" else now if status in ("pending", "retrying") else None
        if until is not None and due_at <= now:
            times.append(max((until - due_at).total_seconds(), 0.0))
    times.sort()
    return DeliveryTimes(_quantile(times, 0.5), _quantile(times, 0.95), len(times)) if times else None


def _quantile(ordered: list[float], share: float) -> float:
    """The smallest of the times within which this share of them lies."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def _latest(tenant: str | None, webhook_id: str | None) -> Select[Any]:
    of_tenant = [] if tenant is None else [events.c.tenant == tenant]
    source: FromClause = events
    if webhook_id is None:
        source = select(events).where(*of_tenant).order_by(events.c.accepted_at.desc()).limit(LATEST).subquery()
    event, delivery = source.c, deliveries.c
    same = and_(
        delivery.accepted_at == event.accepted_at, delivery.tenant == event.tenant, delivery.event_id == event.id
    )
    query = (
        select(event.accepted_at, event.deliver_at, delivery.status, delivery.finished_at)
        .select_from(source)
        .join(deliveries, same)
        .where(event.is_test.is_not(True))
        .limit(LATEST)
    )
    if webhook_id is None:
        return query
    return query.where(delivery.webhook_id == webhook_id).order_by(delivery.accepted_at.desc())
