"""How many deliveries are held, or wait for a retry, now."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, func, select, true, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.events.tables import NOT_SUCCEEDED, deliveries

STATUSES = ("held", "retrying")
MAX_WAITING = 20_000
"""Deliveries that are counted."""
MAX_WAITING_OF_ONE = 1000
"""Deliveries of one of several webhooks that are counted."""
GroupKey = tuple[str, ...]


class Waiting(NamedTuple):
    counts: Mapping[GroupKey, Mapping[str, int]]
    """How many are `held` and `retrying`, by group: those that the query names come first, then the largest."""
    others: Mapping[str, int]
    """The same of all other groups together."""
    is_capped: bool
    """There are more than are counted."""


class WaitingDeliveries(NamedTuple):
    """The waiting deliveries of a webhook."""

    held: int = 0
    retrying: int = 0
    next_attempt_at: datetime | None = None
    """The earliest one."""
    is_capped: bool = False


async def count_waiting(
    session: AsyncSession,
    keys: Sequence[str],
    filters: Mapping[str, str],
    asked: Collection[GroupKey] = (),
    max_groups: int = 1,
) -> Waiting:
    """Count up to `MAX_WAITING` deliveries by these columns."""
    counts: dict[GroupKey, dict[str, int]] = {}
    others: Counter[str] = Counter()
    read = 0
    for row in await session.execute(_counts(keys, filters, asked, max_groups)):
        key, numbers, totals = tuple(row[: len(keys)]), row[-5:-3], row[-3:-1]
        if any(numbers):
            counts[key] = dict(zip(STATUSES, numbers, strict=True))
        others = others or Counter(dict(zip(STATUSES, map(int, totals), strict=True)))
        others.subtract(counts.get(key, {}))
        read = row[-1]
    return Waiting(counts, others, read == MAX_WAITING)


def indexed(filters: Mapping[str, str]) -> dict[str, str]:
    """Return the filter by which an index finds rows; the others are applied to what it finds."""
    name = "webhook_id" if "webhook_id" in filters else "tenant"
    return {name: filters[name]} if name in filters else {}


def key_of(columns: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    """Return the columns as one expression, which can be compared with keys of groups."""
    return columns[0] if len(columns) == 1 else tuple_(*columns)


def _counts(
    keys: Sequence[str], filters: Mapping[str, str], asked: Collection[GroupKey] = (), max_groups: int = 1
) -> Select[Any]:
    """Count the deliveries that pass all filters by group, and on each row all of them and all that are read."""
    columns = sorted({*keys, *filters, "status"})
    found = (
        select(*(deliveries.c[name] for name in columns))
        .where(
            deliveries.c.status.in_(STATUSES),
            NOT_SUCCEEDED,
            *(deliveries.c[name] == value for name, value in indexed(filters).items()),
        )
        .limit(MAX_WAITING)
        .subquery()
    )
    groups = [found.c[name] for name in keys]
    matches = and_(true(), *(found.c[name] == value for name, value in filters.items()))
    numbers = [func.count().filter(matches, found.c.status == status) for status in STATUSES]
    totals = [func.sum(number).over() for number in (*numbers, func.count())]
    order: list[ColumnElement[Any]] = [func.count().filter(matches).desc(), *groups]
    if asked and groups:
        order.insert(0, key_of(groups).in_([key[0] if len(key) == 1 else key for key in asked]).desc())
    return select(*groups, *numbers, *totals).group_by(*groups).order_by(*order).limit(max_groups)


async def waiting_of_webhooks(session: AsyncSession, webhook_ids: Collection[str]) -> dict[str, WaitingDeliveries]:
    """Count the deliveries of each of these webhooks that has any, at most `MAX_WAITING_OF_ONE` of one."""
    columns = deliveries.c.webhook_id, deliveries.c.status, deliveries.c.next_attempt_at
    parts = [
        select(
            select(*columns)
            .where(deliveries.c.webhook_id == webhook_id, deliveries.c.status.in_(STATUSES), NOT_SUCCEEDED)
            .limit(MAX_WAITING_OF_ONE)
            .subquery()
        )
        for webhook_id in webhook_ids
    ]
    if not parts:
        return {}
    found = union_all(*parts).subquery()
    retries = found.c.status == "retrying"
    query = select(
        found.c.webhook_id,
        func.count().filter(found.c.status == "held"),
        func.count().filter(retries),
        func.min(found.c.next_attempt_at).filter(retries),
    )
    rows = await session.execute(query.group_by(found.c.webhook_id))
    return {
        webhook_id: WaitingDeliveries(held, retrying, next_attempt_at, held + retrying == MAX_WAITING_OF_ONE)
        for webhook_id, held, retrying, next_attempt_at in rows
    }
