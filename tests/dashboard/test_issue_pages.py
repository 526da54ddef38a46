"""Issues: what fails or waits, by webhook and cause, in the API and on its page."""

import asyncio
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from browsers import Page, browsing, needing_attention
from callers import make_key
from test_stats_api import report

from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.registry.webhooks.health import AttemptResult
from hookkeeper.statuses import DeliveryStatus
from hookkeeper.times import utc_now
from instances import Instance
from timeouts import WAIT_TIMEOUT

URL = "http://127.0.0.1:9000/"
FIELDS = ("webhook_name", "webhook_status", "error", "failed", "retrying", "held", "left_out")


async def fail(instance: Instance, webhook_id: str, error: str, status_code: int | None = None) -> None:
    """Record a failed attempt of the URL of a webhook."""
    result = AttemptResult(webhook_id, "failed", utc_now(), status_code=status_code, error=error)
    await instance.store.health.record([result])


async def write(
    instance: Instance, event_id: str, webhook_id: str, status: DeliveryStatus, error: str = "", code: int | None = None
) -> None:
    """Write an event with one delivery, which needs attention."""
    attempt = Attempt(number=1, started_at=utc_now(), duration_ms=1, error=error, status_code=code)
    delivery = Delivery(
        id=webhook_id,
        webhook_id=webhook_id,
        status=status,
        attempts=(attempt,) if error else (),
        next_attempt_at=utc_now() + timedelta(minutes=9) if status == "retrying" else None,
    )
    written = needing_attention(report(instance.tenant, event_id, status=status))
    await instance.store.rows.write([written._replace(deliveries=(delivery,))])


async def issues(instance: Instance, state: str = "open") -> list[dict[str, Any]]:
    answer = await instance.http.get("/v1/issues", params={"tenant": instance.tenant, "state": state})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]  # type: ignore[no-any-return]


@pytest.mark.promise("docs/dashboard.md")
async def test_failures_are_grouped_by_webhook_and_cause(instance: Instance) -> None:
    """Timeline: none; failures of three causes and a held delivery; one is acknowledged; a webhook works again.

    Proves: an issue has the counts, the cause and the remedy; acknowledged ones and ended incidents have their tabs.
    """
    assert await issues(instance) == []
    made = {name: (await instance.webhook(URL, name=name, events=[name]))["id"] for name in ("Shop", "Paused")}
    shop = made["Shop"]
    for n in range(3):
        await write(instance, f"evt_{n}", shop, "failed", "http_503", 503)
    await write(instance, "evt_3", shop, "retrying", "http_503", 503)
    await write(instance, "evt_4", shop, "failed", "dns")
    await fail(instance, shop, "dns")
    await write(instance, "evt_5", made["Paused"], "held")
    await instance.http.post(f"/v1/webhooks/{made['Paused']}/pause")
    await instance.webhook(URL, name="Chooses", filter="event.data.total > 5")
    await instance.send(data={"total": "much"})

    found = await issues(instance)
    assert {tuple(issue[name] for name in FIELDS) for issue in found} == {
        ("Shop", "degraded", "http_503", 3, 1, 0, 0),
        ("Shop", "degraded", "dns", 1, 0, 0, 0),
        ("Paused", "paused", None, 0, 0, 1, 0),
        ("Chooses", "failing", "bad_filter", 0, 0, 0, 1),
    }
    first = found[0]
    assert (first["error"], first["status_code"]) == ("http_503", 503), "the one with the most deliveries is the first"
    assert "503" in first["error_text"] and first["remedy"]
    assert first["next_attempt_at"] and first["since"] <= first["latest_at"]
    assert await issues(instance, "acknowledged") == await issues(instance, "closed") == []

    key = await make_key(instance, instance.tenant)
    async with browsing(instance.app, key["key"]) as browser:
        page = unescape((await browser.get("/issues")).text)
        for text in (first["remedy"], "3 deliveries have failed", "1 delivery waits", "1 delivery is held"):
            assert text in page
        (asking,) = (action for action in Page(page).actions() if "http_503" in action)
        answer = Page((await browser.submit("/issues", asking, action="acknowledge", note="known")).text)
        assert "4 events match" in " ".join(answer.text.split())
        (confirming,) = (action for action in answer.actions() if action.startswith("/events/bulk"))
        await browser.submit("/issues", confirming, action="acknowledge", note="known", confirmed="true")
        async with asyncio.timeout(WAIT_TIMEOUT):
            while "3 deliveries have failed" not in (await browser.get("/issues?state=acknowledged")).text:
                await asyncio.sleep(0.1)
    assert [issue["error"] for issue in await issues(instance, "acknowledged")] == ["http_503"]
    assert "http_503" not in {issue["error"] for issue in await issues(instance)}


async def test_an_incident_that_has_ended_is_closed(instance: Instance) -> None:
    """Timeline: an incident is open, and recorded; the webhook works again, and that is recorded too."""
    webhook = (await instance.webhook(URL, name="Shop"))["id"]
    for _ in range(6):
        await fail(instance, webhook, "dns")
    assert await instance.store.alerts.claim(webhook, "begun", utc_now(), None)
    assert await issues(instance, "closed") == []
    await instance.store.health.record([AttemptResult(webhook, "succeeded", utc_now())])
    assert await instance.store.alerts.claim(webhook, "over", utc_now(), None)
    (closed,) = await issues(instance, "closed")
    assert (closed["webhook_name"], closed["webhook_status"], closed["error"]) == ("Shop", "healthy", None)
    async with browsing(instance.app, (await make_key(instance, instance.tenant))["key"]) as browser:
        page = (await browser.get("/issues?state=closed")).text
    assert "It failed from" in page and f"/webhooks/{webhook}#recover" in page


async def test_a_key_that_cannot_read_webhooks_gets_no_names(instance: Instance) -> None:
    webhook = (await instance.webhook(URL, name="Shop"))["id"]
    await write(instance, "evt_1", webhook, "failed", "dns")
    key = await make_key(instance, instance.tenant, scopes=["events:read"])
    answer = await instance.http.get("/v1/issues", headers={"authorization": f"Bearer {key['key']}"})
    (issue,) = answer.json()["items"]
    assert (issue["webhook_id"], issue["webhook_name"], issue["webhook_status"]) == (webhook, None, None)
