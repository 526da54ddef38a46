"""Emails and notifications keep their numbers through changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookkeeper.content.emails import Email
from hookkeeper.content.notifications import Notification
from hookkeeper.registry.numbering import Numbered, first, renumber

ANN, BOB, CARL = [Email(to=(f"{name}@acme.example",)) for name in ("ann", "bob", "carl")]
BOB_TOO = Email(to=BOB.to, subject="another")


@pytest.mark.parametrize(
    ("known", "given_", "numbers", "used"),
    [
        ([], [ANN, BOB], (1, 2), 2),
        ([ANN, BOB], [ANN, BOB], (1, 2), 2),
        ([ANN, BOB], [BOB, ANN], (2, 1), 2),
        ([ANN, BOB], [BOB], (2,), 2),
        ([ANN, BOB], [ANN, BOB_TOO], (1, 2), 2),
        ([ANN, BOB], [BOB_TOO, CARL], (2, 3), 3),
        ([ANN, BOB], [ANN, CARL], (1, 2), 2),  # a corrected address
        ([ANN, BOB], [CARL], (3,), 3),
        ([ANN, BOB], [], (), 2),
        ([BOB, BOB_TOO], [BOB_TOO, BOB, ANN], (2, 1, 3), 3),
        ([ANN, ANN], [ANN], (1,), 2),
    ],
)
def test_numbers(known: list[Email], given_: list[Email], numbers: tuple[int, ...], used: int) -> None:
    assert renumber(given_, first(known)) == Numbered(tuple(given_), numbers, used)


def test_a_number_is_never_used_again() -> None:
    none = renumber([], first([ANN]))
    assert renumber([BOB], none) == Numbered((BOB,), numbers=(2,), used=2)


def test_notifications_are_known_by_where_they_go() -> None:
    slack = [Notification(service=f"slack://T/B/{name}") for name in ("a", "b")]
    titled = Notification(service="slack://T/B/b", title="x")
    assert renumber([titled], first(slack)).numbers == (2,)


@given(st.lists(st.sampled_from([ANN, BOB, CARL, BOB_TOO])), st.lists(st.sampled_from([ANN, BOB, CARL, BOB_TOO])))
def test_numbers_are_distinct_and_grow(known: list[Email], given_: list[Email]) -> None:
    new = renumber(given_, first(known))
    assert len(new.numbers) == len(given_) == len(set(new.numbers))
    assert len(known) <= new.used and all(1 <= number <= new.used for number in new.numbers)
