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

from sqlalchemy import Executable, and_, bindparam, func, select

from hookkeeper.registry.events.rollup import DAY, OTHERS, RollupKey, Rollups
from hookkeeper.registry.events.tables import rollups
from hookkeeper.registry.storage.compiled import rows_of_json
from hookkeeper.registry.storage.transactions import Statement, Steps

MAX_ROWS_BY_TYPE = 2000
"""Rows of a tenant's minute, hour or day from which on new ones are counted as `OTHERS`."""
MAX_ROWS_BY_WEBHOOK = 3000
"""Rows from which on new ones have no webhook either."""


def _numbers(dialect: str) -> Executable:
    """Return the number of rows of each period."""
    c, period = rollups.c, rows_of_json(dialect, rollups.c.seconds.type, rollups.c.tenant.type, rollups.c["at"].type)
    named = period.c.v0, period.c.v1, period.c.v2
    is_of_period = c.seconds == named[0], c.tenant == named[1], c["at"] == named[2]
    return select(*named, select(func.count()).select_from(rollups).where(*is_of_period).scalar_subquery())


def _present(dialect: str) -> Executable:
    """Return those of some rows of a period that are there."""
    key = rollups.c.webhook_id, rollups.c.type, rollups.c.channel
    rows = rows_of_json(dialect, *(column.type for column in key))
    is_of_period = (rollups.c[name] == bindparam(name) for name in Period._fields)
    is_row = (column == rows.c[f"v{n}"] for n, column in enumerate(key))
    return select(*key).select_from(rows.join(rollups, and_(*is_of_period, *is_row)))


NUMBERS, PRESENT = _numbers, _present


class Period(NamedTuple):
    """A minute, hour or day of a tenant."""

    seconds: int
    tenant: str
    at: int


def within_bounds(counters: Rollups) -> Steps[Rollups]:
    """Return the counters by the rows in which they are kept."""
    wanted: dict[Period, list[RollupKey]] = defaultdict(list)
    for key in sorted((yield from _of_crowded_days(counters))):
        wanted[Period(key.seconds, key.tenant, key.at)].append(key)
    numbers = yield from _numbers_of_rows(wanted)
    kept = dict(counters)
    for period, keys in wanted.items():
        if numbers[period] + len(keys) > MAX_ROWS_BY_TYPE:
            for key, row in (yield from _rows_of(period, keys, numbers[period])):
                if key != row:
                    kept.setdefault(row, Counter()).update(kept.pop(key))
    return kept


def _of_crowded_days(keys: Iterable[RollupKey]) -> Steps[list[RollupKey]]:
    """Return the keys of the days that may be full.

    What is counted in a minute or an hour is also counted in its day. So as long as the day is not full, they are not.
    """
    by_day: dict[Period, list[RollupKey]] = defaultdict(list)
    for key in keys:
        by_day[Period(DAY, key.tenant, key.at - key.at % DAY)].append(key)
    numbers = yield from _numbers_of_rows(by_day)
    return [key for day, of_day in by_day.items() if numbers[day] + len(of_day) > MAX_ROWS_BY_TYPE for key in of_day]


def _numbers_of_rows(periods: Iterable[Period]) -> Steps[Counter[Period]]:
    wanted = sorted(periods)
    rows = (yield Statement(NUMBERS, {"rows": json.dumps(wanted)})) if wanted else ()
    return Counter({Period(*period): number for *period, number in rows})


def _rows_of(period: Period, keys: Iterable[RollupKey], number: int) -> Steps[list[tuple[RollupKey, RollupKey]]]:
    """Return each key with that of its row: the first that is there, or can be added."""
    present = yield from _rows_there(period, {row for key in keys for row, _ in _choices(key)})
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


def _rows_there(period: Period, wanted: Iterable[RollupKey]) -> Steps[set[RollupKey]]:
    """Return those of the rows that are there."""
    names = json.dumps([key[len(period) :] for key in sorted(wanted)])
    return {RollupKey(*period, *row) for row in (yield Statement(PRESENT, period._asdict() | {"rows": names}))}
