"""Remove what is older than the retention from the index, as Temporal removes finished events.

An event is removed when it has been finished for the retention, with its deliveries. Open events stay, however old they
are. PostgreSQL drops the partition of a day once it has only events to remove. From other partitions, and on SQLite,
rows are deleted in small transactions. The claim of an event goes a day after the event; that of an event which took
longer than a day goes with the next call, an hour later at least.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, Table, and_, delete, exists, or_, select, text, tuple_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.claims import claims
from hookkeeper.registry.database import Database, lock
from hookkeeper.registry.index.deletion import delete_events, with_keys
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.registry.index.rollup import MINUTE, MINUTE_RETENTION, PERIODS
from hookkeeper.registry.index.tables import erased_events, events, rollups
from hookkeeper.registry.index.writing import DAY
from hookkeeper.registry.row_deletion import PAUSE, ROWS_PER_TRANSACTION, delete_rows

MIN_HOUR_RETENTION = timedelta(days=30)
"""Minimum retention of the counters of hours and days, if events are kept for a shorter time."""
ERASURE_RETENTION = timedelta(days=1)
"""Retention of the keys of erased events. No report of such an event arrives later."""
CLAIM_RETENTION = timedelta(days=1)
"""Of the claims of events that have left the index: an event that was just accepted may not be in it yet, and Temporal
deletes a run up to half an hour after its retention."""
EVENTS_PER_QUERY = 1000
HOUR = timedelta(hours=1)
LOCK_TIMEOUT = "500ms"
"""A partition is dropped with a lock that blocks readers. If a reader takes long, it is dropped another time."""
LOCK_NOT_AVAILABLE = "55P03"
KEY = (events.c.accepted_at, events.c.tenant, events.c.id)
log = structlog.get_logger("hookkeeper.index")


async def expire(database: Database, now: datetime, retention: timedelta, *, keep_claims: bool = False) -> None:
    """Remove all that is older than the retention. Raises RegistryUnavailable; the next call continues then.

    `keep_claims`: Temporal may have runs of events that ended while the retention was longer.
    """
    before = now - retention
    if not keep_claims:  # before the events: none goes with its event
        await _delete_claims(database, before - CLAIM_RETENTION)
    if database.dialect.name == "postgresql":
        for day in await _days_until(database, before):
            await _expire_day(database, day, before)
    else:
        await _delete_finished(database, BEGINNING, before, before)
    for seconds in PERIODS:
        kept = MINUTE_RETENTION if seconds == MINUTE else max(retention, MIN_HOUR_RETENTION)
        await _delete_all(database, rollups, _counters(seconds, now - kept))
    await _delete_all(database, erased_events, erased_events.c.erased_at < now - ERASURE_RETENTION)


def _counters(seconds: int, before: datetime) -> ColumnElement[bool]:
    return and_(rollups.c.seconds == seconds, rollups.c.at < int(before.timestamp()))


async def _delete_all(database: Database, table: Table, where: ColumnElement[bool]) -> None:
    while True:
        async with _writing(database) as session:
            if await delete_rows(session, table, where) < ROWS_PER_TRANSACTION:
                return
        await asyncio.sleep(PAUSE)


@asynccontextmanager
async def _writing(database: Database) -> AsyncIterator[AsyncSession]:
    """Return a session with a transaction that no report is written in."""
    async with database.write() as session:
        await lock(session, "index")
        yield session


# Rows of finished events


async def _delete_finished(database: Database, begin: datetime, end: datetime, before: datetime) -> None:
    """Delete the events that were accepted from `begin` until `end`, and finished before a time."""
    after = EventKey(begin, "", "")
    while True:
        page = await _page(database, after, end)
        expired = [key for key, finished_at in page if finished_at and finished_at < before]
        for n in range(0, len(expired), ROWS_PER_TRANSACTION):
            await _delete_events(database, expired[n : n + ROWS_PER_TRANSACTION], before)
        if len(page) < EVENTS_PER_QUERY:
            return
        after, _ = page[-1]


async def _page(database: Database, after: EventKey, end: datetime) -> list[tuple[EventKey, datetime | None]]:
    """Return the oldest events after this one, and when they finished."""
    query = select(*KEY, events.c.finished_at).where(tuple_(*KEY) > after, events.c.accepted_at < end)
    async with database.read() as session:
        rows = await session.execute(query.order_by(*KEY).limit(EVENTS_PER_QUERY))
        return [(EventKey(*key), finished_at) for *key, finished_at in rows]


async def _delete_events(database: Database, keys: Sequence[EventKey], before: datetime) -> None:
    is_expired = and_(with_keys(events, "id", keys), events.c.finished_at < before)
    while True:
        async with _writing(database) as session:
            # One of them may have been redelivered since they were read.
            expired = [EventKey(*row) for row in await session.execute(select(*KEY).where(is_expired))]
            if not expired or await delete_events(session, expired):
                return
        await asyncio.sleep(PAUSE)


# Claims


async def _delete_claims(database: Database, before: datetime) -> None:
    """Delete the claims from before this time whose events the index has no more."""
    key = (claims.c.accepted_at, claims.c.tenant, claims.c.event_id)
    in_index = exists().where(events.c.id == claims.c.event_id, events.c.tenant == claims.c.tenant)
    after = EventKey(BEGINNING, "", "")
    while True:
        page = select(*key, in_index).where(tuple_(*key) > after, claims.c.accepted_at < before)
        async with database.read() as session:
            rows = (await session.execute(page.order_by(*key).limit(ROWS_PER_TRANSACTION))).all()
        if expired := [EventKey(*key_) for *key_, is_kept in rows if not is_kept]:
            async with database.write() as session:
                await session.execute(delete(claims).where(with_keys(claims, "event_id", expired)))
        if len(rows) < ROWS_PER_TRANSACTION:
            return
        after = EventKey(*rows[-1][:3])
        await asyncio.sleep(PAUSE)


# Partitions of PostgreSQL


async def _days_until(database: Database, before: datetime) -> list[datetime]:
    """Return the days with partitions that have passed by this time, oldest first."""
    query = text("SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'events'::regclass")
    async with database.read() as session:
        names = await session.scalars(query)
        days = [datetime.strptime(name, "events_%Y%m%d").replace(tzinfo=UTC) for name in names]
    return sorted(day for day in days if day + DAY <= before)


async def _expire_day(database: Database, day: datetime, before: datetime) -> None:
    if await _has_events_to_keep(database, day, before):
        await _delete_finished(database, day, day + DAY, before)
    else:
        await _drop(database, day)


async def _has_events_to_keep(database: Database, day: datetime, before: datetime) -> bool:
    is_kept = or_(events.c.finished_at.is_(None), events.c.finished_at >= before)
    for begin in (day + n * HOUR for n in range(24)):  # the whole day could take too long for one query
        is_accepted = and_(events.c.accepted_at >= begin, events.c.accepted_at < begin + HOUR)
        async with database.read() as session:
            if await session.scalar(select(1).select_from(events).where(is_accepted, is_kept).limit(1)):
                return True
    return False


async def _drop(database: Database, day: datetime) -> None:
    try:
        async with _writing(database) as session:
            await session.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
            # One of its events may have been redelivered since they were read. Open events have a time of a check.
            is_open = and_(
                events.c.accepted_at >= day, events.c.accepted_at < day + DAY, events.c.check_at.is_not(None)
            )
            if await session.scalar(select(1).select_from(events).where(is_open).limit(1)):
                return
            for table in ("events", "deliveries"):
                await session.execute(text(f"DROP TABLE {table}_{day:%Y%m%d}"))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        log.info("partition not dropped: it is being read", day=f"{day:%Y-%m-%d}")
