"""A delivery in a lane: when it waits, when others wait for it. Without clock or Temporal."""

from datetime import UTC, datetime
from typing import Any

import pytest

from hookkeeper.commands import reopened
from hookkeeper.messages.event import Delivery
from hookkeeper.outcomes import Outcome
from hookkeeper.policy import OrderPolicy
from workflows.progress import Progress

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def progress(ordered: OrderPolicy | None = "block", **fields: Any) -> Progress:
    return Progress.of(Delivery(id="wh_1", webhook_id="wh_1", ordered=ordered, has_place=True, **fields))


def attempt(of: Progress, verdict: Any = "failed", ordered: OrderPolicy | None = "block") -> None:
    of.begin()
    of.finish(Outcome(delivery="wh_1", verdict=verdict, started_at=NOW, ordered=ordered), NOW, jitter=0)


def until_due(progress: Progress) -> float | None:
    """Give the seconds until something is due (0: now), or None when nothing is until a person acts."""
    if progress.is_due:
        return 0
    return min(((time - NOW).total_seconds() for time in progress.times.values()), default=None)


def test_without_order_nobody_waits() -> None:
    free = progress(ordered=None)
    assert free.is_fresh
    assert free.goes_with_others
    assert not (free.waits_for_turn or free.holds_others_up)
    attempt(free)
    assert free.delivery.ordered is None  # whatever its webhook wants by now


def test_nothing_is_due_before_the_turn_but_what_a_person_wants() -> None:
    waiting = progress()
    assert not (waiting.is_fresh or waiting.goes_with_others)
    assert until_due(waiting) is None
    waiting.retry()
    assert until_due(waiting) == 0
    attempt(waiting)
    assert until_due(waiting) is None
    waiting.take_turn()
    assert until_due(waiting) == 0


def test_who_waits_says_so_until_the_turn() -> None:
    waiting = progress()
    assert (waiting.record.status, waiting.record.reason) == ("pending", "queued")
    later = Progress.of(waiting.record)  # the run went on as a new one
    later.take_turn()
    assert (later.record.status, later.record.reason) == ("pending", None)


def test_a_held_one_says_that_it_is_held() -> None:
    waiting = progress()
    waiting.hold()
    assert (waiting.record.status, waiting.record.reason) == ("held", None)
    waiting.take_turn()
    assert until_due(waiting) is None
    assert waiting.holds_others_up


@pytest.mark.parametrize(
    ("ordered", "wanted", "holds"),
    [
        ("block", "block", True),
        ("skip", "skip", False),
        ("block", "skip", False),
        ("skip", "block", True),
        ("block", None, False),
    ],
)
def test_after_a_failure_the_present_policy_says_whether_others_wait(
    ordered: OrderPolicy, wanted: OrderPolicy | None, holds: bool
) -> None:
    first = progress(ordered, has_turn=True)
    assert first.holds_others_up
    attempt(first, ordered=wanted)
    assert first.holds_others_up is holds


@pytest.mark.parametrize("verdict", ["held", "deferred"])
def test_without_a_request_others_go_on_waiting(verdict: str) -> None:
    first = progress("skip", has_turn=True)
    attempt(first, verdict, ordered=None)
    assert first.holds_others_up


@pytest.mark.parametrize("verdict", ["succeeded", "gone", "webhook_deleted"])
def test_a_final_one_holds_nobody_up(verdict: str) -> None:
    first = progress(has_turn=True)
    attempt(first, verdict)
    assert not (first.holds_others_up or first.waits_for_turn)


def test_a_cancelled_one_holds_nobody_up_and_comes_back_without_order() -> None:
    waiting = progress()
    waiting.cancel()
    assert not waiting.holds_others_up
    assert reopened(waiting.delivery).ordered is None
    waiting.retry()
    assert until_due(waiting) == 0
