"""What passes in the rates drill. `tests/workflows/test_rate_limits.py` is its short form."""

import pytest

from drills.rates import OTHER_EVENTS, judge


def times(count: int, rate: float) -> list[float]:
    return [n / rate for n in range(count)]


BACKLOG, OTHER = times(50, 0.5), times(OTHER_EVENTS, 5.0)


def test_kept_rates_pass() -> None:
    assert judge(3_000, BACKLOG, OTHER, refused=0).passed


@pytest.mark.parametrize(
    ("backlog", "at_backlog", "at_other", "refused"),
    [
        (3_000, BACKLOG, OTHER, 1),
        (50, BACKLOG, OTHER, 0),
        (3_000, BACKLOG, OTHER[1:], 0),
        (3_000, BACKLOG, times(OTHER_EVENTS, 4.4), 0),
        (3_000, BACKLOG, times(OTHER_EVENTS, 5.6), 0),
        (3_000, times(50, 0.4), OTHER, 0),
        (3_000, times(50, 0.6), OTHER, 0),
    ],
)
def test_all_else_fails(backlog: int, at_backlog: list[float], at_other: list[float], refused: int) -> None:
    assert len(judge(backlog, at_backlog, at_other, refused).failures["wrong"]) == 1
