"""When a request may be made where timers keep the rates: at its reserved time, and not much later."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from activities.pacing import RETURN_RATE
from activities.rate_gate import RateGate
from hookkeeper.messages.batch import AttemptRequest, DeliveryBatch
from hookkeeper.outcomes import ReservedTime
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.temporal.rate_mode import RateMode

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REQUEST = AttemptRequest(delivery="wh_1", webhook_id="wh_1", number=1)
BATCH = DeliveryBatch(id="evt_1", type="a", tenant="acme", timestamp=NOW, attempts=(REQUEST,))
Make = Callable[..., Webhook]


def with_time(late: float, rate: float = 1.0, missed: int = 0) -> AttemptRequest:
    return REQUEST.model_copy(update={"slot": ReservedTime(at=NOW - timedelta(seconds=late), rate=rate, missed=missed)})


async def gate(store: Store, webhook: Webhook, keeper: str = "timers") -> RateGate:
    await store.webhooks.add(webhook)
    return RateGate(store.reserved_times, RateMode("timers" if keeper == "timers" else "queue"), max_concurrent=20)


async def test_the_first_request_is_made_at_once_and_the_next_at_their_times(store: Store, make_webhook: Make) -> None:
    webhook = make_webhook(rate_limit=0.5)
    gated = await gate(store, webhook)
    assert await gated.defer_by_rate(REQUEST, webhook, NOW, BATCH) is None
    for wait in (2.0, 4.0):
        outcome = await gated.defer_by_rate(REQUEST, webhook, NOW, BATCH)
        assert outcome and outcome.slot
        assert (outcome.verdict, outcome.rate, outcome.retry_after) == ("deferred", 0.5, wait)
        assert outcome.slot == ReservedTime(at=NOW + timedelta(seconds=wait), rate=0.5)


@pytest.mark.parametrize(
    ("request_", "missed"),
    [
        (with_time(late=0.0), None),
        (with_time(late=4.9), None),
        (with_time(late=5.1), 1),
        (with_time(late=5.1, missed=1), None),
        (with_time(late=10.1, missed=1), 2),
        (with_time(late=90.0, rate=0.01), None),
        (with_time(late=0.0, rate=2.0), 0),  # on time, but the rate has been lowered since
        (REQUEST.model_copy(update={"immediate": True}), None),
        (REQUEST, 0),
    ],
)
async def test_a_reserved_time_counts_until_it_is_missed(
    store: Store, make_webhook: Make, request_: AttemptRequest, missed: int | None
) -> None:
    """`missed`: how many times have been missed when another one is reserved; None: the request is made."""
    webhook = make_webhook(rate_limit=1.0)
    gated = await gate(store, webhook)
    await store.reserved_times.reserve("wh_1", NOW, 1.0)
    outcome = await gated.defer_by_rate(request_, webhook, NOW, BATCH)
    assert (outcome and outcome.slot and outcome.slot.missed) == missed


async def test_a_request_that_is_no_longer_limited_is_made_at_once(store: Store, make_webhook: Make) -> None:
    webhook = make_webhook()
    gated = await gate(store, webhook)
    assert await gated.defer_by_rate(with_time(late=-3600.0), webhook, NOW, BATCH) is None


async def test_requests_return_to_a_busy_receiver_one_after_the_other(store: Store, make_webhook: Make) -> None:
    webhook = make_webhook()
    webhook.throttled_until = NOW + timedelta(seconds=60)
    gated = await gate(store, webhook)
    outcomes = [await gated.defer_by_rate(with_time(0.0), webhook, NOW, BATCH) for _ in range(3)]
    assert [outcome.slot.missed for outcome in outcomes if outcome and outcome.slot] == [0, 0, 0], "they were on time"
    waits = [outcome.retry_after for outcome in outcomes if outcome]
    assert waits == pytest.approx([60.0, 60.0 + 1 / RETURN_RATE, 60.0 + 2 / RETURN_RATE], abs=0.001)


async def test_a_request_over_the_concurrency_limit_reserves_a_later_time(store: Store, make_webhook: Make) -> None:
    webhook = make_webhook()
    gated = await gate(store, webhook)
    waits = [
        (await gated.defer_by_concurrency(REQUEST, webhook, NOW, limited=limited)).retry_after
        for limited in (False, False, True, True)
    ]
    assert waits == pytest.approx([0.0, 0.05, 1.0, 1.05], abs=0.001)


@pytest.mark.parametrize(("limited", "earliest", "latest"), [(False, 0, 0), (True, 1, 2)])
async def test_a_request_of_the_limited_queue_over_the_concurrency_limit_returns_later(
    store: Store, make_webhook: Make, limited: bool, earliest: float, latest: float
) -> None:
    webhook = make_webhook()
    gated = await gate(store, webhook, keeper="queue")
    outcome = await gated.defer_by_concurrency(REQUEST, webhook, NOW, limited=limited)
    assert (outcome.verdict, outcome.rate) == ("deferred", 20.0)
    assert earliest <= (outcome.retry_after or 0) <= latest


async def test_where_the_queue_keeps_the_rate_nothing_is_reserved(store: Store, make_webhook: Make) -> None:
    webhook = make_webhook(rate_limit=1.0)
    gated = await gate(store, webhook, keeper="queue")
    for outcome in [
        await gated.defer_by_rate(REQUEST, webhook, NOW, BATCH),
        await gated.defer_by_concurrency(REQUEST, webhook, NOW, limited=False),
    ]:
        assert outcome and outcome.slot is None
    assert await store.reserved_times.reserve("wh_1", NOW, 1.0) == NOW
