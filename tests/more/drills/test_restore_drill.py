"""The verdict of `python -m drills restore`."""

from dataclasses import replace
from typing import Any

import pytest

from drills.restorable import CASES, DATABASES, PROMOTED
from drills.restore import Restored

BEFORE, SINCE = {"a", "b"}, {"c", "d"}
GOOD = Restored(
    case=CASES[-1],
    seconds=1.0,
    before=BEFORE,
    since=SINCE,
    recorded=100.0,
    delivered={"a": 90.0, "b": 101.0, "d": 105.0},
    again={"b", "c"},
    listed={"a", "d"},
    reindexed={"a", "b", "c", "d"},
    lost={"d"},
    statuses={"a": "succeeded", "b": "succeeded", "c": "cancelled", "d": "succeeded"},
)


def test_each_event_is_counted_where_it_belongs() -> None:
    assert GOOD.failures == {}
    assert GOOD.counts == {
        "before": 2,
        "lost": 0,
        "since": 2,
        "lost since": 1,
        "twice": 1,
        "cancelled": 1,
        "unlisted": 2,
        "after reindex": 0,
        "listed, no run": 1,
    }


@pytest.mark.parametrize(
    ("change", "failures"),
    [
        ({"lost": {"a"}}, {"lost": ["a"]}),
        ({"reindexed": {"a", "c"}}, {"not listed after reindex": ["b"]}),
        ({"again": {"a"}}, {"delivered twice without a reason": ["a"]}),
        ({"statuses": {"a": "delivering", "b": "404", "c": "failed"}}, {"not delivered": ["a", "b", "c"]}),
    ],
)
def test_what_must_not_happen_is_named(change: dict[str, Any], failures: dict[str, list[str]]) -> None:
    assert replace(GOOD, **change).failures == failures


def test_restored_databases_have_other_names() -> None:
    from_dumps = next(case for case in CASES if case.dumped == DATABASES)
    assert [from_dumps.database(name) for name in DATABASES] == [f"{name}_restored" for name in DATABASES]
    assert PROMOTED.database("temporal") == "temporal"
