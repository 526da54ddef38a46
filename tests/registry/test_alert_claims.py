"""Who may tell what of a webhook, and when."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from hookkeeper.content.context import AlertKind
from hookkeeper.registry import alerts
from hookkeeper.registry.alerts import has_recovered
from hookkeeper.registry.health import Result
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.times import utc_now

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Make = Callable[..., Webhook]


@pytest.fixture(autouse=True)
async def webhook(store: Store, make_webhook: Make) -> None:
    await store.add(make_webhook())


async def claims(store: Store, *wanted: tuple[AlertKind, str]) -> list[int | None]:
    return [await store.alerts.claim("wh_1", kind, "wh_1", token) for kind, token in wanted]


async def disable(store: Store) -> None:
    assert await store.health.note([Result("wh_1", "gone", utc_now())]) == {"wh_1": "gone"}


async def needs_recording(store: Store) -> bool:
    webhook = await store.get("wh_1")
    assert webhook is not None
    return has_recovered(webhook, "wh_1")


async def test_that_it_was_disabled_is_told_within_the_hour_and_once(store: Store) -> None:
    assert await claims(store, ("failed", "a"), ("failed", "b")) == [0, None]
    await disable(store)
    assert await claims(store, ("disabled", "c"), ("disabled", "d"), ("disabled", "c")) == [1, None, 1]
    assert await claims(store, ("failed", "e")) == [None], "it has been told of"


async def test_each_time_it_is_disabled_is_told(store: Store) -> None:
    for token in ("a", "b"):
        await disable(store)
        assert await claims(store, ("disabled", token)) == [0]
        await store.update("wh_1", None, {"enabled": True})


async def test_what_somebody_has_mended_meanwhile_or_wanted_is_not_told(store: Store) -> None:
    await disable(store)
    await store.update("wh_1", None, {"enabled": True})
    assert await claims(store, ("disabled", "a")) == [None]
    await store.update("wh_1", None, {"enabled": False})
    assert await claims(store, ("disabled", "b")) == [None]


async def test_that_it_answers_again_is_told_at_once_and_once(store: Store) -> None:
    await disable(store)
    await claims(store, ("disabled", "a"))
    assert not await needs_recording(store), "a person tried it: its deliveries are held all the same"
    await store.update("wh_1", None, {"enabled": True})
    assert await needs_recording(store)
    assert await claims(store, ("recovered", "b"), ("recovered", "c")) == [0, None]
    assert not await needs_recording(store)


async def test_after_a_failure_it_waits_for_the_hour(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not await needs_recording(store)
    assert await claims(store, ("recovered", "a")) == [None], "nobody was told that it failed"
    await claims(store, ("failed", "b"))
    assert not await needs_recording(store)
    monkeypatch.setattr(alerts, "ALERT_INTERVAL", timedelta(0))
    assert await needs_recording(store)
    assert await claims(store, ("recovered", "c"), ("recovered", "d")) == [0, None]
