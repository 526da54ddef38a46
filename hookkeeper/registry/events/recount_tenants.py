"""Mend the counters of tenants: they say what the rows of events and deliveries say, in windows that are over.

Of attempts, only the state of a delivery knows times, outcomes and latencies, so states are read too. A tenant is read
in pages, without a lock. A counter that differs is mended under the lock, unless it has changed meanwhile.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.messages.event import Delivery
from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.audit import AuditEntry
from hookkeeper.registry.events.recount import add_to
from hookkeeper.registry.events.rollup import (
    COUNTERS,
    DAY,
    MINUTE,
    MINUTE_RETENTION,
    OTHERS,
    PERIODS,
    RollupKey,
    Rollups,
    Subject,
    count_attempts,
    count_end,
    count_event,
    in_periods,
)
from hookkeeper.registry.events.tables import deliveries, events, rollups
from hookkeeper.registry.storage.database import Database, lock, rows_with

PAGE = 500
SETTLED = timedelta(minutes=5)
"""Since the end of a window that is compared: its last records may be late."""
CLOCKS = timedelta(hours=1)
"""By which the clocks of workers and of Temporal may differ."""
OF_ATTEMPTS = COUNTERS[COUNTERS.index("attempts") :]
ERASE = "event.erase"


class Windows(NamedTuple):
    """The minutes, hours and days that are compared."""

    since: datetime
    now: datetime

    def conditions(self, seconds: int) -> list[ColumnElement[bool]]:
        return [rollups.c.seconds == seconds, rollups.c.at >= self._first(seconds), rollups.c.at <= self._last(seconds)]

    def has(self, key: RollupKey) -> bool:
        return self._first(key.seconds) <= key.at <= self._last(key.seconds)

    def _first(self, seconds: int) -> float:
        since = max(self.since, self.now - MINUTE_RETENTION) if seconds == MINUTE else self.since
        return since.timestamp()

    def _last(self, seconds: int) -> float:
        return (self.now - SETTLED).timestamp() - seconds


class Counted(NamedTuple):
    """What rows say."""

    rollups: Rollups
    vague: set[Subject]
    """Subjects with a delivery whose state lacks attempts that were counted."""


async def recount_tenants(database: Database, since: datetime, now: datetime) -> int:
    """Mend the counters of each tenant since a time, and return how many rows were wrong.

    No event that has ended since then may have been removed for its age.
    """
    windows = Windows(since, now)
    mended, tenant = 0, await _next(database, "")
    while tenant is not None:
        before = await _counters(database, tenant, windows)
        wrong = _differences(before, await _counted(database, tenant, windows), await _erased(database, tenant))
        for _, keys in groupby(sorted(wrong), lambda key: (key.seconds, key.at)):
            mended += await _mend(database, before, {key: wrong[key] for key in keys})
        tenant = await _next(database, tenant)
    return mended


async def _next(database: Database, tenant: str) -> str | None:
    """Return the next tenant that has events or counters."""
    of_counters = select(func.min(rollups.c.tenant)).where(rollups.c.seconds == DAY, rollups.c.tenant > tenant)
    of_events = select(func.min(events.c.tenant)).where(events.c.tenant > tenant)
    async with database.read() as session:
        found = [await session.scalar(query) for query in (of_counters, of_events)]
    return min((name for name in found if name is not None), default=None)


async def _counters(database: Database, tenant: str, windows: Windows) -> Rollups:
    found: Rollups = {}
    for seconds in PERIODS:
        query = select(rollups).where(rollups.c.tenant == tenant, *windows.conditions(seconds))
        async for page in _pages(database, query, [rollups.c[name] for name in RollupKey._fields[2:]]):
            found.update(_as_counters(page))
    return found


def _as_counters(rows: Iterable[Row[Any]]) -> Rollups:
    width = len(RollupKey._fields)
    return {
        RollupKey(*row[:width]): Counter({name: n for name, n in zip(COUNTERS, row[width:], strict=True) if n})
        for row in rows
    }


async def _counted(database: Database, tenant: str, windows: Windows) -> Counted:
    """Return what the rows of a tenant say."""
    counted = Counted(defaultdict(Counter), set())
    c = events.c
    query = select(c.accepted_at, c.id, c.type, c.status, c.as_of).where(c.tenant == tenant, c.is_test.is_not(True))
    async for page in _pages(database, query, [c.accepted_at, c.id]):
        recent = [row for row in page if max(row.accepted_at, row.as_of) >= windows.since - CLOCKS]
        found: Rollups = {}
        for row in recent:
            count_event(found, Subject(tenant, row.type), row.status, row.accepted_at)
        _add(counted, found, windows)
        if recent:
            keys = [(row.accepted_at, tenant, row.id) for row in recent]
            await _count_deliveries(database, counted, keys, windows)
    return counted


async def _count_deliveries(
    database: Database, counted: Counted, keys: Sequence[tuple[datetime, str, str]], windows: Windows
) -> None:
    """Count the deliveries of events of one tenant."""
    c = deliveries.c
    query = select(deliveries).where(rows_with((c.accepted_at, c.tenant, c.event_id), keys))
    async for page in _pages(database, query, [c.accepted_at, c.event_id, c.id]):
        found: Rollups = {}
        for row in page:
            subject = Subject(row.tenant, row.type, row.webhook_id, row.channel)
            attempts = Delivery.model_validate_json(row.state).attempts if row.state else ()
            if len(attempts) != row.attempts:
                counted.vague.add(subject)
            count_attempts(found, subject, attempts)
            count_end(found, subject, row.status, row.finished_at)
        _add(counted, found, windows)


def _add(counted: Counted, found: Rollups, windows: Windows) -> None:
    for key, counters in in_periods(found).items():
        if windows.has(key):
            counted.rollups[key].update(counters)


async def _erased(database: Database, tenant: str) -> float:
    """Return when an event of the tenant was erased last: it is counted without its rows."""
    query = select(func.max(AuditEntry.at)).where(AuditEntry.tenant == tenant, AuditEntry.action == ERASE)
    async with database.read() as session:
        return (await session.scalar(query) or BEGINNING).timestamp()


def _differences(before: Rollups, counted: Counted, erased: float) -> Rollups:
    """Return what counters lack, or have too much: those that can be told from rows."""
    crowded = {(key.seconds, key.at) for key in before if key.type == OTHERS}
    wrong: Rollups = {}
    for key in before.keys() | counted.rollups.keys():
        if (key.seconds, key.at) in crowded:
            continue
        difference = Counter(counted.rollups[key])
        difference.subtract(before.get(key, {}))
        is_vague = Subject(key.tenant, key.type, key.webhook_id, key.channel) in counted.vague
        told = {
            name: number
            for name, number in difference.items()
            if (number > 0 or (number < 0 and key.at > erased)) and not (is_vague and name in OF_ATTEMPTS)
        }
        if told:
            wrong[key] = Counter(told)
    return wrong


async def _mend(database: Database, before: Rollups, wrong: Rollups) -> int:
    """Mend wrong counters of one window, without those that have changed since they were read."""
    first = next(iter(wrong))
    async with database.write() as session:
        await lock(session, "index")
        now = await _of_window(session, first)
        rows = [
            {**key._asdict(), **{name: counters[name] for name in COUNTERS}}
            for key, counters in wrong.items()
            if now.get(key) == before.get(key)
        ]
        await add_to(session, rows)
        return len(rows)


async def _of_window(session: AsyncSession, key: RollupKey) -> Rollups:
    c = rollups.c
    query = select(rollups).where(c.seconds == key.seconds, c.tenant == key.tenant, c.at == key.at)
    return _as_counters(await session.execute(query))


async def _pages(
    database: Database, query: Any, key: Sequence[ColumnElement[Any]]
) -> AsyncIterator[Sequence[Row[Any]]]:
    """Yield the rows of a query in the order of these of its columns."""
    after: list[ColumnElement[bool]] = []
    while True:
        async with database.read() as session:
            page = (await session.execute(query.where(*after).order_by(*key).limit(PAGE))).all()
        yield page
        if len(page) < PAGE:
            return
        after = [tuple_(*key) > tuple(page[-1]._mapping[column] for column in key)]
