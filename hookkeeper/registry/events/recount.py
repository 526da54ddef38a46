"""Mend the counters of all tenants together: code of an earlier release does not write what a migration has added.

Code of this release adds the same to the counters of a tenant and to those of all, in one transaction. So what those of
all lack does not change while it writes, and can be added at any time.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.events.rollup import ALL_TENANTS, COUNTERS, DAY, HOUR, MINUTE
from hookkeeper.registry.events.tables import rollups
from hookkeeper.registry.storage.database import Database, insert_into, lock

WINDOWS = {MINUTE: HOUR, HOUR: DAY, DAY: DAY}
"""Seconds that are compared at a time, by the seconds of a counter."""
MISSING = [func.sum(case((rollups.c.tenant == ALL_TENANTS, -1), else_=1) * rollups.c[name]) for name in COUNTERS]


async def recount(database: Database) -> int:
    """Compare all counters, mend those of all tenants, and return how many rows were wrong."""
    mended = 0
    for seconds, window in WINDOWS.items():
        query = select(func.min(rollups.c.at), func.max(rollups.c.at)).where(rollups.c.seconds == seconds)
        async with database.read() as session:
            first, last = (await session.execute(query)).one()
        for at in range(first - first % window, last + 1, window) if first is not None else ():
            mended += await _mend(database, seconds, at, at + window)
    return mended


async def _mend(database: Database, seconds: int, since: int, until: int) -> int:
    """Let writers wait only if something is wrong."""
    async with database.read() as session:
        if not await _missing(session, seconds, since, until):
            return 0
    async with database.write() as session:
        await lock(session, "index")
        totals = {"seconds": seconds, "tenant": ALL_TENANTS, "webhook_id": "", "type": ""}
        rows = [totals | dict(row._mapping) for row in await _missing(session, seconds, since, until)]
        await add_to(session, rows)
        return len(rows)


async def add_to(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Add to counters."""
    insert = insert_into(rollups, session.get_bind().dialect.name)
    key = [column.name for column in rollups.primary_key.columns]
    add = insert.on_conflict_do_update(
        index_elements=key, set_={name: rollups.c[name] + insert.excluded[name] for name in COUNTERS}
    )
    if rows:
        await session.execute(add, rows)


async def _missing(session: AsyncSession, seconds: int, since: int, until: int) -> Sequence[Row[Any]]:
    """Return what the counters of all tenants lack, by time and channel."""
    sums = [missing.label(name) for name, missing in zip(COUNTERS, MISSING, strict=True)]
    in_window = rollups.c.seconds == seconds, rollups.c.at >= since, rollups.c.at < until
    query = select(rollups.c.at, rollups.c.channel, *sums).where(*in_window).group_by(rollups.c.at, rollups.c.channel)
    return (await session.execute(query.having(or_(*(missing != 0 for missing in MISSING))))).all()
