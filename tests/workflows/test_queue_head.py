"""When an ordered queue checks the run at its head again, and when that run is stuck."""

from datetime import UTC, datetime, timedelta

import pytest

from hookkeeper.messages.ordered_queue import KnownHead, QueuedRun, QueuedRunStatus
from workflows.queue_head import Head


def pauses(head: Head, status: QueuedRunStatus, checks: int) -> list[float]:
    """Return the seconds after each of several checks with this result, until the next one."""
    found = []
    for _ in range(checks):
        head.note(QueuedRun(status=status))
        head.lengthen_pause()
        found.append(head.pause.total_seconds())
    return found


def test_a_run_that_has_not_started_is_looked_for_often() -> None:
    assert pauses(Head(), "not_found", 7) == [0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]


def test_a_granted_run_is_checked_rarely() -> None:
    head = Head(missing=timedelta(seconds=29))
    head.grant()
    assert head.missing == timedelta()
    assert head.pause == timedelta(minutes=1)
    assert pauses(head, "open", 5) == [120, 240, 480, 600, 600]


@pytest.mark.parametrize(("status", "may_be_skipped"), [("no_answer", False), ("failing", True)])
def test_a_run_that_does_not_answer_is_stuck_after_a_minute(status: QueuedRunStatus, may_be_skipped: bool) -> None:
    head = Head()
    head.grant()
    assert pauses(head, status, 6) == [10] * 6
    assert not head.is_stuck
    assert pauses(head, status, 1) == [20]
    assert (head.is_stuck, head.may_be_skipped) == (True, may_be_skipped)
    pauses(head, "open", 1)
    assert (head.is_stuck, head.may_be_skipped) == (False, False)


def test_a_continued_queue_knows_its_head() -> None:
    head = Head(granted=True, missing=timedelta(seconds=1), silent=timedelta(seconds=50), failing=timedelta(seconds=40))
    known = head.known("evt_1", datetime(2026, 1, 1, tzinfo=UTC))
    continued = Head.continue_from(KnownHead.model_validate_json(known.model_dump_json(exclude_defaults=True)))
    assert continued == Head(
        missing=head.missing, silent=head.silent, failing=head.failing, continued=True
    )  # it is granted again
    continued.grant()
    assert pauses(continued, "failing", 2) == [20, 40]
    assert (continued.is_stuck, continued.may_be_skipped) == (True, True)


def test_a_granted_run_is_checked_soon_after_a_queue_has_continued() -> None:
    head = Head.continue_from(Head().known("evt_1", None))
    head.grant()
    assert head.pause == timedelta(seconds=10)
