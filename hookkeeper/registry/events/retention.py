"""Remove events from the index that are older than the retention, as Temporal removes them.

An event is removed when it has been finished for the retention and a day more, with its deliveries: its id is known for
at least as long as Temporal keeps its run. Open events stay, however old they are. Rows are deleted in small
transactions.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Table, and_, delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.messages.rows import EventKey
from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.events.rollup import MINUTE, MINUTE_RETENTION, PERIODS
from hookkeeper.registry.events.tables import EVENT_KEY, deliveries, events, rollups
from hookkeeper.registry.storage.database import PAUSE, ROWS_PER_DELETION, Database, delete_rows, lock, rows_with

MIN_HOUR_RETENTION = timedelta(days=30)
"""Minimum retention of the counters of hours and days, if events are kept for a shorter time."""
MARGIN = timedelta(days=1)
"""For which an event is kept longer than its run: Temporal deletes a run up to half an hour after its retention."""
EVENTS_PER_QUERY = 1000


async def expire(database: Database, now: datetime, retention: timedelta) -> None:
    """Remove all that is older than the retention. Raises RegistryUnavailable; the next call continues then."""
    await _delete_finished(database, now - retention - MARGIN)
    for seconds in PERIODS:
        kept = MINUTE_RETENTION if seconds == MINUTE else max(retention, MIN_HOUR_RETENTION)
        await _delete_all(database, rollups, _counters(seconds, now - kept))


def _counters(seconds: int, before: datetime) -> ColumnElement[bool]:
    return and_(rollups.c.seconds == seconds, rollups.c.at < int(before.timestamp()))


async def _delete_all(database: Database, table: Table, where: ColumnElement[bool]) -> None:
    while True:
        async with _writing(database) as session:
            if await delete_rows(session, table, where) < ROWS_PER_DELETION:
                return
        await asyncio.sleep(PAUSE)


@asynccontextmanager
async def _writing(database: Database) -> AsyncIterator[AsyncSession]:
    """Return a session with a transaction that no report is written in."""
    async with database.write() as session:
        await lock(session, "index")
        yield session


# Rows of finished events


async def _delete_finished(database: Database, before: datetime) -> None:
    """Delete the events that finished before a time."""
    after = EventKey(BEGINNING, "", "")
    while True:
        page = await _page(database, after, before)
        expired = [key for key, finished_at in page if finished_at and finished_at < before]
        for n in range(0, len(expired), ROWS_PER_DELETION):
            await _delete_events(database, expired[n : n + ROWS_PER_DELETION], before)
        if len(page) < EVENTS_PER_QUERY:
            return
        after, _ = page[-1]


async def _page(database: Database, after: EventKey, before: datetime) -> list[tuple[EventKey, datetime | None]]:
    """Return the oldest events after this one, and when they finished."""
    query = select(*EVENT_KEY, events.c.finished_at).where(tuple_(*EVENT_KEY) > after, events.c.accepted_at < before)
    async with database.read() as session:
        rows = await session.execute(query.order_by(*EVENT_KEY).limit(EVENTS_PER_QUERY))
        return [(EventKey(*key), finished_at) for *key, finished_at in rows]


async def _delete_events(database: Database, keys: Sequence[EventKey], before: datetime) -> None:
    is_expired = and_(_with_keys(events, "id", keys), events.c.finished_at < before)
    while True:
        async with _writing(database) as session:
            # One of them may have been redelivered since they were read.
            expired = [EventKey(*row) for row in await session.execute(select(*EVENT_KEY).where(is_expired))]
            if not expired or await _delete_at_most(session, expired):
                return
        await asyncio.sleep(PAUSE)


async def _delete_at_most(session: AsyncSession, keys: Sequence[EventKey]) -> bool:
    """Delete at most 500 deliveries of these events, and the events once they have none; return whether they are gone.

    An event can have thousands of deliveries. At most 500 events.
    """
    of_events = _with_keys(deliveries, "event_id", keys)
    if await delete_rows(session, deliveries, of_events) == ROWS_PER_DELETION:
        return False
    await session.execute(delete(events).where(_with_keys(events, "id", keys)))
    return True


def _with_keys(table: Table, id_: str, keys: Sequence[EventKey]) -> ColumnElement[bool]:
    """Select the rows of these events; `id_` is the column with the event's id."""
    return rows_with((table.c.accepted_at, table.c.tenant, table.c[id_]), keys)
