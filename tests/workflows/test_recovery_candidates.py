"""Which deliveries a recovery redelivers, by their states."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hookkeeper.messages.bulk_work import RecoveryScope
from hookkeeper.messages.event import Attempt, Delivery, EventState
from hookkeeper.temporal.bulk.recovery_candidates import is_to_redeliver, was_reopened

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BEFORE, AFTER = BEGAN - timedelta(minutes=1), BEGAN + timedelta(minutes=1)
SCOPE = RecoveryScope(tenant="acme", webhook_id="wh_1", since=BEFORE, until=BEGAN, began=BEGAN)


def delivery(*attempts: datetime, **fields: Any) -> Delivery:
    made = tuple(Attempt(number=n, started_at=at, duration_ms=1) for n, at in enumerate(attempts, start=1))
    return Delivery(id="wh_1", webhook_id="wh_1", attempts=made, **{"status": "failed", **fields})


def state(delivery: Delivery, finished_at: datetime | None) -> EventState:
    return EventState(
        id="evt_1",
        type="order.paid",
        tenant="acme",
        timestamp=BEFORE,
        status="failed",
        accepted_at=BEFORE,
        finished_at=finished_at,
        deliveries=(delivery,),
    )


CASES = [
    ("it failed before", delivery(BEFORE), BEFORE, True),
    ("it failed since, as its schedule had it", delivery(BEFORE, AFTER), AFTER, True),
    ("it succeeded", delivery(BEFORE, status="succeeded"), BEFORE, False),
    ("it is retried", delivery(BEFORE, status="retrying"), None, False),
    (
        "it was redelivered before, and failed again",
        delivery(BEFORE, BEFORE, requested=True, redelivered_from=2),
        BEFORE,
        True,
    ),
    ("it was redelivered since, in vain", delivery(BEFORE, AFTER, requested=True, redelivered_from=2), AFTER, False),
    (
        "and was tried more than once",
        delivery(BEFORE, AFTER, AFTER, requested=True, redelivered_from=2),
        AFTER,
        False,
    ),
    ("it is another time's redelivery", delivery(BEFORE, requested=True, redelivered_from=2), BEFORE, True),
    ("it is about to be redelivered", delivery(BEFORE, requested=True, redelivered_from=2), None, False),
]


@pytest.mark.parametrize(("_", "delivery", "finished_at", "expected"), CASES, ids=[case[0] for case in CASES])
def test_what_is_redelivered(_: str, delivery: Delivery, finished_at: datetime | None, expected: bool) -> None:
    assert is_to_redeliver(delivery, state(delivery, finished_at), SCOPE) is expected


@pytest.mark.parametrize(("made", "expected"), [(BEFORE, True), (AFTER, False)])
def test_what_is_retried_is_sent_by_a_recovery_that_takes_it_but_once(made: datetime, expected: bool) -> None:
    attempt = delivery(made).attempts[0].model_copy(update={"trigger": "manual"})
    retried = delivery(BEFORE).model_copy(update={"status": "retrying", "attempts": (attempt,)})
    assert is_to_redeliver(retried, state(retried, None), SCOPE.model_copy(update={"retrying": True})) is expected
    assert not is_to_redeliver(retried, state(retried, None), SCOPE)


def test_what_was_sent_by_hand_long_ago_was_not_reopened() -> None:
    test_event = delivery(BEFORE, requested=True)
    assert not was_reopened(test_event, state(test_event, BEFORE), BEGAN)
