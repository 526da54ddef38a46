"""The changes of one read: joined by event, shared between tenants, and sent in steps."""

from datetime import UTC, datetime

import pytest

from api.streams.feed import CHANGES_PER_STEP, DELIVERIES_PER_STEP, divided, merged, steps
from hookkeeper.registry.index.change_log import Change, Position
from hookkeeper.registry.index.merge import EventKey

ACCEPTED_AT = datetime(2026, 1, 2, tzinfo=UTC)
MANY = tuple(f"wh_{n}" for n in range(DELIVERIES_PER_STEP))


def change(number: int, event: str = "", *deliveries: str, tenant: str = "acme", is_new: bool = False) -> Change:
    """The change with this position, of an event of its own unless one is named."""
    return Change(Position(1, number), EventKey(ACCEPTED_AT, tenant, event or f"e{number}"), is_new, deliveries)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], []),
        ([change(1), change(2)], [change(1), change(2)]),
        (
            [change(1, "a", "wh_1", is_new=True), change(2, "b"), change(3, "a", "wh_2", "wh_1")],
            [change(2, "b"), change(3, "a", "wh_1", "wh_2", is_new=True)],
        ),
        ([change(1, "a", tenant="acme"), change(2, "a", tenant="globex")],) * 2,
        (  # too many deliveries for one message
            [change(1, "a", *MANY), change(2, "a", "wh_more"), change(3, "a", "wh_last")],
            [change(1, "a", *MANY), change(3, "a", "wh_more", "wh_last")],
        ),
    ],
    ids=["none", "of two events", "of one event", "of two tenants", "too many deliveries"],
)
def test_changes_of_an_event_are_joined_at_the_position_of_the_last(
    changes: list[Change], expected: list[Change]
) -> None:
    assert merged(changes) == expected


@pytest.mark.parametrize(
    ("tenants", "at_most", "numbers", "skipped"),
    [
        ("", 2, [], set()),
        ("ab", 2, [0, 1], set()),
        ("aaab", 2, [2, 3], {"a"}),
        ("aaabbb", 4, [1, 2, 4, 5], {"a", "b"}),
        ("abcabc", 2, [3, 4, 5], {"a", "b", "c"}),  # each tenant gets one
    ],
)
def test_tenants_share_what_may_be_sent(tenants: str, at_most: int, numbers: list[int], skipped: set[str]) -> None:
    """Each letter is a change of the tenant with this name."""
    changes = [change(number, tenant=tenant) for number, tenant in enumerate(tenants)]
    assert divided(changes, at_most) == ([changes[number] for number in numbers], skipped)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([0] * CHANGES_PER_STEP, [CHANGES_PER_STEP]),
        ([0] * (CHANGES_PER_STEP + 1), [CHANGES_PER_STEP, 1]),
        ([150, 50, 1], [2, 1]),
        ([DELIVERIES_PER_STEP + 1, 1], [1, 1]),
        ([1, DELIVERIES_PER_STEP + 1, 1], [1, 1, 1]),
    ],
)
def test_a_step_has_a_bounded_number_of_changes_and_deliveries(sizes: list[int], expected: list[int]) -> None:
    """`sizes`: the number of deliveries of each change; `expected`: the number of changes of each step."""
    changes = [change(number, "", *map(str, range(size))) for number, size in enumerate(sizes)]
    found = list(steps(changes))
    assert [len(step) for step in found] == expected
    assert [one for step in found for one in step] == changes
