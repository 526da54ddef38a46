"""Code that is too costly several times in a row is suspended for a while, and then tried once."""

import pytest

from hookkeeper.content.errors import TooCostly
from hookkeeper.sandbox import pool
from hookkeeper.sandbox.pool import Breaker
from timeouts import FakeClock


def is_resting(tripped: Breaker, what: bytes) -> bool:
    try:
        tripped.check(what)
    except TooCostly:
        return True
    return False


def test_code_that_is_too_costly_three_times_in_a_row_rests_for_a_minute() -> None:
    clock = FakeClock()
    tripped = Breaker(clock)
    for _ in range(2):
        tripped.costly(b"a")
        assert not is_resting(tripped, b"a")
    tripped.costly(b"a")
    with pytest.raises(TooCostly, match="was too costly 3 times in a row, and is suspended for 60 s"):
        tripped.check(b"a")
    assert not is_resting(tripped, b"b")
    clock.now += 59.9
    assert is_resting(tripped, b"a")
    clock.now += 0.2
    assert not is_resting(tripped, b"a")
    tripped.costly(b"a")  # once more, and it rests again
    assert is_resting(tripped, b"a")
    clock.now += 60.1
    tripped.fine(b"a")
    tripped.costly(b"a")
    assert not is_resting(tripped, b"a")


def test_code_that_is_too_costly_now_and_then_does_not_rest() -> None:
    tripped = Breaker()
    for _ in range(9):
        tripped.costly(b"a")
        tripped.costly(b"a")
        tripped.fine(b"a")
    assert not is_resting(tripped, b"a")


def test_a_bounded_number_of_calls_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_ENTRIES", 3)
    tripped = Breaker()
    for what in (b"a", b"b", b"c", b"d"):
        for _ in range(3):
            tripped.costly(what)
    assert [is_resting(tripped, what) for what in (b"a", b"b", b"c", b"d")] == [False, True, True, True]
