"""Issues: deliveries that fail or wait, by webhook and error."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.events.tables import ACKNOWLEDGED, NEEDS_ATTENTION, NOT_SUCCEEDED, deliveries, events

MAX_EVENTS = 10_000
"""Events whose deliveries are counted, the latest first."""
MAX_ISSUES = 100
STATUSES = ("failed", "retrying", "held")


class Issue(NamedTuple):
    """Deliveries of one webhook that have met the same error."""

    tenant: str
    webhook_id: str
    error: str | None
    """None: no attempt was made. They are held."""
    status_code: int | None
    failed: int
    retrying: int
    held: int
    since: datetime
    """When the first of their events was accepted."""
    latest_at: datetime
    """When the latest was."""
    next_attempt_at: datetime | None


async def find_issues(session: AsyncSession, tenant: str | None, *, acknowledged: bool) -> list[Issue]:
    """Return the issues of events that need attention, or are acknowledged, those with the most deliveries first."""
    return [Issue(*row) for row in await session.execute(_query(tenant, acknowledged))]


def _query(tenant: str | None, acknowledged: bool) -> Select[Any]:
    of_tenant = [] if tenant is None else [events.c.tenant == tenant]
    latest = (
        select(events.c.accepted_at, events.c.tenant, events.c.id)
        .where(ACKNOWLEDGED if acknowledged else NEEDS_ATTENTION, *of_tenant)
        .order_by(events.c.accepted_at.desc())
        .limit(MAX_EVENTS)
        .subquery()
    )
    own, each = latest.c, deliveries.c
    same = and_(each.accepted_at == own.accepted_at, each.tenant == own.tenant, each.event_id == own.id)
    group = each.tenant, each.webhook_id, each.error
    return (
        select(
            *group,
            func.max(each.status_code),
            *(func.count().filter(each.status == status) for status in STATUSES),
            func.min(each.accepted_at),
            func.max(each.accepted_at),
            func.min(each.next_attempt_at),
        )
        .join_from(latest, deliveries, same)
        .where(each.status.in_(STATUSES), NOT_SUCCEEDED)
        .group_by(*group)
        .order_by(func.count().desc(), *group)
        .limit(MAX_ISSUES)
    )
