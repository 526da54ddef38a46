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

from hookkeeper.registry.index.rollup import DAY, OTHERS, RollupKey, Rollups
from hookkeeper.registry.transactions import Statement, Steps

MAX_ROWS_BY_TYPE = 2000
"""Rows of a tenant's minute, hour or day from which on new ones are counted as `OTHERS`."""
MAX_ROWS_BY_WEBHOOK = 3000
"""Rows from which on new ones have no webhook either."""
NUMBERS = {
    "sqlite": """
SELECT p.seconds, p.tenant, p.at, (
  SELECT count(*) FROM rollups r WHERE r.seconds = p.seconds AND r.tenant = p.tenant AND r.at = p.at
) FROM (
  SELECT json_extract(value, '$[0]') AS seconds, json_extract(value, '$[1]') AS tenant,
    json_extract(value, '$[2]') AS at
  FROM json_each(?)
) p""",
    "postgresql": """
SELECT p.seconds, p.tenant, p.at, (
  SELECT count(*) FROM rollups r WHERE r.seconds = p.seconds AND r.tenant = p.tenant AND r.at = p.at
) FROM (
  SELECT (v ->> 0)::bigint AS seconds, v ->> 1 AS tenant, (v ->> 2)::bigint AS at
  FROM json_array_elements($1::json) k (v)
) p""",
}
"""The number of rows of each period."""
PRESENT = {
    "sqlite": """
SELECT r.webhook_id, r.type, r.channel FROM json_each(?4) k CROSS JOIN rollups r
ON r.seconds = ?1 AND r.tenant = ?2 AND r.at = ?3 AND r.webhook_id = json_extract(k.value, '$[0]')
  AND r.type = json_extract(k.value, '$[1]') AND r.channel = json_extract(k.value, '$[2]')""",
    "postgresql": """
SELECT r.webhook_id, r.type, r.channel FROM json_array_elements($4::json) k (v) JOIN rollups r
ON r.seconds = $1 AND r.tenant = $2 AND r.at = $3 AND r.webhook_id = v ->> 0 AND r.type = v ->> 1
  AND r.channel = v ->> 2""",
}
"""Those of some rows of a period that are there."""


class Period(NamedTuple):
    """A minute, hour or day of a tenant."""

    seconds: int
    tenant: str
    at: int


def within_bounds(counters: Rollups) -> Steps[Rollups]:
    """Return the counters by the rows in which they are kept."""
    wanted: dict[Period, list[RollupKey]] = defaultdict(list)
    for key in sorted((yield from _of_crowded_days(counters))):
        wanted[_period(key)].append(key)
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


def _period(key: RollupKey) -> Period:
    return Period(key.seconds, key.tenant, key.at)


def _numbers_of_rows(periods: Iterable[Period]) -> Steps[Counter[Period]]:
    wanted = sorted(periods)
    rows = (yield Statement(NUMBERS, (json.dumps(wanted),))) if wanted else ()
    return Counter({Period(*period): number for *period, number in rows})


def _rows_of(period: Period, keys: Iterable[RollupKey], number: int) -> Steps[list[tuple[RollupKey, RollupKey]]]:
    """Return each key with that of its row: the first that is there, or can be added."""
    present = yield from _present(period, {row for key in keys for row, _ in _choices(key)})
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


def _present(period: Period, wanted: Iterable[RollupKey]) -> Steps[set[RollupKey]]:
    """Return those of the rows that are there."""
    names = json.dumps([key[len(period) :] for key in sorted(wanted)])
    return {RollupKey(*period, *row) for row in (yield Statement(PRESENT, (*period, names)))}
