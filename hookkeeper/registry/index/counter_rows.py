"""The rows in which counters are kept: a tenant has a bounded number of them for each minute, hour and day.

A tenant chooses its event types, so it could have a row for each event. Beyond a bound, further types are counted
together as `OTHERS`, and beyond a second one without their webhook. No count is lost.

Rows are only added, one transaction at a time, until all of their period are removed. So a count that is subtracted
later finds the row to which it was added: a full period stays full, and a row that is there stays there.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sqlalchemy import select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.index.rollup import DAY, OTHERS, RollupKey, Rollups
from hookkeeper.registry.index.tables import rollups

MAX_ROWS_BY_TYPE = 2000
"""Rows of a tenant's minute, hour or day from which on new ones are counted as `OTHERS`."""
MAX_ROWS_BY_WEBHOOK = 3000
"""Rows from which on new ones have no webhook either."""
KEYS_PER_QUERY = 500
KEY = tuple(rollups.c[name] for name in RollupKey._fields)
PERIODS = {
    "sqlite": """
  SELECT json_extract(value, '$[0]') AS seconds, json_extract(value, '$[1]') AS tenant,
    json_extract(value, '$[2]') AS at
  FROM json_each(:periods)""",
    "postgresql": """
  SELECT CAST(value ->> 0 AS bigint) AS seconds, value ->> 1 AS tenant, CAST(value ->> 2 AS bigint) AS at
  FROM json_array_elements(CAST(:periods AS json)) AS given (value)""",
}
ROWS = "SELECT count(*) FROM rollups r WHERE r.seconds = p.seconds AND r.tenant = p.tenant AND r.at = p.at"
NUMBERS = {
    dialect: text(f"SELECT p.seconds, p.tenant, p.at, ({ROWS}) FROM ({periods}) p")  # noqa: S608 - constants
    for dialect, periods in PERIODS.items()
}
"""The number of rows of each period. To make a query for so many values costs more than to execute it."""


class Period(NamedTuple):
    """A minute, hour or day of a tenant."""

    seconds: int
    tenant: str
    at: int


async def within_bounds(session: AsyncSession, counters: Rollups) -> Rollups:
    """Return the counters by the rows in which they are kept."""
    wanted: dict[Period, list[RollupKey]] = defaultdict(list)
    for key in sorted(await _of_crowded_days(session, counters)):
        wanted[_period(key)].append(key)
    numbers = await _numbers_of_rows(session, wanted)
    kept = dict(counters)
    for period, keys in wanted.items():
        if numbers[period] + len(keys) > MAX_ROWS_BY_TYPE:
            for key, row in await _rows_of(session, period, keys, numbers[period]):
                if key != row:
                    kept.setdefault(row, Counter()).update(kept.pop(key))
    return kept


async def _of_crowded_days(session: AsyncSession, keys: Iterable[RollupKey]) -> list[RollupKey]:
    """Return the keys of the days that may be full.

    What is counted in a minute or an hour is also counted in its day. So as long as the day is not full, they are not.
    """
    by_day: dict[Period, list[RollupKey]] = defaultdict(list)
    for key in keys:
        by_day[Period(DAY, key.tenant, key.at - key.at % DAY)].append(key)
    numbers = await _numbers_of_rows(session, by_day)
    return [key for day, of_day in by_day.items() if numbers[day] + len(of_day) > MAX_ROWS_BY_TYPE for key in of_day]


def _period(key: RollupKey) -> Period:
    return Period(key.seconds, key.tenant, key.at)


async def _numbers_of_rows(session: AsyncSession, periods: Iterable[Period]) -> Counter[Period]:
    query = NUMBERS[session.get_bind().dialect.name]
    rows = await session.execute(query, {"periods": json.dumps(sorted(periods))})
    return Counter({Period(*period): number for *period, number in rows})


async def _rows_of(
    session: AsyncSession, period: Period, keys: Iterable[RollupKey], number: int
) -> list[tuple[RollupKey, RollupKey]]:
    """Return each key with that of its row: the first that is there, or can be added."""
    present = await _present(session, period, {row for key in keys for row, _ in _choices(key)})
    rows = []
    for key in keys:
        row = next(row for row, bound in _choices(key) if row in present or bound is None or number < bound)
        if row not in present:
            present.add(row)
            number += 1
        rows.append((key, row))
    return rows


def _choices(key: RollupKey) -> Iterator[tuple[RollupKey, int | None]]:
    """Yield the rows in which a key can be counted, and below which number of rows each can be added."""
    yield key, MAX_ROWS_BY_TYPE
    yield key._replace(type=OTHERS), MAX_ROWS_BY_WEBHOOK
    yield key._replace(type=OTHERS, webhook_id=""), None


async def _present(session: AsyncSession, period: Period, wanted: Iterable[RollupKey]) -> set[RollupKey]:
    """Return those of the rows that are there."""
    names = [key[len(period) :] for key in sorted(wanted)]
    of_period = [rollups.c[name] == value for name, value in period._asdict().items()]
    present = set()
    for n in range(0, len(names), KEYS_PER_QUERY):
        some = tuple_(*KEY[len(period) :]).in_(names[n : n + KEYS_PER_QUERY])
        present |= {RollupKey(*row) for row in await session.execute(select(*KEY).where(*of_period, some))}
    return present
