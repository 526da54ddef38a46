"""When a webhook accepts a request, and for how long it accepts none."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.pacing import RETURN_RATE, defer_by_rate, throttled_for
from hookkeeper.messages.batch import AttemptRequest
from hookkeeper.outcomes import Outcome
from hookkeeper.registry.models import Webhook

Make = Callable[..., Webhook]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = AttemptRequest(delivery="wh_1", webhook_id="wh_1", number=2)


def answer(status: int | None, retry_after: float | None = None, delays: tuple[float, ...] | None = None) -> Outcome:
    return Outcome(delivery="wh_1", verdict="failed", status_code=status, retry_after=retry_after, delays=delays)


@pytest.mark.parametrize(
    ("outcome", "failures", "seconds"),
    [
        (answer(500), 7, 0),
        (answer(None), 7, 0),
        (answer(503), 0, 0),
        (answer(503, 30), 0, 30),  # on any status
        (answer(429), None, 5),
        (answer(502), 1, 10),
        (answer(504), 2, 20),
        (answer(429), 3, 40),
        (answer(429), 4, 60),
        (answer(429), 1_000_000, 60),
        (answer(429, 30), 0, 30),
        (answer(429, 2), 0, 5),
        (answer(429, 86400), 4, 86400),
        (answer(429, None, (0.5, 300)), 4, 0.5),  # its policy is shorter by choice
        (answer(429, 30, (0.5, 300)), 4, 30),
        (answer(429, None, ()), 0, 5),
        (answer(429, None, (300,)), 4, 60),
    ],
)
def test_a_busy_answer_throttles_the_webhook_for_its_time(
    make_webhook: Make, outcome: Outcome, failures: int | None, seconds: float
) -> None:
    webhook = make_webhook()
    webhook.failures = failures
    assert throttled_for(webhook, outcome) == seconds
    if not failures:
        assert throttled_for(None, outcome) == seconds


@pytest.mark.parametrize(("rest", "latest"), [(0.1, 1.1), (10, 20), (3600, 3660)])
def test_requests_to_a_throttled_webhook_return_later_and_not_all_at_once(
    make_webhook: Make, rest: float, latest: float
) -> None:
    webhook = make_webhook(rate_limit=7.0)
    webhook.throttled_until = NOW + timedelta(seconds=rest)
    outcomes = [defer_by_rate(REQUEST, webhook, NOW, pace=7.0) for _ in range(100)]
    deferred = [outcome for outcome in outcomes if outcome and (outcome.verdict, outcome.rate) == ("deferred", 7)]
    waits = [outcome.retry_after for outcome in deferred]
    assert len(waits) == 100
    assert rest <= min(map(float, filter(None, waits))) <= max(map(float, filter(None, waits))) <= latest
    assert len(set(waits)) > 50


@pytest.mark.parametrize(("pace", "made"), [(20.0, False), (2.0, True), (1.0, True), (None, False)])
def test_a_lowered_rate_applies_to_requests_let_through_at_a_higher_one(
    make_webhook: Make, pace: float | None, made: bool
) -> None:
    found = defer_by_rate(REQUEST, make_webhook(rate_limit=2.0), NOW, pace)
    assert (found is None) is made
    assert found is None or (found.verdict, found.rate, found.retry_after) == ("deferred", 2.0, 0.0)


def test_requests_return_to_a_busy_receiver_at_a_rate(make_webhook: Make) -> None:
    """However many requests wait for a receiver that answers 429 for hours, they delay no other webhook."""
    webhook = make_webhook()
    webhook.throttled_until = NOW + timedelta(seconds=5)
    deferred = defer_by_rate(REQUEST, webhook, NOW, pace=None)
    assert deferred and (deferred.verdict, deferred.rate) == ("deferred", RETURN_RATE)
    assert defer_by_rate(REQUEST, webhook, NOW + timedelta(seconds=5), pace=RETURN_RATE) is None


@pytest.mark.parametrize(
    ("fields", "changes", "pace", "made"),
    [
        ({}, {}, None, True),
        ({"throttled_until": NOW}, {}, None, True),
        ({"throttled_until": NOW + timedelta(hours=1)}, {"immediate": True}, None, True),
        ({"rate_limit": 1.0}, {}, None, False),
        ({"rate_limit": 1.0}, {}, 1.0, True),
        ({"rate_limit": 1.0}, {"immediate": True}, None, True),
        ({"rate_limit": 1.0, "paused_at": NOW}, {"trigger": "manual"}, None, True),
        ({"rate_limit": 1.0, "enabled": False}, {"trigger": "manual"}, None, True),
        ({"rate_limit": 1.0, "paused_at": NOW}, {"trigger": "manual", "postponed": True}, None, False),
        ({"rate_limit": 1.0}, {"trigger": "manual"}, None, False),
        ({"timeouts": 3}, {}, None, False),
        ({"timeouts": 2}, {}, None, True),
    ],
)
def test_a_request_is_deferred_if_its_webhook_accepts_fewer_now(
    make_webhook: Make, fields: dict[str, Any], changes: dict[str, Any], pace: float | None, made: bool
) -> None:
    webhook = make_webhook()
    for name, value in fields.items():
        setattr(webhook, name, value)
    assert (defer_by_rate(REQUEST.model_copy(update=changes), webhook, NOW, pace) is None) is made
