"""Charts that templates draw: what the index counted until now, and the phases of an attempt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NamedTuple, Protocol

from fastapi import Query

from hookkeeper.registry.events.index import EventIndex
from hookkeeper.registry.events.rollup import DAY, HOUR, MINUTE, OTHERS
from hookkeeper.registry.events.statistics import MAX_POINTS, Group, Measures, StatisticsQuery, StatisticsTooLarge
from hookkeeper.times import utc_now
from hookkeeper.wording import N_

MIN_HEIGHT = 2.0
"""Least height of a bar with anything to show."""
LAST_LABEL_PERCENT = 85
"""On the screen of a telephone, later ones would touch the end of the axis. `times.js` has the same."""
MIN_WIDTH = 1.0
"""Least width of a phase, in percent of the bar, so that a short one is seen too."""
Kind = Literal["queue", "connect", "first-byte", "rest"]
RangeName = Literal["1h", "24h", "7d", "30d"]
ShownRange = Annotated[RangeName, Query(alias="range")]
"""The range that a page shows: a parameter of its address."""


class Range(NamedTuple):
    """A time until now, in seconds."""

    length: int
    step: int
    """Length of a bar."""
    tick: int
    """Time between two labels of the axis, counted from midnight."""


RANGES: dict[RangeName, Range] = {
    "1h": Range(HOUR, 2 * MINUTE, 10 * MINUTE),
    "24h": Range(DAY, HOUR, 4 * HOUR),
    "7d": Range(7 * DAY, 6 * HOUR, 2 * DAY),
    "30d": Range(30 * DAY, DAY, 5 * DAY),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """The attempts from `since` until `until`: those that succeeded, and on top of them those that failed."""

    since: datetime
    until: datetime
    succeeded: int
    failed: int
    succeeded_height: float
    failed_height: float


class Label(NamedTuple):
    """A time at the axis."""

    percent: float
    """Where it is, as a share of the width from the left."""
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    bars: Sequence[Bar]
    height: float
    tick: int
    succeeded: int
    failed: int

    @property
    def labels(self) -> list[Label]:
        """Labels in UTC, of which none is near the right end, which is now.

        `times.js` replaces them by labels in the reader's zone.
        """
        if not self.bars:
            return []
        since, until = int(self.bars[0].since.timestamp()), int(self.bars[-1].until.timestamp())
        first = -(-since // self.tick) * self.tick
        places = [(round((at - since) / (until - since) * 100, 2), at) for at in range(first, until, self.tick)]
        form = "%m-%d" if self.tick >= DAY else "%H:%M"
        return [
            Label(percent, datetime.fromtimestamp(at, UTC).strftime(form))
            for percent, at in places
            if percent < LAST_LABEL_PERCENT
        ]


def chart(
    times: Iterable[datetime], steps: Iterable[Measures], height: float, step: int = HOUR, tick: int = 4 * HOUR
) -> Chart:
    """Scale the highest bar to the height."""
    counted = [
        (at, part["succeeded"], part["attempts"] - part["succeeded"]) for at, part in zip(times, steps, strict=True)
    ]
    highest = max((good + bad for _, good, bad in counted), default=0) or 1

    def scaled(count: int) -> float:
        return round(max(count / highest * (height - MIN_HEIGHT), MIN_HEIGHT), 1) if count else 0.0

    width = timedelta(seconds=step)
    bars = [Bar(at, at + width, good, bad, scaled(good), scaled(bad)) for at, good, bad in counted]
    return Chart(bars, height, tick, sum(bar.succeeded for bar in bars), sum(bar.failed for bar in bars))


class Counted(NamedTuple):
    """What happened in a range, in all and in each step."""

    range: RangeName
    since: datetime
    """When its first step begins."""
    counts: Group
    chart: Chart
    is_capped: bool
    """There are more waiting deliveries than were counted."""


async def count_range(
    index: EventIndex, height: float, name: RangeName = "24h", *, tenant: str | None = None, webhook: str | None = None
) -> Counted | None:
    """Count what happened; None if there are too many counters to add up."""
    now = utc_now()
    length, step, tick = RANGES[name]
    since = now - timedelta(seconds=length)
    query = StatisticsQuery(since=since, until=now, now=now, step=step, tenant=tenant, webhook=webhook)
    try:
        found = await index.statistics(query)
    except StatisticsTooLarge:
        return None
    drawn = chart(found.times, found.groups[0].steps, height, step, tick)
    return Counted(name, found.since, found.groups[0], drawn, found.waiting_capped)


async def tenants_of_the_day(index: EventIndex) -> dict[str, Group] | None:
    """Count what happened by tenant in the last 24 hours; None if there are too many to count."""
    now = utc_now()
    since = now - timedelta(seconds=DAY)
    query = StatisticsQuery(since=since, until=now, now=now, by="tenant", max_groups=MAX_POINTS)
    try:
        found = await index.statistics(query)
    except StatisticsTooLarge:
        return None
    days = {group.names["tenant"]: group for group in found.groups}
    return None if OTHERS in days else days


class Measured(Protocol):
    """An attempt, as a message or as the API shows it."""

    @property
    def duration_ms(self) -> float: ...
    @property
    def queue_ms(self) -> float | None: ...
    @property
    def connect_ms(self) -> float | None: ...
    @property
    def first_byte_ms(self) -> float | None: ...


class Phase(NamedTuple):
    name: str
    kind: Kind
    milliseconds: float
    start: float
    """In percent of the bar; so is `width`."""
    width: float


def latency(attempt: Measured) -> Sequence[Phase]:
    """Return the phases that are known, in their order. The last is the rest of the request."""
    known: list[tuple[str, Kind, float | None]] = [
        (N_("queue"), "queue", attempt.queue_ms),
        (N_("connect"), "connect", attempt.connect_ms),
        (N_("first byte"), "first-byte", attempt.first_byte_ms),
        (_name_of_rest(attempt), "rest", _rest(attempt)),
    ]
    phases = [(name, kind, length) for name, kind, length in known if length is not None]
    total = sum(length for _, _, length in phases) or 1.0
    widths = [max(MIN_WIDTH, 100 * length / total) for _, _, length in phases]
    scale = 100 / (sum(widths) or 1.0)
    start, drawn = 0.0, []
    for (name, kind, length), width in zip(phases, widths, strict=True):
        drawn.append(Phase(name, kind, length, round(start, 2), round(width * scale, 2)))
        start += width * scale
    return drawn


def _rest(attempt: Measured) -> float | None:
    """Return what the request took besides; None if nothing is left."""
    rest = attempt.duration_ms - (attempt.connect_ms or 0.0) - (attempt.first_byte_ms or 0.0)
    is_whole = attempt.connect_ms is None and attempt.first_byte_ms is None
    return max(rest, 0.0) if is_whole or rest >= 0.1 else None


def _name_of_rest(attempt: Measured) -> str:
    if attempt.first_byte_ms is not None:
        return N_("body")
    return N_("request") if attempt.connect_ms is None else N_("no response")
