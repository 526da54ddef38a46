"""When a request may be made: at once, or at its reserved time and not much later."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.rate_gate import RETURN_RATE, RateGate
from activities.webhook_concurrency import WebhookConcurrency
from hookkeeper.messages.batch import AttemptRequest
from hookkeeper.messages.outcomes import ReservedTime
from hookkeeper.registry.models import HANGING_RATE, Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.health import AttemptResult

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
REQUEST = AttemptRequest(delivery="wh_1", webhook_id="wh_1", number=1)
CONCURRENT = 20
Make = Callable[..., Webhook]


def with_time(late: float, rate: float = 1.0, missed: int = 0) -> AttemptRequest:
    return REQUEST.model_copy(update={"slot": ReservedTime(at=NOW - timedelta(seconds=late), rate=rate, missed=missed)})


async def gate(store: Store, webhook: Webhook, **fields: Any) -> RateGate:
    """Return a gate for this webhook, of which another request has reserved the present time."""
    for name, value in fields.items():
        setattr(webhook, name, value)
    await store.webhooks.add(webhook)
    await store.reserved_times.reserve(webhook.id, NOW, 0.5)
    return RateGate(store.reserved_times, store.health, CONCURRENT)


async def test_the_first_request_is_made_at_once_and_the_next_at_their_times(store: Store, make_webhook: Make) -> None:
    webhook = make_webhook(rate_limit=0.5)
    await store.webhooks.add(webhook)
    gated = RateGate(store.reserved_times, store.health, CONCURRENT)
    assert await gated.defer_by_rate(REQUEST, webhook, NOW) is None
    for wait in (2.0, 4.0):
        outcome = await gated.defer_by_rate(REQUEST, webhook, NOW)
        assert outcome and outcome.verdict == "deferred"
        assert outcome.slot == ReservedTime(at=NOW + timedelta(seconds=wait), rate=0.5)


@pytest.mark.parametrize(
    ("fields", "changes", "made"),
    [
        ({}, {}, True),
        ({"throttled_until": NOW}, {}, True),
        ({"throttled_until": NOW + HOUR}, {}, False),
        ({"throttled_until": NOW + HOUR}, {"immediate": True}, True),
        ({"rate_limit": 1.0}, {}, False),
        ({"rate_limit": 1.0}, {"immediate": True}, True),
        ({"rate_limit": 1.0, "paused_at": NOW}, {"trigger": "manual"}, True),
        ({"rate_limit": 1.0, "enabled": False}, {"trigger": "manual"}, True),
        ({"rate_limit": 1.0, "paused_at": NOW}, {"trigger": "manual", "postponed": True}, False),
        ({"rate_limit": 1.0}, {"trigger": "manual"}, False),
        ({"timeouts": 3}, {}, False),
        ({"timeouts": 2}, {}, True),
    ],
)
async def test_a_request_is_deferred_if_its_webhook_accepts_none_now(
    store: Store, make_webhook: Make, fields: dict[str, Any], changes: dict[str, Any], made: bool
) -> None:
    webhook = make_webhook()
    gated = await gate(store, webhook, **fields)
    assert (await gated.defer_by_rate(REQUEST.model_copy(update=changes), webhook, NOW) is None) is made


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
        (REQUEST, 0),
    ],
)
async def test_a_reserved_time_counts_until_it_is_missed(
    store: Store, make_webhook: Make, request_: AttemptRequest, missed: int | None
) -> None:
    """`missed`: how many times have been missed when another one is reserved; None: the request is made."""
    webhook = make_webhook(rate_limit=1.0)
    gated = await gate(store, webhook)
    outcome = await gated.defer_by_rate(request_, webhook, NOW)
    assert (outcome and outcome.slot and outcome.slot.missed) == missed


async def test_late_requests_catch_up_at_twice_the_rate(store: Store, make_webhook: Make) -> None:
    webhook = make_webhook(rate_limit=20.0)
    gated = await gate(store, webhook)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    late = [with_time(late=n / 20, rate=20.0) for n in range(5)]
    assert await asyncio.gather(*(gated.defer_by_rate(each, webhook, NOW) for each in late)) == [None] * 5
    assert loop.time() - begin >= 4 / 40 - 0.005


async def test_a_late_request_that_would_pause_for_long_waits_in_its_run(store: Store, make_webhook: Make) -> None:
    webhook = make_webhook(rate_limit=0.25)
    gated = await gate(store, webhook)
    late = with_time(late=4.0, rate=0.25)
    assert await gated.defer_by_rate(late, webhook, NOW) is None
    outcome = await gated.defer_by_rate(late, webhook, NOW)
    assert outcome is not None
    assert outcome.slot == ReservedTime(at=NOW + timedelta(seconds=2), rate=0.25), "it is not behind all others"
    returned = REQUEST.model_copy(update={"slot": outcome.slot})
    assert await gated.defer_by_rate(returned, webhook, NOW + timedelta(seconds=2)) is None


async def test_a_request_that_is_no_longer_limited_is_made_at_once(store: Store, make_webhook: Make) -> None:
    webhook = make_webhook()
    gated = await gate(store, webhook)
    assert await gated.defer_by_rate(with_time(late=-3600.0), webhook, NOW) is None


async def test_requests_return_to_a_busy_receiver_one_after_the_other(store: Store, make_webhook: Make) -> None:
    """However many wait for a receiver that answers 429 for hours, they do not return all at once."""
    webhook = make_webhook()
    gated = await gate(store, webhook, throttled_until=NOW + timedelta(seconds=60))
    outcomes = [await gated.defer_by_rate(with_time(0.0), webhook, NOW) for _ in range(3)]
    times = [outcome.slot for outcome in outcomes if outcome and outcome.slot]
    assert [time.missed for time in times] == [0, 0, 0], "they were on time"
    assert waits(*times) == pytest.approx([60.0, 60.0 + 1 / RETURN_RATE, 60.0 + 2 / RETURN_RATE], abs=0.001)


def waits(*times: ReservedTime | None) -> list[float]:
    """Return the seconds until each time."""
    return [(time.at - NOW).total_seconds() for time in times if time]


@pytest.mark.parametrize(
    ("rate_limit", "rate"),
    [(None, CONCURRENT), (1000.0, CONCURRENT), (4.0, 4.0)],
    ids=["no limit", "more than it takes", "less than it takes"],
)
async def test_requests_over_the_concurrency_limit_return_as_fast_as_the_webhook_takes_them(
    store: Store, make_webhook: Make, rate_limit: float | None, rate: float
) -> None:
    webhook = make_webhook(rate_limit=rate_limit)
    gated = await gate(store, webhook)
    first, second = [(await gated.defer_by_concurrency(REQUEST, webhook, NOW)).slot for _ in range(2)]
    assert waits(first, second) == pytest.approx([2.0, 2.0 + 1 / rate], abs=0.001)


async def test_requests_over_a_tenants_limit_return_later(store: Store, make_webhook: Make) -> None:
    webhook = make_webhook()
    await store.webhooks.add(webhook)
    gated = RateGate(store.reserved_times, store.health, CONCURRENT)
    times = [(await gated.defer_by_tenant(REQUEST, webhook, NOW)).slot for _ in range(2)]
    assert waits(*times) == pytest.approx([1.0, 1.0 + 1 / RETURN_RATE], abs=0.001)


async def test_a_webhook_whose_slots_are_all_taken_for_long_counts_as_hanging(store: Store, make_webhook: Make) -> None:
    """Its first requests have not timed out yet. A success begins anew."""
    webhook = make_webhook()
    await store.webhooks.add(webhook)
    seconds = 1000.0
    gated = RateGate(store.reserved_times, store.health, 2)
    gated.concurrency = WebhookConcurrency(2, lambda: seconds)
    async with gated.concurrency.slot(webhook.id), gated.concurrency.slot(webhook.id):
        for age, hangs in ((4.9, False), (5.0, True)):
            seconds = 1000.0 + age
            async with gated.concurrency.slot(webhook.id) as is_within_limit:
                outcome = await gated.defer_by_concurrency(REQUEST, webhook, NOW)
            assert not is_within_limit
            assert outcome.slot and outcome.slot.rate == pytest.approx(min(HANGING_RATE, 2 / age))
            (matching,) = await store.webhooks.matching(webhook.tenant, "order.paid")
            assert matching.is_hanging is hangs
    await store.health.record([AttemptResult(webhook.id, "succeeded", NOW)])
    (matching,) = await store.webhooks.matching(webhook.tenant, "order.paid")
    assert not matching.is_hanging
