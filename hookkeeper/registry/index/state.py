"""The state of all deliveries, for metrics: how long one has been due, and how many wait."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.index.tables import NOT_SUCCEEDED, deliveries, events
from hookkeeper.registry.index.waiting import count_waiting

MAX_CANDIDATES = 2000
"""Oldest pending deliveries, and oldest open events, among which the oldest pending one is looked for: not all of the
former are due, and not all of the latter have a delivery without an attempt."""
KEY = ("accepted_at", "tenant")


class IndexState(NamedTuple):
    oldest_pending: float
    """Seconds since the event of the oldest due delivery without an attempt was accepted, or its `deliver_at`; 0
    without any."""
    held: int
    retrying: int


async def read_state(session: AsyncSession, now: datetime) -> IndexState:
    """At most `MAX_WAITING` held and retrying deliveries are counted."""
    waiting = (await count_waiting(session, (), {})).counts.get((), {})
    due = [at for query in _oldest_pending() if (at := await session.scalar(query))]
    oldest = max((now - min(due)).total_seconds(), 0.0) if due else 0.0
    return IndexState(oldest, waiting.get("held", 0), waiting.get("retrying", 0))


def _oldest_pending() -> tuple[Select[datetime | None], Select[datetime | None]]:
    """Look for the oldest from both sides: an event that is due has the status `delivering`, if it was reported."""
    pending = deliveries.c.status == "pending"
    delivering = events.c.status == "delivering"
    old_deliveries = (
        select(deliveries.c.accepted_at, deliveries.c.tenant, deliveries.c.event_id)
        .where(pending, NOT_SUCCEEDED)
        .order_by(deliveries.c.accepted_at)
        .limit(MAX_CANDIDATES)
        .subquery()
    )
    old_events = (
        select(events.c.accepted_at, events.c.tenant, events.c.id, events.c.deliver_at)
        .where(delivering, NOT_SUCCEEDED)
        .order_by(events.c.accepted_at)
        .limit(MAX_CANDIDATES)
        .subquery()
    )
    return (
        select(func.min(func.coalesce(events.c.deliver_at, events.c.accepted_at)))
        .join_from(
            old_deliveries,
            events,
            and_(*(old_deliveries.c[name] == events.c[name] for name in KEY), old_deliveries.c.event_id == events.c.id),
        )
        .where(delivering),
        select(func.min(func.coalesce(old_events.c.deliver_at, old_events.c.accepted_at)))
        .join_from(
            old_events,
            deliveries,
            and_(*(old_events.c[name] == deliveries.c[name] for name in KEY), old_events.c.id == deliveries.c.event_id),
        )
        .where(pending),
    )
