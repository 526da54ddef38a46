"""A delivery to an ordered webhook: when it waits, and when others wait for it. Without clock or Temporal."""

from typing import Any

import pytest

from due_times import NOW, until_due
from hookkeeper.commands import reopened
from hookkeeper.messages.event import Delivery
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.policy import OrderPolicy
from workflows.delivery import DeliveryState


def delivery(ordered: OrderPolicy | None = "block", **fields: Any) -> DeliveryState:
    return DeliveryState(Delivery(id="wh_1", webhook_id="wh_1", ordered=ordered, enqueued=True, **fields))


def attempt(of: DeliveryState, verdict: Any = "failed", ordered: OrderPolicy | None = "block") -> None:
    of.begin_attempt()
    of.finish_attempt(Outcome(delivery="wh_1", verdict=verdict, started_at=NOW, ordered=ordered), NOW, jitter=0)


def test_a_delivery_without_order_does_not_wait() -> None:
    free = delivery(ordered=None)
    assert free.is_new
    assert free.can_share_batch
    assert not (free.is_queued or free.record.blocks_line)
    attempt(free)
    assert free.record.ordered is None  # whatever its webhook wants by now


def test_only_a_requested_attempt_is_due_before_its_turn() -> None:
    waiting = delivery()
    assert not (waiting.is_new or waiting.can_share_batch)
    assert until_due(waiting) is None
    waiting.retry()
    assert until_due(waiting) == 0
    attempt(waiting)
    assert until_due(waiting) is None
    waiting.grant()
    assert until_due(waiting) == 0


def test_a_delivery_is_shown_as_queued_until_its_turn() -> None:
    waiting = delivery()
    assert (waiting.snapshot.status, waiting.snapshot.reason) == ("pending", "queued")
    later = DeliveryState(waiting.snapshot)  # the run went on as a new one
    later.grant()
    assert (later.snapshot.status, later.snapshot.reason) == ("pending", None)


def test_a_held_delivery_is_shown_as_held_not_queued() -> None:
    waiting = delivery()
    waiting.hold()
    assert (waiting.snapshot.status, waiting.snapshot.reason) == ("held", None)
    waiting.grant()
    assert until_due(waiting) is None
    assert waiting.record.blocks_line


def test_a_delivery_that_others_have_passed_blocks_no_line_again() -> None:
    first = delivery("skip", granted=True)
    attempt(first, ordered="skip")
    assert first.record.ordered is None
    attempt(first, ordered="block")  # its webhook has another policy by now
    assert (first.record.ordered, first.record.blocks_line) == (None, False)


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
def test_after_a_failure_the_present_policy_decides_whether_others_wait(
    ordered: OrderPolicy, wanted: OrderPolicy | None, holds: bool
) -> None:
    first = delivery(ordered, granted=True)
    assert first.record.blocks_line
    attempt(first, ordered=wanted)
    assert first.record.blocks_line is holds


@pytest.mark.parametrize("verdict", ["held", "deferred"])
def test_a_delivery_blocks_the_line_until_a_request_was_made(verdict: str) -> None:
    first = delivery("skip", granted=True)
    attempt(first, verdict, ordered=None)
    assert first.record.blocks_line


@pytest.mark.parametrize("verdict", ["succeeded", "gone", "webhook_deleted"])
def test_a_final_delivery_does_not_block_the_line(verdict: str) -> None:
    first = delivery(granted=True)
    attempt(first, verdict)
    assert not (first.record.blocks_line or first.is_queued)


def test_a_cancelled_delivery_does_not_block_the_line_and_is_reopened_without_order() -> None:
    waiting = delivery()
    waiting.cancel()
    assert not waiting.record.blocks_line
    assert reopened(waiting.record).ordered is None
    waiting.retry()
    assert until_due(waiting) == 0


def test_a_delivery_leaves_its_line_with_the_first_record_that_says_so() -> None:
    first = delivery(line="k", granted=True)
    attempt(first)
    first.leave_line()
    assert first.record.line == "k"
    attempt(first, "succeeded")
    first.leave_line()
    assert (first.record.line, first.record.ordered) == ("", None)
