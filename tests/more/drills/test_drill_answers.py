"""How the receivers of a drill answer: by the seed, in any order."""

from collections import Counter

from drills import answers


def test_the_seed_decides_and_not_the_order() -> None:
    first = [answers.flaky(7, f"evt-{n}", 1) for n in range(100)]
    assert [answers.flaky(7, f"evt-{n}", 1) for n in reversed(range(100))] == first[::-1]
    assert [answers.flaky(8, f"evt-{n}", 1) for n in range(100)] != first


def test_the_flaky_one_does_all_that_a_bad_receiver_does() -> None:
    seen = Counter(
        (answer.status, answer.how if answer.status is None else None)
        for answer in (answers.flaky(7, f"evt-{n}", 1) for n in range(2000))
    )
    assert set(seen) == {(200, None), (500, None), (503, None), (None, "drop"), (None, "reset")}
    assert 0.6 < seen[200, None] / 2000 < 0.7


def test_what_hangs_hangs_for_longer_than_the_timeout() -> None:
    hanging = [answer for n in range(500) if (answer := answers.flaky(7, f"evt-{n}", 1)).how == "drop"]
    assert {answer.delay for answer in hanging if answer.status is None} == {answers.HANG}
    assert answers.HANG > answers.WEBHOOK_TIMEOUT


def test_the_steady_one_takes_everything() -> None:
    assert {answers.steady(7, f"evt-{n}", 1).status for n in range(500)} == {200}
