"""Write reports to the index, many in one transaction.

One transaction at a time, of all processes: it reads the rows that the reports are about, and adds to counters what
their changes amount to.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Table, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.messages.run_report import BEGINNING, RunReport
from hookkeeper.registry.database import insert_into, lock, rows_with
from hookkeeper.registry.index import change_log
from hookkeeper.registry.index.counter_rows import within_bounds
from hookkeeper.registry.index.deletion import with_keys
from hookkeeper.registry.index.erasure import erased_among
from hookkeeper.registry.index.merge import DeliveryKey, EventKey, IndexChanges, Row, key_of, merge
from hookkeeper.registry.index.rollup import COUNTERS, Rollups, of_all_tenants
from hookkeeper.registry.index.tables import MICROSECOND, deliveries, events, rollups

KEYS_PER_QUERY = 500
DELIVERY_KEY = tuple(deliveries.c[name] for name in ("accepted_at", "tenant", "event_id", "id"))
DAY = timedelta(days=1)


async def write(session: AsyncSession, reports: Sequence[RunReport]) -> IndexChanges:
    """Merge the reports into the index; return what has changed."""
    await lock(session, "index")
    changes = await _changes(session, reports)
    if _dialect(session) == "postgresql":
        await _make_partitions(session, {key.accepted_at for key in _events_of(changes)})
    await _upsert(session, events, list(changes.events.values()))
    await _upsert(session, deliveries, list(changes.deliveries.values()))
    await _add(session, changes.rollups)
    await change_log.append(session, changes.followed)
    return changes


async def _changes(session: AsyncSession, reports: Sequence[RunReport]) -> IndexChanges:
    """Merge the reports with the rows that are there."""
    keys = sorted({key_of(report) for report in reports})
    old_events: dict[EventKey, Row] = {}
    old_deliveries: dict[DeliveryKey, Row] = {}
    erased: set[EventKey] = set()
    for n in range(0, len(keys), KEYS_PER_QUERY):
        some = keys[n : n + KEYS_PER_QUERY]
        erased |= await erased_among(session, some)
        of_events = await session.execute(select(events).where(with_keys(events, "id", some)))
        for row in of_events.mappings():
            old_events[EventKey(row["accepted_at"], row["tenant"], row["id"])] = dict(row)
    delivery_keys = sorted({(*key_of(report), delivery.id) for report in reports for delivery in report.deliveries})
    for n in range(0, len(delivery_keys), KEYS_PER_QUERY):
        of_deliveries = select(deliveries).where(rows_with(DELIVERY_KEY, delivery_keys[n : n + KEYS_PER_QUERY]))
        for row in (await session.execute(of_deliveries)).mappings():
            key = EventKey(row["accepted_at"], row["tenant"], row["event_id"])
            old_deliveries[DeliveryKey(key, row["id"])] = dict(row)
    return merge((report for report in reports if key_of(report) not in erased), old_events, old_deliveries)


def _events_of(changes: IndexChanges) -> set[EventKey]:
    """Return the events with changes, also if only their deliveries have changed."""
    return {*changes.events, *(key.event for key in changes.deliveries)}


async def _upsert(session: AsyncSession, table: Table, rows: Sequence[Row]) -> None:
    if not rows:
        return
    await session.execute(_upsert_of(table, _dialect(session)), [dict(row) for row in rows])


async def _add(session: AsyncSession, counters: Rollups) -> None:
    changed = {key: counts for key, counts in counters.items() if any(counts.values())}
    if not changed:
        return
    kept = await within_bounds(session, changed) | of_all_tenants(changed)
    rows = [
        {**key._asdict(), **{name: counts.get(name, 0) for name in COUNTERS}} for key, counts in sorted(kept.items())
    ]
    await session.execute(_addition(_dialect(session)), rows)


def _dialect(session: AsyncSession) -> str:
    return session.get_bind().dialect.name


# To make a statement costs more than to execute it.


@cache
def _upsert_of(table: Table, dialect: str) -> Any:
    statement = insert_into(table, dialect)
    others = [column.name for column in table.columns if not column.primary_key]
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_={name: statement.excluded[name] for name in others}
    )


@cache
def _addition(dialect: str) -> Any:
    statement = insert_into(rollups, dialect)
    return statement.on_conflict_do_update(
        index_elements=list(rollups.primary_key.columns),
        set_={name: rollups.c[name] + statement.excluded[name] for name in COUNTERS},
    )


async def _make_partitions(session: AsyncSession, times: Iterable[datetime]) -> None:
    """Make the partitions of these days that are missing."""
    for day in sorted({time.astimezone(UTC).date() for time in times}):
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        low, high = (begin - BEGINNING) // MICROSECOND, (begin + DAY - BEGINNING) // MICROSECOND
        for table in (events, deliveries):
            name = f"{table.name}_{day:%Y%m%d}"
            if await session.scalar(text("SELECT to_regclass(:name)"), {"name": name}) is None:
                await session.execute(
                    text(f"CREATE TABLE {name} PARTITION OF {table.name} FOR VALUES FROM ({low}) TO ({high})")
                )
