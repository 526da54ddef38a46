"""Bars of a chart over time, which a template draws as SVG. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from hookkeeper.registry.index.statistics import Measures

MIN_HEIGHT = 2.0
"""Of a bar with anything to show."""

LABEL_HOURS = 4
LAST_LABEL_PERCENT = 85
"""On the screen of a telephone, later ones would touch the end of the axis."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The attempts of an hour: those that succeeded, and on top of them those that failed."""

    at: datetime
    succeeded: int
    failed: int
    succeeded_height: float
    failed_height: float


@dataclass(frozen=True, slots=True)
class Label:
    """A time at the axis."""

    percent: float
    """Of the width, from the left: where the bar of the hour begins."""
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    bars: Sequence[Bar]
    height: float
    succeeded: int
    failed: int

    @property
    def is_empty(self) -> bool:
        return not self.succeeded + self.failed

    @property
    def labels(self) -> list[Label]:
        """Labels of some hours, in UTC; none near the right end, which is now."""
        starts = ((round(n / len(self.bars) * 100, 2), bar.at) for n, bar in enumerate(self.bars))
        return [
            Label(percent, f"{at:%H:%M}")
            for percent, at in starts
            if at.hour % LABEL_HOURS == 0 and percent < LAST_LABEL_PERCENT
        ]


def chart(times: Iterable[datetime], steps: Iterable[Measures], height: float) -> Chart:
    """Scale the highest bar to the height."""
    counted = [
        (at, step["succeeded"], step["attempts"] - step["succeeded"]) for at, step in zip(times, steps, strict=True)
    ]
    highest = max((good + bad for _, good, bad in counted), default=0) or 1

    def scaled(count: int) -> float:
        return round(max(count / highest * (height - MIN_HEIGHT), MIN_HEIGHT), 1) if count else 0.0

    bars = [Bar(at, good, bad, scaled(good), scaled(bad)) for at, good, bad in counted]
    return Chart(bars, height, sum(bar.succeeded for bar in bars), sum(bar.failed for bar in bars))
