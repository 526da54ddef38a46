"""The whole retry table, and what no schedule may ever do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookkeeper.messages.outcomes import Outcome
from hookkeeper.policy import DAY, DEFAULT_SCHEDULE, HOUR, RetryPolicy
from workflows.retry import next_delay

FAILED = Outcome(delivery="wh_1", verdict="failed", status_code=500, error="http_500")


def after(status: int | None = 500, retry_after: float | None = None) -> Outcome:
    return FAILED.model_copy(update={"status_code": status, "retry_after": retry_after})


def test_the_default_schedule_is_ten_attempts_in_about_three_days() -> None:
    delays = [next_delay(None, step, FAILED, 0.0) for step in range(1, 11)]
    assert delays == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400, None]
    assert sum(DEFAULT_SCHEDULE) == pytest.approx(3.15 * DAY, rel=0.01)


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        ({"schedule": []}, ()),
        ({"schedule": [1, 2, 4]}, (1, 2, 4)),
        ({"initial": 5, "coefficient": 2, "maximum": 3600, "attempts": 5}, (5, 10, 20, 40)),
        ({"initial": 10, "coefficient": 10, "maximum": 60, "attempts": 4}, (10, 60, 60)),
        ({"attempts": 1}, ()),
        ({}, (5, 10, 20, 40, 80, 160, 320, 640, 1280)),
    ],
)
def test_a_policy_has_its_delays(policy: dict[str, object], delays: tuple[float, ...]) -> None:
    parsed = RetryPolicy.model_validate(policy)
    assert parsed.delays == delays
    assert RetryPolicy.model_validate(parsed.model_dump()) == parsed, "can be read back and sent again"
    assert next_delay(parsed.delays, len(delays) + 1, FAILED, 0.0) is None


@pytest.mark.parametrize(
    ("own", "step", "outcome", "delay"),
    [
        (None, 1, after(500), 5),
        (None, 1, after(429), 60),
        (None, 1, after(502), 60),
        (None, 1, after(504), 60),
        (None, 2, after(429), 300),
        (None, 1, after(None), 5),
        ((1.0, 2.0), 1, after(429), 1),  # a webhook that chose to be quick is
        (None, 1, after(503, retry_after=30), 30),
        (None, 2, after(503, retry_after=30), 300),
        ((1.0,), 1, after(200, retry_after=9), 9),  # on any status
        (None, 1, after(503, retry_after=10 * DAY), DAY),
        (None, 9, after(503, retry_after=HOUR), DAY),
    ],
)
def test_the_response_of_the_receiver_lengthens_the_delay(
    own: tuple[float, ...] | None, step: int, outcome: Outcome, delay: float
) -> None:
    assert next_delay(own, step, outcome, 0.0) == delay


@given(
    own=st.none() | st.lists(st.floats(0, 7 * DAY), max_size=49).map(tuple),
    step=st.integers(1, 60),
    retry_after=st.none() | st.floats(0, 30 * DAY),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_jitter_only_adds_and_nothing_comes_early(
    own: tuple[float, ...] | None, step: int, retry_after: float | None, jitter: float
) -> None:
    schedule = DEFAULT_SCHEDULE if own is None else own
    delay = next_delay(own, step, after(500, retry_after), jitter)
    if step > len(schedule):
        assert delay is None
        return
    assert delay is not None
    hint = min(retry_after or 0, DAY)
    assert delay >= schedule[step - 1]
    assert delay >= hint
    assert delay <= max(schedule[step - 1] * 1.1, hint) * (1 + 1e-9)
