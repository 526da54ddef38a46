"""What passes in the rates drill. `tests/workflows/test_rate_limits.py` is its short form."""

from dataclasses import replace

import pytest

from drills.rates import OTHER_EVENTS, Rated

GOOD = Rated(
    backlog=3_000,
    waiting=2_950,
    backlog_rate=0.5,
    other=OTHER_EVENTS,
    other_rate=5.0,
    refused=0,
)


def test_kept_rates_pass() -> None:
    assert GOOD.passed


@pytest.mark.parametrize(
    "changes",
    [
        {"refused": 1},
        {"waiting": 0},
        {"other": OTHER_EVENTS - 1},
        {"other_rate": 4.4},
        {"other_rate": 5.6},
        {"backlog_rate": 0.4},
        {"backlog_rate": 0.6},
    ],
)
def test_all_else_fails(changes: dict[str, object]) -> None:
    assert not replace(GOOD, **changes).passed  # type: ignore[arg-type]
