"""The bar of an attempt's phases."""

from datetime import UTC, datetime
from typing import Any

import pytest

from dashboard.charts import latency
from hookkeeper.messages.event import Attempt


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
