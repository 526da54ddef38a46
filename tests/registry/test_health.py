"""The health of webhooks: recording of request results, concurrent ones too, and what follows from them."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncEngine

from cases import each
from hookkeeper.content.emails import Email
from hookkeeper.content.notifications import Notification
from hookkeeper.policy import AlertAfter, HealthDefaults, HealthStatus
from hookkeeper.registry.models import Failure, Webhook
from hookkeeper.registry.numbering import first, renumber
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.health import (
    MAX_PER_TRANSACTION,
    AttemptResult,
    HealthChange,
    health_status,
    needs_recording,
    status_column,
)
from hookkeeper.times import utc_now

Make = Callable[..., Webhook]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FIVE_DAYS = HealthDefaults(disable_after=(5 * DAY).total_seconds())
URL_RECORDS = ("url_failing_since", "url_failures", "timeouts", "throttled_until")


def after(wait: timedelta, answer: Any = "failed", throttled: timedelta | None = None, **more: Any) -> AttemptResult:
    """Return the result of a request at a time after noon."""
    return AttemptResult("wh_1", answer, NOW + wait, NOW + wait + throttled if throttled else None, **more)


async def recorded(store: Store, *results: AttemptResult) -> Webhook:
    for result in results:
        await store.health.record([result], FIVE_DAYS)
    return await shown(store)


def disabled_by(changes: list[HealthChange]) -> dict[str, str]:
    return {change.webhook_id: change.disabled for change in changes if change.disabled}


async def shown(store: Store, webhook_id: str = "wh_1") -> Webhook:
    webhook = await store.webhooks.get(webhook_id)
    assert webhook is not None
    return webhook


async def test_failures_are_counted_and_a_success_clears_them(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    webhook = await recorded(store, after(SECOND, "timed_out", throttled=MINUTE), after(2 * SECOND, "timed_out"))
    assert (webhook.url_failures, webhook.timeouts) == (2, 2)
    assert (webhook.url_failing_since, webhook.throttled_until) == (NOW + SECOND, NOW + SECOND + MINUTE)
    webhook = await recorded(store, after(3 * SECOND))
    assert (webhook.url_failures, webhook.timeouts, webhook.url_failing_since) == (3, None, NOW + SECOND)
    webhook = await recorded(store, after(2 * MINUTE, "succeeded"))
    assert (webhook.url_failures, webhook.timeouts, webhook.url_failing_since) == (None, None, None)
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
    results = [AttemptResult("wh_1", "failed", NOW), AttemptResult("wh_2", "timed_out", NOW)]
    await asyncio.gather(*(store.health.record(results[:: 1 if n % 2 else -1]) for n in range(12)))
    assert ((await shown(store)).url_failures, (await shown(store, "wh_2")).timeouts) == (12, 12)


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
    assert (webhook.url_failures, webhook.throttled_until) == (None, NOW + SECOND + MINUTE)
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
    assert needs_recording(webhook, "webhook", NOW + 2 * SECOND, slow=True)
    webhook = await recorded(store, after(2 * SECOND, "succeeded", slow=True))
    assert (webhook.slow_at, webhook.last_success_at) == (NOW + 2 * SECOND, NOW + 2 * SECOND)
    assert not needs_recording(webhook, "webhook", NOW + MINUTE, slow=True)
    webhook = await recorded(store, after(MINUTE, "succeeded", slow=True))
    assert webhook.slow_at == NOW + 2 * SECOND
    webhook = await recorded(store, after(MINUTE + 2 * SECOND, "succeeded", slow=True), after(5 * MINUTE, "succeeded"))
    assert webhook.slow_at == NOW + MINUTE + 2 * SECOND
    (matching,) = await store.webhooks.matching("acme", "order.paid")
    assert not matching.is_quick(NOW + 3 * MINUTE)
    assert matching.is_quick(NOW + 3 * MINUTE + 2 * SECOND)
    webhook = await recorded(store, after(20 * MINUTE, "timed_out", slow=True))
    assert webhook.slow_at == NOW + 20 * MINUTE


@each(
    ("change", "may_succeed_now"),
    [
        ({"enabled": False}, False),
        ({"paused_at": NOW}, False),
        ({"throttled_until": NOW}, False),
        ({"url_failures": 5}, False),
        ({"url_failures": 1, "timeouts": 1}, False),
        ({"url_failures": 4}, True),
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
    assert matching.is_failing_or_slow(NOW) is ("url_failures" in change)
    await store.webhooks.delete("wh_1", "acme")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_nothing_is_written_for_a_success_that_is_no_news(
    store: Store, make_webhook: Make, engine: AsyncEngine
) -> None:
    await store.webhooks.add(make_webhook())
    webhook = await recorded(store, after(SECOND, "succeeded"))
    assert not needs_recording(webhook, "webhook", NOW + MINUTE)
    assert needs_recording(webhook, "webhook", NOW + MINUTE + SECOND)
    statements: list[str] = []
    event.listen(engine.sync_engine, "after_cursor_execute", lambda *context: statements.append(context[2]))
    webhook = await recorded(store, after(MINUTE, "succeeded"))
    assert webhook.last_success_at == NOW + SECOND
    assert not any(statement.startswith("UPDATE") for statement in statements), (
        "also where another worker has recorded one since the webhook was read"
    )


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@each(
    ("own", "setting", "since", "disabled"),
    [
        (None, 432_000.0, 5 * DAY, True),
        (None, 432_000.0, 5 * DAY - SECOND, False),
        (None, None, 500 * DAY, False),
        (None, 0.0, 500 * DAY, False),
        (60.0, None, MINUTE, True),
        (60.0, 432_000.0, MINUTE, True),
        (0.0, 432_000.0, 500 * DAY, False),
    ],
)
async def test_nothing_but_failures_for_too_long_disables(
    store: Store, make_webhook: Make, own: float | None, setting: float | None, since: timedelta, disabled: bool
) -> None:
    await store.webhooks.add(make_webhook(disable_after=own))
    defaults = HealthDefaults(disable_after=setting)
    await store.health.record([after(SECOND)], defaults)
    found = disabled_by(await store.health.record([after(SECOND + since)], defaults))
    webhook = await shown(store)
    assert found == ({"wh_1": "failing"} if disabled else {})
    assert webhook.enabled is not disabled
    assert (webhook.disabled_reason, webhook.disabled_at) == (
        ("failing", NOW + SECOND + since) if disabled else (None, None)
    )
    await store.webhooks.delete("wh_1", "acme")


async def test_it_is_disabled_once_however_many_notice(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    await recorded(store, after(SECOND))
    late = after(6 * DAY)
    changes = await asyncio.gather(*(store.health.record([late], FIVE_DAYS) for _ in range(12)))
    assert sorted(map(disabled_by, changes), key=len) == [{}] * 11 + [{"wh_1": "failing"}]
    entries, _ = await store.audit.page(tenant="acme", since=None, until=None, limit=50, cursor=None)
    assert [(entry.key_id, entry.action, entry.object_id, entry.detail) for entry in entries] == [
        ("hookkeeper", "webhook.disable", "wh_1", {"reason": "failing"})
    ]
    assert disabled_by(await store.health.record([late], FIVE_DAYS, again=True)) == {"wh_1": "failing"}, (
        "the worker that did it may have died"
    )
    assert await store.health.record([AttemptResult("wh_none", "gone", NOW)]) == []


async def test_gone_disables_at_once(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    assert disabled_by(await store.health.record([after(SECOND, "gone")])) == {"wh_1": "gone"}
    webhook = await shown(store)
    assert (webhook.enabled, webhook.disabled_reason, webhook.url_failures) == (False, "gone", 1)
    assert not await store.health.enable("wh_1", NOW), "no probe brings that back"


async def enable(store: Store) -> None:
    await store.webhooks.update("wh_1", None, {"enabled": True})


async def other_url(store: Store) -> None:
    await store.webhooks.update("wh_1", None, {"url": "https://acme.example/other"})


async def resume(store: Store) -> None:
    for paused in (True, False):
        await store.webhooks.set_paused("wh_1", None, paused)


async def edit(store: Store) -> None:
    await store.webhooks.update("wh_1", None, {"name": "another", "url": "https://acme.example/hook"})


async def rotate(store: Store) -> None:
    await store.webhooks.rotate_secret("wh_1", None, "whsec_b", 60)


@pytest.mark.parametrize("change", [enable, other_url, resume, edit, rotate])
async def test_only_attempts_change_the_health(store: Store, make_webhook: Make, change: Callable[..., Any]) -> None:
    """What failed keeps failing, since when it did. Where requests go elsewhere or again, the URL has a new chance."""
    await store.webhooks.add(make_webhook())
    await recorded(store, *(after(n * SECOND, "timed_out", throttled=DAY, error="timeout") for n in range(1, 6)))
    await store.webhooks.update("wh_1", None, {"enabled": False})
    before = await shown(store)
    await change(store)
    webhook = await shown(store)
    assert (webhook.failing, webhook.unhealthy_since) == (before.failing, NOW + SECOND)
    assert (webhook.failing["webhook"].failures, webhook.failing["webhook"].error) == (5, "timeout")
    has_new_chance = change.__name__ in ("enable", "other_url", "resume")
    assert [getattr(webhook, name) is None for name in URL_RECORDS] == [has_new_chance] * 4
    found = disabled_by(await store.health.record([after(7 * DAY)], FIVE_DAYS))
    assert found == {}
    webhook = await recorded(store, after(7 * DAY + SECOND, "succeeded"))
    assert (webhook.failing, webhook.unhealthy_since, webhook.failing_from) == ({}, None, None)


async def test_a_webhook_that_answers_again_is_enabled_unless_a_caller_has_disabled_it(
    store: Store, make_webhook: Make
) -> None:
    for webhook_id in ("wh_1", "wh_2"):
        await store.webhooks.add(make_webhook(webhook_id))
        await store.health.record([AttemptResult(webhook_id, "failed", NOW)])
        await store.health.record([AttemptResult(webhook_id, "failed", NOW + 6 * DAY)], FIVE_DAYS)
    await store.webhooks.update("wh_2", None, {"enabled": False})
    for webhook_id, enabled in (("wh_1", True), ("wh_1", True), ("wh_2", False), ("wh_none", False)):
        assert await store.health.enable(webhook_id, NOW) is enabled
    assert [(await shown(store, webhook_id)).disabled_reason for webhook_id in ("wh_1", "wh_2")] == [None, "manual"]
    entries, _ = await store.audit.page(tenant="acme", since=None, until=None, limit=50, cursor=None)
    assert [entry.object_id for entry in entries if entry.action == "webhook.enable"] == ["wh_1"]


EMAIL, SLACK = "email.1", "notification.1"


async def test_each_target_has_its_own_health(store: Store, make_webhook: Make) -> None:
    """Timeline: URL, email and notification fail; each is mended; only then is the webhook healthy."""
    webhook = make_webhook()
    slack = Notification(service="slack://token/a/b")
    webhook.targets = {"email": first([Email(to=("ann@acme.example",))]), "notification": first([slack])}
    await store.webhooks.add(webhook)
    errors = [("webhook", 500, "http_500"), (EMAIL, 550, "smtp_550"), (SLACK, 404, "http_404")]
    for n, (target, code, error) in enumerate(errors):
        one = after(n * SECOND, target=target, status_code=code, error=error, text=f"no {target}")
        webhook = await recorded(store, one, replace(one, at=one.at + MINUTE))
    assert {
        target: (failure.since, failure.failures, failure.at, failure.status_code, failure.error, failure.text)
        for target, failure in webhook.failing.items()
    } == {
        target: (NOW + n * SECOND, 2, NOW + n * SECOND + MINUTE, code, error, f"no {target}")
        for n, (target, code, error) in enumerate(errors)
    }
    assert webhook.url_failures == 2, "what another target does has no effect on requests to the URL"
    assert [found.id for found in await store.webhooks.in_trouble("acme", 5)] == ["wh_1"]
    assert await store.webhooks.count_by_state() == {"failing": 1}, "it has failed for long"
    for n, (target, _, _) in enumerate(errors, start=1):
        assert needs_recording(webhook, target, NOW + 2 * MINUTE)
        webhook = await recorded(store, after(2 * MINUTE, "succeeded", target=target))
        assert [*webhook.failing] == [target for target, _, _ in errors[n:]]
    assert health_status(webhook, NOW + 2 * MINUTE) == "healthy"
    assert await store.webhooks.in_trouble(None, 5) == []


async def test_a_batch_tells_what_it_has_changed(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook(alert_after=AlertAfter(attempts=3, seconds=60.0)))

    async def changes(*results: AttemptResult, again: bool = False) -> list[str]:
        found = await store.health.record(results, again=again)
        return [word for change in found for word in ("began", "reached", "recovered") if getattr(change, word)]

    assert await changes(after(SECOND)) == ["began"]
    assert await changes(after(2 * SECOND)) == []
    assert await changes(after(3 * SECOND)) == ["reached"], "by number"
    assert await changes(after(4 * SECOND)) == []
    assert await changes(after(4 * SECOND), again=True) == ["began", "reached"], "the worker may have died"
    assert await changes(after(5 * SECOND, "succeeded")) == ["recovered"]
    assert await changes(after(MINUTE, "succeeded")) == []
    assert await changes(after(2 * MINUTE)) == ["began"]
    assert (await shown(store)).failing_from == NOW + 3 * MINUTE
    assert await changes(after(3 * MINUTE)) == ["reached"], "by time"
    assert await changes(after(4 * MINUTE, "succeeded"), after(5 * MINUTE)) == [], "in one batch: it goes on to fail"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@each(
    ("own", "failures", "reached"),
    [
        (None, 4, 15 * MINUTE),
        (None, 5, timedelta(0)),
        (AlertAfter(attempts=1), 1, timedelta(0)),
        (AlertAfter(attempts=2), 1, None),
        (AlertAfter(seconds=60.0), 100, MINUTE),
    ],
)
async def test_a_webhook_is_failing_from_its_threshold_on(
    store: Store, make_webhook: Make, own: AlertAfter | None, failures: int, reached: timedelta | None
) -> None:
    await store.webhooks.add(make_webhook(alert_after=own))
    webhook = await recorded(store, *(after(n * timedelta(milliseconds=1)) for n in range(failures)))
    assert webhook.failing_from == (None if reached is None else NOW + reached)
    await store.webhooks.delete("wh_1", "acme")


async def test_a_broken_template_is_a_failure_that_slows_nothing_down(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    broken = after(SECOND, error="bad_template", text="undefined value (line 1)")
    webhook = await recorded(store, broken, replace(broken, at=NOW + 6 * DAY))
    assert webhook.failing["webhook"].text == "undefined value (line 1)"
    assert webhook.enabled
    assert [getattr(webhook, name) for name in URL_RECORDS] == [None] * 4


async def test_a_success_that_is_older_than_a_failure_does_not_hide_it(store: Store, make_webhook: Make) -> None:
    """A request that took long ends after one that was sent later: the latest attempt counts."""
    await store.webhooks.add(make_webhook())
    webhook = await recorded(store, after(2 * SECOND, error="http_500"), after(SECOND, "succeeded"))
    assert webhook.failing["webhook"].error == "http_500"
    webhook = await recorded(store, after(SECOND, error="http_400"))
    assert (webhook.failing["webhook"].error, webhook.unhealthy_since) == ("http_500", NOW + SECOND)


async def test_a_bounce_is_over_when_an_email_arrives(store: Store, make_webhook: Make) -> None:
    """A provider takes emails to any address: that it has taken the next one says nothing about the address."""
    webhook = make_webhook()
    webhook.targets = {"email": first([Email(to=("ann@acme.example",))])}
    await store.webhooks.add(webhook)
    bounce = after(SECOND, target=EMAIL, error="bounced", event_id="evt_1")
    webhook = await recorded(store, bounce, after(2 * SECOND, "sent", target=EMAIL))
    assert webhook.failing[EMAIL].error == "bounced"
    other = after(3 * SECOND, "succeeded", target=EMAIL, event_id="evt_1")
    assert (await recorded(store, other)).failing, "another address of that email has it"
    assert (await recorded(store, replace(other, event_id="evt_2"))).failing == {}
    refused = after(4 * SECOND, target=EMAIL, error="http_500")
    assert (await recorded(store, refused, after(5 * SECOND, "sent", target=EMAIL))).failing == {}


async def test_a_target_that_is_removed_takes_its_failure_along(store: Store, make_webhook: Make) -> None:
    """So does one that is removed while its last attempt is under way."""
    ann, bob = Email(to=("ann@acme.example",)), Email(to=("bob@acme.example",))
    webhook = make_webhook()
    webhook.targets = {"email": first([ann, bob])}
    await store.webhooks.add(webhook)
    await recorded(store, after(SECOND, target="email.1"), after(2 * SECOND, target="email.2"), after(3 * SECOND))
    await store.webhooks.update("wh_1", None, {"targets": {"email": renumber([bob], webhook.targets["email"])}})
    webhook = await recorded(store, after(4 * SECOND, target="email.1"))
    assert ([*webhook.failing], webhook.unhealthy_since) == (["email.2", "webhook"], NOW + 2 * SECOND)
    await store.webhooks.update("wh_1", None, {"url": ""})
    assert [*(await recorded(store, after(5 * SECOND))).failing] == ["email.2"]
    await store.webhooks.update("wh_1", None, {"url": "https://acme.example", "targets": {}})
    webhook = await shown(store)
    assert (webhook.failing, webhook.unhealthy_since, webhook.failing_from) == ({}, None, None)


async def test_webhooks_are_listed_by_their_status(store: Store, make_webhook: Make) -> None:
    for n, name in enumerate(("new", "healthy", "degraded", "failing", "paused", "disabled", "slow")):
        await store.webhooks.add(make_webhook(f"wh_{name}", tenant="acme" if n % 2 else "globex"))
    ago = utc_now() - HOUR
    await store.health.record([AttemptResult("wh_healthy", "succeeded", ago)])
    await store.health.record([AttemptResult("wh_slow", "succeeded", ago, slow=True, duration_ms=2500)])
    failed = ("failing", "paused", "disabled")
    await store.health.record([AttemptResult(f"wh_{name}", "failed", ago) for name in failed])
    await store.health.record([AttemptResult("wh_degraded", "failed", utc_now())])
    await store.webhooks.set_paused("wh_paused", None, True)
    await store.webhooks.update("wh_disabled", None, {"enabled": False})
    for status in get_args(HealthStatus):
        found, _ = await store.webhooks.page(
            tenant=None, event=None, enabled=None, status=status, limit=10, cursor=None
        )
        assert [webhook.id for webhook in found] == [f"wh_{status}"]
    assert await store.webhooks.count_by_state() == dict.fromkeys(get_args(HealthStatus), 1)
    assert await store.webhooks.count_by_state("acme") == {"healthy": 1, "failing": 1, "disabled": 1}
    trouble = [[webhook.id for webhook in await store.webhooks.in_trouble(tenant, 5)] for tenant in (None, "acme")]
    assert trouble == [["wh_failing", "wh_degraded", "wh_slow"], ["wh_failing"]]


async def test_a_webhook_is_slow_until_a_later_request_is_quick(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    webhook = await recorded(store, after(SECOND, "succeeded", slow=True, duration_ms=2500.0))
    assert health_status(webhook, NOW) == "slow"
    assert not needs_recording(webhook, "webhook", NOW + 2 * SECOND)
    webhook = await recorded(store, after(2 * SECOND, "succeeded", duration_ms=20.0))
    assert health_status(webhook, NOW) == "slow", "one in the same minute does not count"
    assert needs_recording(webhook, "webhook", NOW + MINUTE + SECOND)
    assert not needs_recording(webhook, "email.1", NOW + MINUTE + SECOND - timedelta(milliseconds=1))
    webhook = await recorded(store, after(MINUTE + SECOND, "succeeded", duration_ms=20.0))
    assert (webhook.slow_ms, health_status(webhook, NOW)) == (None, "healthy")


async def test_a_webhook_that_timed_out_is_healthy_when_it_answers(store: Store, make_webhook: Make) -> None:
    """Not slow: that is said of requests that succeed. No later request may come to show that they are quick."""
    await store.webhooks.add(make_webhook())
    await recorded(store, after(SECOND, "succeeded", slow=True, duration_ms=2500.0))
    webhook = await recorded(store, after(2 * SECOND, "timed_out", slow=True, duration_ms=15_000.0))
    assert (webhook.slow_at, health_status(webhook, NOW)) == (NOW + 2 * SECOND, "degraded")
    webhook = await recorded(store, after(3 * SECOND, "succeeded", duration_ms=20.0))
    assert health_status(webhook, NOW) == "healthy"


FAILING = {"webhook": Failure(since=NOW, failures=3, at=NOW)}


@each(
    ("fields", "status"),
    [
        ({}, "new"),
        ({"last_success_at": NOW}, "healthy"),
        ({"last_success_at": NOW, "throttled_until": NOW + SECOND, "timeouts": 3}, "healthy"),
        ({"last_success_at": NOW, "slow_ms": 2000}, "healthy"),
        ({"last_success_at": NOW, "slow_ms": 2001}, "slow"),
        ({"last_success_at": NOW, "slow_ms": 4000, "slow_after": 5.0}, "healthy"),
        ({"failing": FAILING, "slow_ms": 4000}, "degraded"),
        ({"failing": FAILING}, "degraded"),
        ({"failing": FAILING, "failing_from": NOW + SECOND}, "degraded"),
        ({"failing": FAILING, "failing_from": NOW}, "failing"),
        ({"failing": FAILING, "failing_from": NOW, "paused_at": NOW}, "paused"),
        ({"failing": FAILING, "failing_from": NOW, "paused_at": NOW, "enabled": False}, "disabled"),
    ],
)
async def test_status(store: Store, make_webhook: Make, fields: dict[str, Any], status: HealthStatus) -> None:
    webhook = make_webhook()
    for name, value in fields.items():
        setattr(webhook, name, value)
    webhook.unhealthy_since = NOW if webhook.failing else None
    assert health_status(webhook, NOW) == status
    await store.webhooks.add(webhook)
    async with store.health._database.read() as session:
        assert await session.scalar(select(status_column(NOW))) == status
    await store.webhooks.delete("wh_1", "acme")


async def test_many_results_are_recorded_in_several_transactions(
    store: Store, engine: AsyncEngine, make_webhook: Make
) -> None:
    """One transaction of a hundred took longer than a call may on a busy machine, and so did each repetition."""
    names = [f"wh_{n}" for n in range(100)]
    for name in names:
        await store.webhooks.add(make_webhook(name))
    updates, transactions = 0, [0]

    def count(_: object, __: object, statement: str, rows: Any, ___: object, many: bool) -> None:
        nonlocal updates
        if statement.startswith("UPDATE webhooks"):
            updates += len(rows) if many else 1
            transactions[-1] += len(rows) if many else 1

    event.listen(engine.sync_engine, "before_cursor_execute", count)
    event.listen(engine.sync_engine, "commit", lambda _: transactions.append(0))
    await store.health.record([AttemptResult(name, "failed", NOW) for name in names])
    assert updates == 100
    assert max(transactions) <= MAX_PER_TRANSACTION
    assert {(await shown(store, name)).url_failures for name in names} == {1}
