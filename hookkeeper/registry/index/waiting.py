"""How many deliveries are held, or wait for a retry, now."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.index.tables import NOT_SUCCEEDED, deliveries

STATUSES = ("held", "retrying")
MAX_WAITING = 20_000
"""Deliveries that are counted."""


class Waiting(NamedTuple):
    counts: Mapping[tuple[str, ...], Mapping[str, int]]
    """How many are `held` and `retrying`, by group."""
    is_capped: bool
    """There are more than are counted."""


async def count_waiting(session: AsyncSession, keys: Sequence[str], filters: Mapping[str, str]) -> Waiting:
    """Count up to `MAX_WAITING` deliveries by these columns."""
    read = 0
    counts: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for *key, status, matching, of_status in await session.execute(_counts(keys, filters)):
        read += of_status
        if matching:
            counts[tuple(key)][status] = matching
    return Waiting(counts, read == MAX_WAITING)


def indexed(filters: Mapping[str, str]) -> dict[str, str]:
    """Return the filter by which an index finds rows; the others are applied to what it finds."""
    name = "webhook_id" if "webhook_id" in filters else "tenant"
    return {name: filters[name]} if name in filters else {}


def _counts(keys: Sequence[str], filters: Mapping[str, str]) -> Select[Any]:
    """Count the deliveries that are read, and those of them that pass all filters."""
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
    groups = [*(found.c[name] for name in keys), found.c.status]
    matches = and_(true(), *(found.c[name] == value for name, value in filters.items()))
    return select(*groups, func.count().filter(matches), func.count()).group_by(*groups)
