"""The state of all deliveries: how long one has been due without an attempt, and how many wait."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import FromClause, Select, and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.events.event_inputs import OVERDUE
from hookkeeper.registry.events.tables import NOT_RECORDED, NOT_SUCCEEDED, deliveries, events
from hookkeeper.registry.events.waiting import MAX_WAITING, count_waiting
from hookkeeper.registry.models import HANGING_AFTER, Webhook

MAX_CANDIDATES = 5000
"""Oldest pending deliveries, and oldest open events, among which the oldest late delivery is looked for: not all of the
former are due, and not all of the latter have a delivery without an attempt."""
KEY = ("accepted_at", "tenant")


class IndexState(NamedTuple):
    oldest_pending: float
    """Seconds for which the oldest delivery that only waits for a worker has been due: since its event was accepted, or
    its `deliver_at`, or since it was released or redelivered. 0 without any."""
    held: int
    retrying: int
    not_started: int
    """Events that were accepted some seconds ago, of which no run has recorded anything."""


async def read_state(session: AsyncSession, now: datetime) -> IndexState:
    """At most `MAX_WAITING` held and retrying deliveries, and events that are not started, are counted."""
    waiting = (await count_waiting(session, (), {})).counts.get((), {})
    due = [at for query in _oldest_pending() if (at := await session.scalar(query))]
    oldest = max((now - min(due)).total_seconds(), 0.0) if due else 0.0
    overdue = select(events.c.id).where(NOT_RECORDED, events.c.accepted_at < now - OVERDUE).limit(MAX_WAITING)
    not_started = await session.scalar(select(func.count()).select_from(overdue.subquery())) or 0
    return IndexState(oldest, waiting.get("held", 0), waiting.get("retrying", 0), not_started)


def _oldest_pending() -> tuple[Select[datetime | None], Select[datetime | None]]:
    """Look for the oldest from both sides."""
    old_deliveries = (
        select(deliveries)
        .where(deliveries.c.status == "pending", NOT_SUCCEEDED)
        .order_by(deliveries.c.accepted_at)
        .limit(MAX_CANDIDATES)
        .subquery()
    )
    old_events = (
        select(events)
        .where(events.c.status == "delivering", NOT_SUCCEEDED)
        .order_by(events.c.accepted_at)
        .limit(MAX_CANDIDATES)
        .subquery()
    )
    return _oldest_of(events, old_deliveries), _oldest_of(old_events, deliveries)


def _oldest_of(of_events: FromClause, of_deliveries: FromClause) -> Select[datetime | None]:
    """Return when the first of these deliveries was due that has a worker to wait for, and nothing else.

    Others wait for the `deliver_at` of their event, for their turn, or for the rate of their webhook. An event
    with many hanging webhooks makes few attempts for these at once.
    """
    event, delivery = of_events.c, of_deliveries.c
    first_due = func.coalesce(event.deliver_at, event.accepted_at)
    due = case((delivery.as_of > first_due, delivery.as_of), else_=first_due)
    same_event = and_(*(event[name] == delivery[name] for name in KEY), event.id == delivery.event_id)
    return (
        select(func.min(due))
        .select_from(of_events)
        .join(of_deliveries, same_event)
        .outerjoin(Webhook, and_(Webhook.id == delivery.webhook_id, Webhook.timeouts >= HANGING_AFTER))
        .where(
            event.status == "delivering",
            delivery.status == "pending",
            delivery.reason.is_(None),
            delivery.next_attempt_at.is_(None),
            Webhook.id.is_(None),
        )
    )
