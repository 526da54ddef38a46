"""Bars of a chart: to scale, and visible."""

from datetime import UTC, datetime, timedelta

from dashboard.charts import chart
from hookkeeper.registry.index.statistics import Measures

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
    assert (drawn.succeeded, drawn.failed, drawn.is_empty) == (1499, 1, False)


def test_the_axis_names_every_fourth_hour_that_is_not_beside_now() -> None:
    """Setup: 24 bars from 22:00 on. The label of 20:00 would be 8 % from the right end, where `now` is."""
    hours = [datetime(2026, 1, 1, 22, tzinfo=UTC) + timedelta(hours=n) for n in range(24)]
    labels = chart(hours, [Measures({})] * 24, 100).labels
    assert [label.text for label in labels] == ["00:00", "04:00", "08:00", "12:00", "16:00"]
    assert [label.percent for label in labels] == [8.33, 25.0, 41.67, 58.33, 75.0]


def test_a_chart_without_values_is_empty() -> None:
    assert chart(HOURS, [Measures({})] * 3, 100).is_empty
    nothing = chart([], [], 100)
    assert (nothing.bars, nothing.labels) == ([], [])
