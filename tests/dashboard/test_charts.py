"""Charts: bars to scale, and the phases of an attempt."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dashboard.charts import RANGES, RangeName, chart, latency
from hookkeeper.messages.event import Attempt
from hookkeeper.registry.events.statistics import Measures

HOURS = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(3)]


def test_the_highest_bar_has_the_height_and_few_are_visible() -> None:
    steps = [
        Measures({"attempts": 1000, "succeeded": 999}),
        Measures({}),
        Measures({"attempts": 500, "succeeded": 500}),
    ]
    drawn = chart(HOURS, steps, 102.0)
    heights = [(bar.succeeded_height, bar.failed_height) for bar in drawn.bars]
    assert heights == [(99.9, 2.0), (0.0, 0.0), (50.0, 0.0)]
    assert (drawn.succeeded, drawn.failed) == (1499, 1)


@pytest.mark.parametrize(
    ("name", "begin", "first", "texts"),
    [
        ("1h", datetime(2026, 1, 1, 22, 4, tzinfo=UTC), 10.0, ["22:10", "22:20", "22:30", "22:40", "22:50"]),
        ("24h", datetime(2026, 1, 1, 22, tzinfo=UTC), 8.33, ["00:00", "04:00", "08:00", "12:00", "16:00"]),
        ("7d", datetime(2026, 1, 1, 18, tzinfo=UTC), 17.86, ["01-03", "01-05", "01-07"]),
        ("30d", datetime(2026, 1, 1, tzinfo=UTC), 3.33, ["01-02", "01-07", "01-12", "01-17", "01-22"]),
    ],
)
def test_the_axis_names_times_that_are_not_beside_now(
    name: RangeName, begin: datetime, first: float, texts: list[str]
) -> None:
    """Setup: bars of a range. A label near the right end would touch the word now there."""
    length, step, tick = RANGES[name]
    times = [begin + timedelta(seconds=second) for second in range(0, length, step)]
    drawn = chart(times, [Measures({})] * len(times), 100, step, tick)
    assert [label.text for label in drawn.labels] == texts
    assert drawn.labels[0].percent == first


def test_a_chart_without_values_is_empty() -> None:
    drawn = chart(HOURS, [Measures({})] * 3, 100)
    assert (drawn.succeeded, drawn.failed) == (0, 0)
    nothing = chart([], [], 100)
    assert (nothing.bars, nothing.labels) == ([], [])


def attempt(**times: Any) -> Attempt:
    return Attempt(number=1, started_at=datetime(2026, 1, 1, tzinfo=UTC), **times)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (
            {"duration_ms": 100, "queue_ms": 100, "connect_ms": 20, "first_byte_ms": 60},
            [("queue", 100, 50), ("connect", 20, 10), ("first byte", 60, 30), ("body", 20, 10)],
        ),
        ({"duration_ms": 60, "first_byte_ms": 60}, [("first byte", 60, 100)]),
        ({"duration_ms": 100, "connect_ms": 25}, [("connect", 25, 25), ("no response", 75, 75)]),
        ({"duration_ms": 80}, [("request", 80, 100)]),
        ({"duration_ms": 0, "queue_ms": 0}, [("queue", 0, 50), ("request", 0, 50)]),
    ],
)
def test_a_bar_shows_the_known_phases(times: dict[str, float], expected: list[tuple[str, float, float]]) -> None:
    assert [(phase.name, phase.milliseconds, phase.width) for phase in latency(attempt(**times))] == expected


def test_a_short_phase_is_seen_and_the_bar_is_full() -> None:
    phases = latency(attempt(duration_ms=30_000, queue_ms=86_400_000, connect_ms=0.1, first_byte_ms=2))
    assert all(phase.width > 0.9 for phase in phases)
    assert [phase.start for phase in phases] == sorted(phase.start for phase in phases)
    assert 99.9 < phases[-1].start + phases[-1].width < 100.1
