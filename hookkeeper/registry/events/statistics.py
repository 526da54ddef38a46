"""Statistics from the counters of the index.

An answer's cost is bounded three times: by the rows that the database adds up, and by the groups and the points
(groups × steps) that are returned. The groups beyond the largest are added up to one.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Row, Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.events.rollup import (
    ALL_TENANTS,
    COUNTERS,
    DAY,
    HOUR,
    LATENCIES,
    LATENCY_BOUNDS,
    MINUTE,
    MINUTE_RETENTION,
    OTHERS,
    PERIODS,
)
from hookkeeper.registry.events.tables import rollups
from hookkeeper.registry.events.waiting import GroupKey, Waiting, count_waiting, indexed, key_of

MAX_GROUPS = 100
"""Groups that an answer names."""
MAX_POINTS = 3000
MAX_ROWS = 100_000
"""Rows of counters that one answer adds up."""
LONGEST_OF_MINUTES = 6 * HOUR
"""Without steps, a longer period is counted in hours."""
LONGEST_OF_HOURS = 7 * DAY
"""Without steps, a longer period is counted in days."""
GroupBy = Literal["total", "tenant", "webhook", "channel", "type"]
Order = Literal["size", "failures"]
KEYS: dict[GroupBy, tuple[str, ...]] = {
    "total": (),
    "tenant": ("tenant",),
    "webhook": ("tenant", "webhook_id"),
    "channel": ("channel",),
    "type": ("type",),
}
"""The columns that name a group."""
SUMS = [func.sum(rollups.c[name]).label(name) for name in COUNTERS]


class Measures:
    """The counters of a group, or of one step of it. A group that reaches now has the counter `retrying` too."""

    __slots__ = ("_counters",)

    def __init__(self, counters: Mapping[str, int]) -> None:
        self._counters = counters

    @classmethod
    def total(cls, parts: Iterable["Measures"]) -> "Measures":
        """Add the counters up."""
        counters: Counter[str] = Counter()
        for part in parts:
            counters.update(part._counters)
        return cls(counters)

    def __getitem__(self, counter: str) -> int:
        return self._counters.get(counter, 0)

    @property
    def success_rate(self) -> float | None:
        """The share of succeeded deliveries in those that succeeded, failed or wait for a retry; None without any.

        Cancelled and held deliveries do not count: they are not delivered on purpose.
        """
        succeeded = self["deliveries_succeeded"]
        counted = succeeded + self["deliveries_failed"] + self["retrying"]
        return succeeded / counted if counted else None

    @property
    def error_rate(self) -> float | None:
        """The share of failed attempts; None if there were none."""
        attempts = self["attempts"]
        return (attempts - self["succeeded"]) / attempts if attempts else None

    def latency(self, share: float) -> float | None:
        """Return the milliseconds that this share of the attempts does not exceed; None without attempts."""
        return percentile([self[name] for name in LATENCIES], share)


def percentile(buckets: Sequence[int], share: float) -> float | None:
    """Return a percentile of a latency histogram, interpolated within its bucket; None for an empty one.

    The last bucket has no upper bound: for a percentile in it, its lower bound is returned.
    """
    rank = share * sum(buckets)
    below = 0
    for count, low, high in zip(buckets, (0, *LATENCY_BOUNDS), (*LATENCY_BOUNDS, LATENCY_BOUNDS[-1]), strict=True):
        if count and below + count >= rank:
            return low + (high - low) * (rank - below) / count
        below += count
    return None


class StatisticsTooLarge(Exception):
    """The answer would have too many points, or be made of too many rows. `str()` says what to change."""


@dataclass(frozen=True, slots=True)
class StatisticsQuery:
    since: datetime
    until: datetime
    """After `since`."""
    now: datetime
    by: GroupBy = "total"
    step: int | None = None
    """Seconds, a multiple of a minute."""
    tenant: str | None = None
    webhook: str | None = None
    type: str | None = None
    channel: str | None = None
    order: Order = "size"
    """Which groups are named, of more than can be: those with the most events and attempts, or failed attempts."""
    max_groups: int = MAX_GROUPS

    @property
    def period(self) -> int:
        """The seconds of the rows that are added up."""
        if self.step is not None:
            return max(period for period in PERIODS if self.step % period == 0)
        seconds = (self.until - self.since).total_seconds()
        if seconds <= LONGEST_OF_MINUTES and self.has_minutes:
            return MINUTE
        return HOUR if seconds <= LONGEST_OF_HOURS else DAY

    @property
    def steps(self) -> range:
        """The steps in seconds since 1970; without `step`, the whole time as one. Rows are not divided."""
        unit = self.step or self.period
        begin = int(self.since.timestamp()) // unit * unit
        end = -int(-self.until.timestamp() // unit) * unit
        return range(begin, end, self.step or end - begin)

    @property
    def has_minutes(self) -> bool:
        """Whether the counters of minutes are still there."""
        return self.since >= self.now - MINUTE_RETENTION

    @property
    def max_named(self) -> int:
        """How many groups an answer names, beside that of all others."""
        return max(min(self.max_groups, MAX_POINTS // len(self.steps) - 1), 1)

    @property
    def others(self) -> GroupKey | None:
        """The key of all groups that an answer does not name; None if it names all."""
        if self.by in ("total", "channel"):
            return None
        return (OTHERS,) * len(KEYS[self.by])

    @property
    def is_of_all_tenants(self) -> bool:
        """Whether the rows that count all tenants together have the answer: they know channels only."""
        return self.by in ("total", "channel") and not (self.tenant or self.webhook or self.type)

    @property
    def is_until_now(self) -> bool:
        return self.steps.stop >= self.now.timestamp()

    @property
    def has_events(self) -> bool:
        """Whether events are counted: they are counted apart from deliveries."""
        return self.by not in ("webhook", "channel") and self.webhook is None and self.channel is None


class Group(NamedTuple):
    names: dict[str, str]
    """Tenant, webhook, channel and type of what is counted, as far as they are one."""
    total: Measures
    steps: Sequence[Measures]
    """In the order of the steps; none without steps."""
    held: int
    retrying: int


class Statistics(NamedTuple):
    since: datetime
    until: datetime
    times: Sequence[datetime]
    """When each step begins."""
    groups: Sequence[Group]
    """By name; without groups that have neither counters nor waiting deliveries, except for the total. `OTHERS` is the
    name of all groups that have none of their own."""
    waiting_capped: bool
    """More deliveries are held or retrying than are counted."""


async def read_statistics(session: AsyncSession, query: StatisticsQuery) -> Statistics:
    """Raises StatisticsTooLarge."""
    if query.period == MINUTE and not query.has_minutes:
        raise StatisticsTooLarge(f"must be a multiple of {HOUR} for a period that began more than two days ago")
    if len(query.steps) > MAX_POINTS:
        raise StatisticsTooLarge(
            f"would be {len(query.steps)} steps, and may be {MAX_POINTS}: use a larger step or a shorter period"
        )
    await _check_rows(session, query)
    rows = (await session.execute(_sums(query).limit(MAX_POINTS + 1))).all()
    points = _points(query, rows)
    max_groups = query.max_named if query.others else MAX_GROUPS
    waiting = await count_waiting(session, KEYS[query.by], _filters(query), points, max_groups)
    if query.others:
        waiting = waiting._replace(counts=_with_others(query, waiting, points))
    keys = sorted({*points, *waiting.counts} | ({()} if query.by == "total" else set()))
    if len(rows) > MAX_POINTS or len(keys) * len(query.steps) > MAX_POINTS:
        raise StatisticsTooLarge(
            f"would be more than {MAX_POINTS} points (groups × steps): use a larger step, a shorter period or a filter"
        )
    return _statistics(query, keys, points, waiting)


def _filters(query: StatisticsQuery) -> dict[str, str]:
    given = {"tenant": query.tenant, "webhook_id": query.webhook, "type": query.type, "channel": query.channel}
    return {name: value for name, value in given.items() if value is not None}


async def _check_rows(session: AsyncSession, query: StatisticsQuery) -> None:
    """Count the rows that the index finds."""
    found = select(rollups.c.at).where(*_conditions(query, indexed(_filters(query)))).limit(MAX_ROWS + 1)
    if (await session.scalar(select(func.count()).select_from(found.subquery())) or 0) > MAX_ROWS:
        raise StatisticsTooLarge(
            f"would be the sum of more than {MAX_ROWS} counters:"
            f" use a shorter period, a step of {DAY} (a day), or a filter by tenant or webhook"
        )


def _sums(query: StatisticsQuery) -> Select[Any]:
    """Add the counters up by group and step."""
    keys: list[Any] = [rollups.c[name] for name in KEYS[query.by]]
    step = (rollups.c.at - query.steps.start) // query.steps.step
    conditions = [*_conditions(query, _filters(query)), *(key != "" for key in keys)]
    if query.others:
        named = key_of(keys).in_(_largest(query, keys, conditions))
        keys = [
            case((named, key), else_=other).label(f"named_{key.name}")
            for key, other in zip(keys, query.others, strict=True)
        ]
    return select(*keys, step.label("step"), *SUMS).where(*conditions).group_by(*(key.name for key in keys), "step")


def _largest(query: StatisticsQuery, keys: Sequence[Any], conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """Select the keys of the groups that an answer names."""
    size = func.sum(rollups.c.events + rollups.c.attempts).desc()
    failures = func.sum(rollups.c.attempts - rollups.c.succeeded).desc()
    order = [failures, size] if query.order == "failures" else [size]
    return select(*keys).where(*conditions).group_by(*keys).order_by(*order, *keys).limit(query.max_named)


def _with_others(
    query: StatisticsQuery, waiting: Waiting, points: Mapping[GroupKey, object]
) -> Mapping[GroupKey, Mapping[str, int]]:
    """Return the waiting deliveries by group: as many groups as have room beside those that have counters."""
    assert query.others
    unnamed = [key for key in waiting.counts if key not in points]
    left_out = set(unnamed[max(query.max_named - len(points), 0) :])
    others = Counter(waiting.others)
    for key in left_out:
        others.update(waiting.counts[key])
    counts = {key: counted for key, counted in waiting.counts.items() if key not in left_out}
    return counts | ({query.others: others} if others.total() else {})


def _conditions(query: StatisticsQuery, filters: dict[str, str]) -> list[ColumnElement[bool]]:
    of_all = rollups.c.tenant == ALL_TENANTS
    return [
        rollups.c.seconds == query.period,
        rollups.c.at >= query.steps.start,
        rollups.c.at < query.steps.stop,
        of_all if query.is_of_all_tenants else ~of_all,
        *(rollups.c[name] == value for name, value in filters.items()),
    ]


def _points(query: StatisticsQuery, rows: Iterable[Row[Any]]) -> dict[GroupKey, dict[int, Measures]]:
    """Return the measures of each group by the number of their step."""
    points: dict[GroupKey, dict[int, Measures]] = defaultdict(dict)
    width = len(KEYS[query.by])
    for row in rows:
        counters = zip(COUNTERS, row[width + 1 :], strict=True)
        points[tuple(row[:width])][row[width]] = Measures({name: count for name, count in counters if count})
    return points


def _statistics(
    query: StatisticsQuery,
    keys: Iterable[GroupKey],
    points: dict[GroupKey, dict[int, Measures]],
    waiting: Waiting,
) -> Statistics:
    steps = query.steps
    nothing = Measures({})

    def group(key: GroupKey) -> Group:
        now = waiting.counts.get(key, {})
        found = points.get(key, {})
        retrying = now.get("retrying", 0)
        return Group(
            names={**dict(zip(KEYS[query.by], key, strict=True)), **_filters(query)},
            total=Measures.total([*found.values(), Measures({"retrying": retrying if query.is_until_now else 0})]),
            steps=[found.get(n, nothing) for n in range(len(steps))] if query.step else [],
            held=now.get("held", 0),
            retrying=retrying,
        )

    return Statistics(
        since=_time(steps.start),
        until=_time(steps.stop),
        times=[_time(second) for second in steps] if query.step else [],
        groups=[group(key) for key in keys],
        waiting_capped=waiting.is_capped,
    )


def _time(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
