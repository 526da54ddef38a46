"""Which alerts of a webhook are sent, and when."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from hookkeeper.content.context import AlertKind
from hookkeeper.registry import alerts
from hookkeeper.registry.alerts import has_recovered
from hookkeeper.registry.health import AttemptResult
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.times import utc_now

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Make = Callable[..., Webhook]


@pytest.fixture(autouse=True)
async def webhook(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())


async def claims(store: Store, *wanted: tuple[AlertKind, str]) -> list[int | None]:
    return [await store.alerts.claim("wh_1", kind, "wh_1", token) for kind, token in wanted]


async def disable(store: Store) -> None:
    (change,) = await store.health.record([AttemptResult("wh_1", "gone", utc_now())])
    assert change.disabled == "gone"


async def needs_recording(store: Store) -> bool:
    webhook = await store.webhooks.get("wh_1")
    assert webhook is not None
    return has_recovered(webhook, "wh_1")


async def test_a_disabled_webhook_is_alerted_within_the_hour_and_once(store: Store) -> None:
    assert await claims(store, ("failed", "a"), ("failed", "b")) == [0, None]
    await disable(store)
    assert await claims(store, ("disabled", "c"), ("disabled", "d"), ("disabled", "c")) == [1, None, 1]
    assert await claims(store, ("failed", "e")) == [None], "the disabled alert covers it"


async def test_each_time_a_webhook_is_disabled_there_is_an_alert(store: Store) -> None:
    for token in ("a", "b"):
        await disable(store)
        assert await claims(store, ("disabled", token)) == [0]
        await store.webhooks.update("wh_1", None, {"enabled": True})


async def test_a_webhook_enabled_meanwhile_or_disabled_by_a_caller_is_not_alerted(store: Store) -> None:
    await disable(store)
    await store.webhooks.update("wh_1", None, {"enabled": True})
    assert await claims(store, ("disabled", "a")) == [None]
    await store.webhooks.update("wh_1", None, {"enabled": False})
    assert await claims(store, ("disabled", "b")) == [None]


async def test_a_recovery_after_a_disabled_alert_is_alerted_at_once_and_once(store: Store) -> None:
    await disable(store)
    await claims(store, ("disabled", "a"))
    assert not await needs_recording(store), "a manual attempt: the webhook is still disabled"
    await store.webhooks.update("wh_1", None, {"enabled": True})
    assert await needs_recording(store)
    assert await claims(store, ("recovered", "b"), ("recovered", "c")) == [0, None]
    assert not await needs_recording(store)


async def test_an_alert_of_a_clock_that_was_ahead_prevents_no_other_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(alerts, "utc_now", lambda: utc_now() + timedelta(days=2))
        assert await claims(store, ("failed", "a")) == [0]
    assert await claims(store, ("failed", "b"), ("failed", "c")) == [0, None]


async def test_after_a_failure_it_waits_for_the_hour(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not await needs_recording(store)
    assert await claims(store, ("recovered", "a")) == [None], "the failure had no alert"
    await claims(store, ("failed", "b"))
    assert not await needs_recording(store)
    monkeypatch.setattr(alerts, "ALERT_INTERVAL", timedelta(0))
    assert await needs_recording(store)
    assert await claims(store, ("recovered", "c"), ("recovered", "d")) == [0, None]
