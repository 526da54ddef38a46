"""A batch of a recovery takes about five seconds, so that a pause or a cancellation takes effect soon."""

import pytest

from workflows.recovery import MAX_BATCH, batch_size


@pytest.mark.parametrize(
    ("rate", "done", "seconds", "size"),
    [
        (20.0, 0, 0.0, MAX_BATCH),
        (5.0, 0, 0.0, 25),
        (0.1, 0, 0.0, 1),
        (20.0, 100, 5.0, MAX_BATCH),
        (100.0, 100, 50.0, 10),
        (100.0, 100, 2000.0, 1),
        (5.0, 10, 0.1, 25),
        (100.0, 1, 0.05, MAX_BATCH),
    ],
    ids=["first", "slow rate", "slowest", "as fast as the rate", "busy", "very busy", "faster", "idle again"],
)
def test_it_follows_the_rate_and_the_batch_before(rate: float, done: int, seconds: float, size: int) -> None:
    assert batch_size(rate, done, seconds) == size
