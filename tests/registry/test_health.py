"""The health of webhooks: recording of request results, concurrent ones too, and what follows from them."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.registry.health import MAX_PER_TRANSACTION, RequestResult, Status, needs_recording, status_of
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store

Make = Callable[..., Webhook]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
FIVE_DAYS = (5 * DAY).total_seconds()


def after(wait: timedelta, answer: Any = "failed", throttled: timedelta | None = None, **more: Any) -> RequestResult:
    """Return the result of a request at a time after noon."""
    return RequestResult("wh_1", answer, NOW + wait, NOW + wait + throttled if throttled else None, **more)


async def recorded(store: Store, *results: RequestResult) -> Webhook:
    for result in results:
        await store.health.record([result], FIVE_DAYS)
    return await shown(store)


async def shown(store: Store, webhook_id: str = "wh_1") -> Webhook:
    webhook = await store.webhooks.get(webhook_id)
    assert webhook is not None
    return webhook


async def test_failures_are_counted_and_a_success_clears_them(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    webhook = await recorded(store, after(SECOND, "timed_out", throttled=MINUTE), after(2 * SECOND, "timed_out"))
    assert (webhook.failures, webhook.timeouts) == (2, 2)
    assert (webhook.failing_since, webhook.throttled_until) == (NOW + SECOND, NOW + SECOND + MINUTE)
    webhook = await recorded(store, after(3 * SECOND))
    assert (webhook.failures, webhook.timeouts, webhook.failing_since) == (3, None, NOW + SECOND)
    webhook = await recorded(store, after(2 * MINUTE, "succeeded"))
    assert (webhook.failures, webhook.timeouts, webhook.failing_since) == (None, None, None)
    assert (webhook.throttled_until, webhook.last_success_at) == (None, NOW + 2 * MINUTE)


async def test_three_timeouts_in_a_row_slow_it_down_until_any_answer(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook(rate_limit=50.0))
    assert (await recorded(store, *[after(SECOND, "timed_out")] * 2)).current_rate == 50
    assert (await recorded(store, after(SECOND, "timed_out"))).current_rate == 2
    assert (await recorded(store, after(SECOND, "failed"))).current_rate == 50


async def test_failures_noted_at_once_are_all_counted(store: Store, make_webhook: Make) -> None:
    """Twelve workers have a round of the same two webhooks, in either order: none waits for another crosswise."""
    for webhook_id in ("wh_1", "wh_2"):
        await store.webhooks.add(make_webhook(webhook_id))
    results = [RequestResult("wh_1", "failed", NOW), RequestResult("wh_2", "timed_out", NOW)]
    await asyncio.gather(*(store.health.record(results[:: 1 if n % 2 else -1]) for n in range(12)))
    assert ((await shown(store)).failures, (await shown(store, "wh_2")).timeouts) == (12, 12)


async def test_the_longest_throttle_holds(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    webhook = await recorded(store, after(SECOND, throttled=MINUTE), after(SECOND, throttled=SECOND), after(SECOND))
    assert webhook.throttled_until == NOW + SECOND + MINUTE


async def test_a_success_under_way_does_not_lift_a_throttle_that_came_meanwhile(
    store: Store, make_webhook: Make
) -> None:
    """A receiver that counts requests answers some of those at once with 200 and one with 429: it is busy."""
    await store.webhooks.add(make_webhook())
    throttled = after(SECOND, throttled=MINUTE)
    webhook = await recorded(store, throttled, after(2 * SECOND, "succeeded"))
    assert (webhook.failures, webhook.throttled_until) == (None, NOW + SECOND + MINUTE)
    webhook = await recorded(store, after(3 * SECOND, "succeeded", was_throttled=True))
    assert webhook.throttled_until is None, "a manual attempt succeeded"
    webhook = await recorded(store, throttled, after(MINUTE + SECOND, "succeeded"))
    assert webhook.throttled_until is None, "its time is over"


async def test_an_attempt_that_took_long_is_noted_once_a_minute(store: Store, make_webhook: Make) -> None:
    """For two minutes, the events of its webhook share no runs with others."""
    await store.webhooks.add(make_webhook())
    (matching,) = await store.webhooks.matching("acme", "order.paid")
    assert not matching.is_quick(NOW), "it has not answered yet"
    assert not matching.is_failing_or_slow(NOW)
    webhook = await recorded(store, after(SECOND, "succeeded"))
    (matching,) = await store.webhooks.matching("acme", "order.paid")
    assert matching.is_quick(NOW + SECOND)
    assert webhook.slow_at is None
    assert needs_recording(webhook, NOW + 2 * SECOND, slow=True)
    webhook = await recorded(store, after(2 * SECOND, "succeeded", slow=True))
    assert (webhook.slow_at, webhook.last_success_at) == (NOW + 2 * SECOND, NOW + 2 * SECOND)
    assert not needs_recording(webhook, NOW + MINUTE, slow=True)
    webhook = await recorded(store, after(MINUTE, "succeeded", slow=True))
    assert webhook.slow_at == NOW + 2 * SECOND
    webhook = await recorded(store, after(MINUTE + 2 * SECOND, "succeeded", slow=True), after(5 * MINUTE, "succeeded"))
    assert webhook.slow_at == NOW + MINUTE + 2 * SECOND
    (matching,) = await store.webhooks.matching("acme", "order.paid")
    assert not matching.is_quick(NOW + 3 * MINUTE)
    assert matching.is_quick(NOW + 3 * MINUTE + 2 * SECOND)
    webhook = await recorded(store, after(20 * MINUTE, "timed_out", slow=True))
    assert webhook.slow_at == NOW + 20 * MINUTE


@pytest.mark.parametrize(
    ("change", "may_succeed_now"),
    [
        ({"enabled": False}, False),
        ({"paused_at": NOW}, False),
        ({"throttled_until": NOW}, False),
        ({"failures": 5}, False),
        ({"failures": 1, "timeouts": 1}, False),
        ({"failures": 4}, True),
    ],
)
async def test_a_webhook_that_may_not_take_the_next_attempt_is_not_quick(
    store: Store, make_webhook: Make, change: dict[str, Any], may_succeed_now: bool
) -> None:
    webhook = make_webhook()
    for name, value in change.items():
        setattr(webhook, name, value)
    await store.webhooks.add(webhook)
    (matching,) = await store.webhooks.matching("acme", "order.paid")
    assert not matching.is_quick(NOW)
    assert matching.may_succeed_now is may_succeed_now
    assert matching.is_failing_or_slow(NOW) is ("failures" in change)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_nothing_is_written_for_a_success_that_is_no_news(
    store: Store, make_webhook: Make, engine: AsyncEngine
) -> None:
    await store.webhooks.add(make_webhook())
    webhook = await recorded(store, after(SECOND, "succeeded"))
    assert not needs_recording(webhook, NOW + MINUTE)
    assert needs_recording(webhook, NOW + MINUTE + SECOND)
    changed: list[int] = []
    event.listen(engine.sync_engine, "after_cursor_execute", lambda *context: changed.append(context[1].rowcount))
    webhook = await recorded(store, after(MINUTE, "succeeded"))
    assert webhook.last_success_at == NOW + SECOND
    assert max(changed) == 0, "also where another worker has recorded one since the webhook was read"


@pytest.mark.parametrize(
    ("own", "setting", "since", "disabled"),
    [
        (None, FIVE_DAYS, 5 * DAY, True),
        (None, FIVE_DAYS, 5 * DAY - SECOND, False),
        (None, None, 500 * DAY, False),
        (None, 0.0, 500 * DAY, False),
        (60.0, None, MINUTE, True),
        (60.0, FIVE_DAYS, MINUTE, True),
        (0.0, FIVE_DAYS, 500 * DAY, False),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_nothing_but_failures_for_too_long_disables(
    store: Store, make_webhook: Make, own: float | None, setting: float | None, since: timedelta, disabled: bool
) -> None:
    await store.webhooks.add(make_webhook(disable_after=own))
    await store.health.record([after(SECOND)], setting)
    found = await store.health.record([after(SECOND + since)], setting)
    webhook = await shown(store)
    assert found == ({"wh_1": "failing"} if disabled else {})
    assert webhook.enabled is not disabled
    assert (webhook.disabled_reason, webhook.disabled_at) == (
        ("failing", NOW + SECOND + since) if disabled else (None, None)
    )


async def test_it_is_disabled_once_however_many_notice(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    await recorded(store, after(SECOND))
    late = after(6 * DAY)
    found = await asyncio.gather(*(store.health.record([late], FIVE_DAYS) for _ in range(12)))
    assert sorted(found, key=len) == [{}] * 11 + [{"wh_1": "failing"}]
    entries, _ = await store.audit.page(tenant="acme", since=None, until=None, limit=50, cursor=None)
    assert [(entry.key_id, entry.action, entry.object_id, entry.detail) for entry in entries] == [
        ("hookkeeper", "webhook.disable", "wh_1", {"reason": "failing"})
    ]
    assert await store.health.record([late], FIVE_DAYS, again=True) == {"wh_1": "failing"}, (
        "the worker that did it may have died"
    )
    assert await store.health.record([RequestResult("wh_none", "gone", NOW)]) == {}


async def test_gone_disables_at_once(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    assert await store.health.record([after(SECOND, "gone")]) == {"wh_1": "gone"}
    webhook = await shown(store)
    assert (webhook.enabled, webhook.disabled_reason, webhook.failures) == (False, "gone", 1)
    assert not await store.health.enable("wh_1", NOW), "no probe brings that back"


async def test_enabling_clears_the_clock(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    await recorded(store, after(SECOND, "timed_out", throttled=DAY), after(6 * DAY))
    webhook = await store.webhooks.update("wh_1", None, {"enabled": True})
    assert webhook is not None
    assert (webhook.failing_since, webhook.failures, webhook.timeouts, webhook.throttled_until) == (None,) * 4
    assert await store.health.record([after(7 * DAY)], FIVE_DAYS) == {}


async def test_a_pause_is_no_time_of_failures(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    await recorded(store, after(SECOND))
    for paused in (True, False):
        await store.webhooks.set_paused("wh_1", None, paused)
    assert await store.health.record([after(7 * DAY)], FIVE_DAYS) == {}


async def test_another_url_has_a_clean_slate(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    await recorded(store, after(SECOND, "timed_out"))
    assert (await shown(store)).failures
    await store.webhooks.update("wh_1", None, {"url": "https://acme.example/hook", "name": "the same"})
    assert (await shown(store)).failures
    await store.webhooks.update("wh_1", None, {"url": "https://acme.example/other"})
    assert (await shown(store)).failures is None


async def test_a_webhook_that_answers_again_is_enabled_unless_a_caller_has_disabled_it(
    store: Store, make_webhook: Make
) -> None:
    for webhook_id in ("wh_1", "wh_2"):
        await store.webhooks.add(make_webhook(webhook_id))
        await store.health.record([RequestResult(webhook_id, "failed", NOW)])
        await store.health.record([RequestResult(webhook_id, "failed", NOW + 6 * DAY)], FIVE_DAYS)
    await store.webhooks.update("wh_2", None, {"enabled": False})
    for webhook_id, enabled in (("wh_1", True), ("wh_1", True), ("wh_2", False), ("wh_none", False)):
        assert await store.health.enable(webhook_id, NOW) is enabled
    assert [(await shown(store, webhook_id)).disabled_reason for webhook_id in ("wh_1", "wh_2")] == [None, "manual"]
    entries, _ = await store.audit.page(tenant="acme", since=None, until=None, limit=50, cursor=None)
    assert [entry.object_id for entry in entries if entry.action == "webhook.enable"] == ["wh_1"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "unknown"),
        ({"last_success_at": NOW}, "healthy"),
        ({"last_success_at": NOW, "throttled_until": NOW}, "healthy"),
        ({"failures": 1, "failing_since": NOW}, "failing"),
        ({"failures": 3, "timeouts": 3}, "degraded"),
        ({"failures": 3, "timeouts": 3, "throttled_until": NOW + SECOND}, "throttled"),
    ],
)
def test_status(make_webhook: Make, fields: dict[str, Any], status: Status) -> None:
    webhook = make_webhook()
    for name, value in fields.items():
        setattr(webhook, name, value)
    assert status_of(webhook, NOW) == status


async def test_many_results_are_recorded_in_several_transactions(
    store: Store, engine: AsyncEngine, make_webhook: Make
) -> None:
    """One transaction of a hundred took longer than a call may on a busy machine, and so did each repetition."""
    names = [f"wh_{n}" for n in range(100)]
    for name in names:
        await store.webhooks.add(make_webhook(name))
    updates, transactions = 0, [0]

    def count(_: object, __: object, statement: str, *___: object) -> None:
        nonlocal updates
        if statement.startswith("UPDATE webhooks"):
            updates += 1
            transactions[-1] += 1

    event.listen(engine.sync_engine, "before_cursor_execute", count)
    event.listen(engine.sync_engine, "commit", lambda _: transactions.append(0))
    await store.health.record([RequestResult(name, "failed", NOW) for name in names])
    assert updates == 100
    assert max(transactions) <= MAX_PER_TRANSACTION
    assert {(await shown(store, name)).failures for name in names} == {1}
