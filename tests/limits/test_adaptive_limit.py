"""The limit on calls to a server that may be busy: it falls with slow answers, and rises with fast ones."""

from cases import each
from hookkeeper.limits import TARGET, AdaptiveLimit


def after(*answers: float) -> AdaptiveLimit:
    limit = AdaptiveLimit(2, 16)
    for seconds in answers:
        limit.record(seconds)
    return limit


@each(
    ("answers", "value"),
    [
        ((), 16),
        ((0.01, *(TARGET,) * 100), 16),
        ((0.01, 1.0), 8),
        ((0.01, *(1.0,) * 100), 2),
        ((0.01, *(1.0,) * 100, *(0.01,) * 20), 6),
        ((0.01, *(1.0,) * 100, *(0.01,) * 150), 16),
        ((*(1.0,) * 100,), 16),
    ],
)
def test_the_limit_falls_with_slow_answers_and_rises_with_fast_ones(answers: tuple[float, ...], value: int) -> None:
    assert after(*answers).value == value


def test_the_limit_adapts_to_a_server_that_stays_slower() -> None:
    """Timeline: a server near by is moved far away. Proves: the limit falls, and rises again."""
    limit = after(0.01, *(0.2,) * 100)
    assert limit.value == 2
    for _ in range(4000):
        limit.record(0.2)
    assert limit.value == 16
