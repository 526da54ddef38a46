"""Deliveries that have failed for good are noted for the incidents of their webhooks, on each database."""

from datetime import datetime
from typing import Any

import pytest
from test_alert_claims import MINUTE, NOW, Make, attempts, claim, step

from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.events import pending_alerts
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.alerts import DAY, HOUR
from reports import changed, reported


@pytest.fixture(autouse=True)
async def webhook(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())


async def fail(store: Store, *event_ids: str, at: datetime = NOW, attempts: int = 1, **fields: Any) -> None:
    """Record that a delivery of each event has failed for good."""
    tries = tuple(
        Attempt(number=n, started_at=at, duration_ms=1, status_code=500, error="http_500")
        for n in range(1, attempts + 1)
    )
    delivery = {"status": "failed", "reason": "exhausted", "alerts": True, "attempts": tries} | fields
    for event_id in event_ids:
        await store.rows.write([report(event_id, at, Delivery(id="wh_1", webhook_id="wh_1", **delivery))])


def report(event_id: str, at: datetime, delivery: Delivery) -> RunReport:
    return reported("acme", event_id, NOW, at, [delivery], status="failed", needs_attention=True, finished_at=at)


async def told(store: Store, token: str, now: datetime = NOW) -> tuple[list[str], int | None]:
    """Look; return the events of the deliveries that the alert tells of, and how many it says have had none."""
    claimed = await claim(store, token, now)
    assert (claimed.due.kind == "failed") == bool(claimed.failed)
    alert = claimed.webhook.alert
    return [failed.event_id for failed in claimed.failed], alert.reported if claimed.failed and alert else None


async def test_deliveries_that_have_failed_are_told_together_once_an_hour(store: Store) -> None:
    """Timeline: three fail, an alert; the claim is repeated; two fail within the hour, and one after it."""
    await fail(store, "e1", at=NOW - MINUTE)
    await fail(store, "e2", "e3")
    for _ in range(2):
        events, unreported = await told(store, "a")
        assert (events[2], unreported) == ("e1", 2)
    assert await store.alerts.noted() == {}
    await fail(store, "e4", "e5")
    assert await store.alerts.noted(["wh_1", "wh_2"]) == {"wh_1": "acme"}
    assert await told(store, "b", NOW + HOUR - MINUTE) == ([], None)
    assert await told(store, "b", NOW + HOUR - MINUTE) == ([], None)
    await fail(store, "e6", at=NOW + HOUR)
    assert await told(store, "c", NOW + HOUR) == (["e6"], 2)
    assert await told(store, "d", NOW + HOUR) == ([], None)


async def test_a_delivery_is_told_when_it_fails_and_when_it_fails_again(store: Store) -> None:
    """Timeline: a delivery fails, and is recorded again by later steps; it is redelivered, and fails again."""
    await fail(store, "e1")
    await fail(store, "e1", at=NOW + MINUTE)
    assert await told(store, "a") == (["e1"], 0)
    await fail(store, "e1", at=NOW + 2 * MINUTE)
    assert await told(store, "b", NOW + HOUR) == ([], None)
    await fail(store, "e1", at=NOW + HOUR, attempts=2)
    assert await told(store, "c", NOW + HOUR) == (["e1"], 0)


async def test_what_was_redelivered_or_erased_before_the_look_is_not_told(store: Store) -> None:
    await fail(store, "e1", "e2")
    await fail(store, "e1", at=NOW + MINUTE, attempts=2, status="succeeded", reason=None)
    await store.rows.remove("acme", "e2")
    assert await told(store, "a", NOW + MINUTE) == ([], None)
    assert await store.alerts.noted() == {}


async def test_what_nobody_wants_to_know_and_what_is_found_in_histories_is_not_noted(store: Store) -> None:
    await fail(store, "e1", alerts=False)
    found = report("e2", NOW, Delivery(id="wh_1", webhook_id="wh_1", status="failed", alerts=True))
    await store.rows.write([changed(found, input="{}")])
    assert await store.alerts.noted() == {}


async def test_a_webhook_has_a_limit_of_noted_deliveries(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_alerts, "MAX_NOTED", 2)
    await fail(store, "e1", "e2", "e3")
    events, unreported = await told(store, "a")
    assert (events, unreported) == (["e2", "e1"], 1) or (events, unreported) == (["e1", "e2"], 1)


async def test_failed_deliveries_of_a_failing_webhook_are_counted_for_its_next_alert(store: Store) -> None:
    await attempts(store, NOW, *["failed"] * 5)
    await step(store, "a", NOW)
    await fail(store, "e1", "e2")
    for _ in range(2):
        assert await told(store, "b", NOW + MINUTE) == ([], None)
    assert await step(store, "c", NOW + HOUR) == ("reminder", 4 * HOUR, 2)


async def test_failed_deliveries_before_the_first_alert_are_counted(store: Store) -> None:
    """Timeline: a webhook is paused when it has failed for long, without an alert; later it works, and one fails."""
    await attempts(store, NOW, *["failed"] * 5)
    await store.webhooks.set_paused("wh_1", "acme", True)
    await fail(store, "e1", "e2")
    assert await told(store, "a") == ([], None)
    await attempts(store, NOW + MINUTE, "succeeded")
    await fail(store, "e3", at=NOW + MINUTE)
    assert await told(store, "b", NOW + MINUTE) == (["e3"], 2)


async def test_a_disabled_webhook_is_alerted_once(store: Store) -> None:
    await attempts(store, NOW, "gone")
    await fail(store, "e1")
    assert await step(store, "a", NOW) == ("disabled", None, 0)
    await fail(store, "e2")
    assert await step(store, "b", NOW) == (None, None, None)
    assert await store.alerts.noted() == {}


async def test_notes_of_a_deleted_webhook_are_removed(store: Store) -> None:
    await fail(store, "e1")
    await store.webhooks.delete("wh_1", "acme")
    assert await store.alerts.claim("wh_1", "a", NOW, None) is None
    assert await store.alerts.noted() == {}


async def test_an_alert_of_a_clock_that_was_ahead_prevents_no_other_one(store: Store) -> None:
    await fail(store, "e1")
    assert await told(store, "a", NOW + 2 * DAY) == (["e1"], 0)
    await fail(store, "e2")
    assert await told(store, "b", NOW) == (["e2"], 0)
    await fail(store, "e3")
    assert await told(store, "c", NOW) == ([], None)
