"""The incident of a webhook in real runs: what is alerted, when, and to whom."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from test_webhook_health import has_failed_for

from activities.wiring import webhook_runs
from hookkeeper import ids
from hookkeeper.registry.events.index import EventIndex
from hookkeeper.registry.events.waiting import WaitingDeliveries
from hookkeeper.times import utc_now
from instances import Instance, running_instance
from mail_servers import KEY, sendgrid_server
from receivers import Answer, Receiver, receiver
from timeouts import WAIT_TIMEOUT

TWICE = {"retry": {"schedule": [0.05]}, "alert_after": {"attempts": 2}}
"""A webhook that makes two attempts, and is failing after both."""
BODY = (
    '{"kind": {{ alert.kind }}, "failures": {{ alert.failures }}, "error": {{ alert.last_outcome.error }},'
    ' "unreported": {{ alert.unreported }}, "waiting": {{ alert.waiting }}, "link": {{ alert.link }}}'
)


@pytest.fixture
async def desk() -> AsyncIterator[Receiver]:
    """Where alerts arrive."""
    async with receiver() as started:
        yield started


def alerts_to(desk: Receiver, **fields: Any) -> dict[str, Any]:
    return {"on_failure": {"notifications": [{"http": {"url": desk.url, "body": BODY}}]}, **fields}


def kinds(desk: Receiver) -> list[str]:
    return [json.loads(request.body)["kind"] for request in desk.requests]


def incident_of(instance: Instance, webhook: dict[str, Any]) -> WorkflowHandle[Any, Any]:
    return instance.temporal.get_workflow_handle(ids.incident_id(webhook["id"]))


async def until_over(instance: Instance, webhook: dict[str, Any]) -> None:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await incident_of(instance, webhook).describe()).status == WorkflowExecutionStatus.RUNNING:
            await asyncio.sleep(0.05)


@pytest.mark.promise("docs/alerts.md")
async def test_a_webhook_that_reaches_its_attempts_is_alerted_and_so_is_its_recovery(
    instance: Instance, inbox: Receiver, desk: Receiver
) -> None:
    """Timeline: two failed attempts; another event is delivered."""
    inbox.otherwise = Answer(503, "out of order")
    fields = alerts_to(desk, retry={"schedule": [0.05, 3600]}, alert_after={"attempts": 2})
    webhook = await instance.webhook(inbox.url, **fields)
    await instance.send()
    (alert,) = await desk.got(1)
    assert json.loads(alert.body) == {
        "kind": "failing",
        "failures": 2,
        "error": "http_503",
        "unreported": 0,
        "waiting": 1,
        "link": f"http://127.0.0.1:8080/webhooks/{webhook['id']}",
    }
    inbox.otherwise = Answer()
    await instance.send()
    await desk.got(2)
    await until_over(instance, webhook)
    assert kinds(desk) == ["failing", "recovered"]


async def test_a_delivery_that_fails_while_its_webhook_is_failing_is_counted(
    instance: Instance, inbox: Receiver, desk: Receiver
) -> None:
    """Proves: the delivery has no alert of its own; the one that the webhook works again tells of it."""
    inbox.otherwise = Answer(500)
    fields = alerts_to(desk, retry={"schedule": [0.05, 3600]}, alert_after={"attempts": 2})
    webhook = await instance.webhook(inbox.url, **fields)
    await instance.send()
    await desk.got(1)
    await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"retry": {"schedule": []}})
    await instance.until_closed((await instance.send())["id"])
    inbox.otherwise = Answer()
    await instance.send()
    alerts = [json.loads(request.body) for request in await desk.got(2)]
    assert [(alert["kind"], alert["unreported"]) for alert in alerts] == [("failing", 0), ("recovered", 1)]


async def test_a_webhook_is_alerted_once_it_has_failed_for_its_time(
    instance: Instance, inbox: Receiver, desk: Receiver
) -> None:
    inbox.otherwise = Answer(500)
    await instance.webhook(inbox.url, **alerts_to(desk, retry={"schedule": [3600]}, alert_after={"seconds": 1}))
    await instance.send()
    await desk.got(1)
    assert (kinds(desk), len(inbox.requests)) == (["failing"], 1)


async def test_failures_that_end_before_they_are_worth_an_alert_are_quiet(
    instance: Instance, inbox: Receiver, desk: Receiver
) -> None:
    inbox.fails(500)
    fields = alerts_to(desk, retry={"schedule": [0.05]}, alert_after={"seconds": 3600})
    webhook = await instance.webhook(inbox.url, **fields)
    await instance.until_closed((await instance.send())["id"])
    await incident_of(instance, webhook).signal("look")  # as the timer would do
    await until_over(instance, webhook)
    assert desk.requests == []


async def test_reminders_wait_while_the_webhook_is_paused(
    instance: Instance, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: an alert and a reminder; the webhook is paused, which a look finds; it is resumed and works again."""
    monkeypatch.setattr("hookkeeper.registry.webhooks.alerts.REMINDERS", (timedelta(seconds=1), timedelta(hours=1)))
    monkeypatch.setattr("hookkeeper.registry.webhooks.alerts.DAY", timedelta(days=3))
    inbox.otherwise = Answer(500)
    webhook = await instance.webhook(inbox.url, **alerts_to(desk, **TWICE))
    await instance.send()
    await desk.got(2)
    await instance.http.post(f"/v1/webhooks/{webhook['id']}/pause")
    await incident_of(instance, webhook).signal("look")
    await until_timer(instance, webhook, timedelta(days=3))
    await instance.http.post(f"/v1/webhooks/{webhook['id']}/resume")
    inbox.otherwise = Answer()
    await instance.send()
    await desk.got(3)
    await until_over(instance, webhook)
    assert kinds(desk) == ["failing", "reminder", "recovered"]


async def until_timer(instance: Instance, webhook: dict[str, Any], length: timedelta) -> None:
    """Wait until the incident waits for a timer of this length."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            history = await incident_of(instance, webhook).fetch_history()
            last = [event for event in history.events if event.HasField("timer_started_event_attributes")][-1:]
            if last and last[0].timer_started_event_attributes.start_to_fire_timeout.ToTimedelta() == length:
                return
            await asyncio.sleep(0.05)


async def test_a_webhook_that_will_be_disabled_is_announced(
    instance: Instance, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: it fails; a warning is due a second later; after its time, another failure disables it; it is enabled
    and works again.
    """
    monkeypatch.setattr("hookkeeper.registry.webhooks.alerts.WARNINGS", (timedelta(seconds=3599),))
    inbox.otherwise = Answer(500)
    fields = alerts_to(desk, retry={"schedule": [0.05, 3600, 0]}, alert_after={"attempts": 2}, disable_after=3600)
    webhook = await instance.webhook(inbox.url, **fields)
    event = (await instance.send())["id"]
    await desk.got(2)
    await has_failed_for(instance, webhook, timedelta(hours=2))
    await instance.command(event, "retry")
    await desk.got(3)
    await until_over(instance, webhook)
    assert kinds(desk) == ["failing", "disabling", "disabled"]
    inbox.otherwise = Answer()
    await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"enabled": True})
    await instance.command(event, "retry")
    await desk.got(4)
    assert kinds(desk)[3:] == ["recovered"]


@pytest.mark.promise("docs/alerts.md")
async def test_an_incident_ends_with_its_webhook(instance: Instance, inbox: Receiver, desk: Receiver) -> None:
    inbox.otherwise = Answer(500)
    webhook = await instance.webhook(inbox.url, **alerts_to(desk, **TWICE))
    await instance.until_closed((await instance.send())["id"])
    await desk.got(1)
    await instance.http.delete(f"/v1/webhooks/{webhook['id']}")
    await incident_of(instance, webhook).signal("look")
    await until_over(instance, webhook)
    assert kinds(desk) == ["failing"]


@pytest.mark.promise("docs/alerts.md")
async def test_a_webhook_that_flaps_is_alerted_once_an_hour(
    instance: Instance, inbox: Receiver, desk: Receiver
) -> None:
    """Timeline: four times, two attempts fail and one succeeds. Proves: one run, one alert of each kind."""
    webhook = await instance.webhook(
        inbox.url, **alerts_to(desk, retry={"schedule": [0.05, 0.05]}, alert_after={"attempts": 2})
    )
    for _ in range(4):
        inbox.fails(500, 500)
        await instance.until_closed((await instance.send())["id"])
        await desk.got(2)
    assert kinds(desk) == ["failing", "recovered"]
    runs = [run async for run in instance.temporal.list_workflows(f"WorkflowId = '{ids.incident_id(webhook['id'])}'")]
    assert len(runs) <= 4


async def test_a_recovery_that_its_incident_has_missed_is_told_by_the_next_success(
    instance: Instance, inbox: Receiver, desk: Receiver
) -> None:
    """Timeline: an alert; the incident is terminated; the webhook works again."""
    inbox.otherwise = Answer(500)
    webhook = await instance.webhook(inbox.url, **alerts_to(desk, **TWICE))
    await instance.until_closed((await instance.send())["id"])
    await desk.got(1)
    await incident_of(instance, webhook).terminate()
    inbox.otherwise = Answer()
    await instance.send()
    await desk.got(2)
    assert kinds(desk) == ["failing", "recovered"]


async def test_a_recipient_that_cannot_be_reached_delays_no_later_alert(
    instance: Instance, inbox: Receiver, desk: Receiver
) -> None:
    """Setup: one of two recipients is down. Proves: both get the next alert, and at once."""
    inbox.otherwise = Answer(500)
    async with receiver() as down:
        down.otherwise = Answer(503)
        both = {"notifications": [{"http": {"url": each.url, "body": BODY}} for each in (down, desk)]}
        webhook = await instance.webhook(inbox.url, on_failure=both, **TWICE)
        await instance.until_closed((await instance.send())["id"])
        await asyncio.gather(desk.got(1), down.got(1))
        inbox.otherwise, down.otherwise = Answer(), Answer()
        await instance.send()
        await asyncio.gather(desk.got(2), down.got(2))
        await until_over(instance, webhook)
        assert kinds(desk) == kinds(down) == ["failing", "recovered"]


async def test_a_long_incident_continues_as_a_new_run(
    instance: Instance, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.incident.MAX_HISTORY", 10)
    monkeypatch.setattr("hookkeeper.registry.webhooks.alerts.REMINDERS", (timedelta(seconds=0.3),))
    inbox.otherwise = Answer(500)
    webhook = await instance.webhook(inbox.url, **alerts_to(desk, **TWICE))
    await instance.send()
    await desk.got(4)
    first = await anext(incident_of(instance, webhook).fetch_history_events(page_size=1))
    assert first.workflow_execution_started_event_attributes.continued_execution_run_id
    inbox.otherwise = Answer()
    await instance.send()
    await until_over(instance, webhook)
    assert kinds(desk)[-1] == "recovered"
    assert kinds(desk).count("failing") == kinds(desk).count("recovered") == 1


async def test_what_is_not_alerted_starts_no_incident(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    webhook = await instance.webhook(inbox.url, **TWICE)
    await instance.until_closed((await instance.send())["id"])
    with pytest.raises(Exception, match="not found"):
        await incident_of(instance, webhook).describe()


async def test_emails_say_what_fails_and_lead_owners_to_their_portal(
    temporal: Client, tmp_path: Path, inbox: Receiver
) -> None:
    """Setup: owner and operator get emails; the provider has an application with the portal."""
    inbox.otherwise = Answer(500, "<b>out of order</b>")
    async with sendgrid_server() as sendgrid:
        settings = {
            "sendgrid_api_key": SecretStr(KEY),
            "sendgrid_host": sendgrid.host,
            "alert_emails": ("operator@shop.example",),
            "portal_url": "https://app.shop.example/hooks/",
        }
        async with running_instance(temporal, tmp_path, **settings) as instance, instance.working():
            owner = {"emails": [{"to": ["owner@acme.example"]}]}
            webhook = await instance.webhook(inbox.url, name="Order <service>", on_failure=owner, **TWICE)
            await sendgrid_alerts(instance, sendgrid.got)
    by_recipient = {mail["personalizations"][0]["to"][0]["email"]: mail for mail in sendgrid.messages}
    operators, owners = by_recipient["operator@shop.example"], by_recipient["owner@acme.example"]
    said = "is failing: 500 Internal Server Error since "
    assert owners["subject"].startswith(f"Order <service> {said}")
    assert operators["subject"].startswith(f"Order <service> ({instance.tenant}) {said}")
    text, html = (part["value"] for part in owners["content"])
    assert "Latest answer:   500 Internal Server Error: <b>out of order</b>\n" in text
    assert "&lt;b&gt;out of order&lt;/b&gt;" in html and "<b>" not in html
    page = f"https://app.shop.example/hooks/webhooks/{webhook['id']}"
    assert page in text and f'<a href="{page}">' in html
    assert "temporal-ui.test" not in json.dumps(owners)
    assert f"http://127.0.0.1:8080/webhooks/{webhook['id']}" in json.dumps(operators)
    assert f"http://temporal-ui.test/namespaces/default/workflows/incident-{webhook['id']}/" in json.dumps(operators)


async def sendgrid_alerts(instance: Instance, got: Any) -> None:
    await instance.until_closed((await instance.send())["id"])
    await got(2)


async def test_a_look_that_was_interrupted_after_its_claim_alerts_once(
    instance: Instance, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: a try of the look ends after it has claimed the alert, as if its worker was killed."""
    count = EventIndex.waiting_of_webhooks
    tries: list[Collection[str]] = []

    async def interrupted(index: EventIndex, webhook_ids: Collection[str]) -> dict[str, WaitingDeliveries]:
        tries.append(webhook_ids)
        if len(tries) == 1:
            raise RuntimeError("killed")
        return await count(index, webhook_ids)

    monkeypatch.setattr(EventIndex, "waiting_of_webhooks", interrupted)
    inbox.otherwise = Answer(500)
    webhook = await instance.webhook(inbox.url, **alerts_to(desk, **TWICE))
    await instance.until_closed((await instance.send())["id"])
    await desk.got(1)
    inbox.otherwise = Answer()
    await instance.send()
    await until_over(instance, webhook)
    assert kinds(desk) == ["failing", "recovered"]
    assert len(tries) == 3


async def test_an_incident_that_was_lost_is_started_again(
    own_instance: Instance, inbox: Receiver, desk: Receiver
) -> None:
    """Timeline: the incident is terminated after its first alert, and no attempt follows: the regular repair starts it.
    Later, the webhook works again: nothing is missing.
    """
    inbox.fails(503)
    inbox.fails(503)
    webhook = await own_instance.webhook(inbox.url, **alerts_to(desk, **TWICE))
    await own_instance.until_final((await own_instance.send())["id"])
    await desk.got(1)
    incident = incident_of(own_instance, webhook)
    await incident.terminate()
    for _ in range(2):
        await start_missing(own_instance)
        assert (await incident.describe()).status == WorkflowExecutionStatus.RUNNING
    await own_instance.until_final((await own_instance.send())["id"])
    await desk.got(2)
    await until_over(own_instance, webhook)
    last = (await incident.describe()).run_id
    await start_missing(own_instance)
    assert (await incident.describe()).run_id == last
    assert kinds(desk) == ["failing", "recovered"]


async def start_missing(instance: Instance) -> None:
    runs = webhook_runs(instance.store, instance.settings, instance.gateway)
    await runs.start_missing(utc_now())
