"""Alerts in real runs: their recipients, content, time and number."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client
from temporalio.common import RetryPolicy

from hookkeeper import ids
from instances import Instance, running_instance
from mail_servers import KEY, sendgrid_server
from receivers import Answer, Receiver, receiver
from timeouts import WAIT_TIMEOUT
from workflows.event import ALERTS_PENDING

ONCE: dict[str, list[float]] = {"schedule": []}
BODY = '{"kind": {{ alert.kind }}, "reason": {{ alert.reason }}, "unreported": {{ alert.unreported }}}'


def alerts_to(desk: Receiver, body: str | None = BODY) -> dict[str, object]:
    http = {"url": desk.url} | ({"body": body} if body else {})
    return {"notifications": [{"http": http}]}


@pytest.fixture
async def desk() -> AsyncIterator[Receiver]:
    """Where alerts arrive."""
    async with receiver() as started:
        yield started


async def test_the_owner_gets_one_alert_an_hour(instance: Instance, inbox: Receiver, desk: Receiver) -> None:
    inbox.otherwise = Answer(500, "out of order")
    await instance.webhook(inbox.url, retry=ONCE, on_failure=alerts_to(desk))
    for _ in range(3):
        assert (await instance.until_closed((await instance.send())["id"]))["status"] == "failed"
    assert [json.loads(request.body) for request in desk.requests] == [
        {"kind": "failed", "reason": "exhausted", "unreported": 0}
    ]


async def test_an_alert_counts_unreported_failures(
    instance: Instance, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.otherwise = Answer(500)
    await instance.webhook(inbox.url, retry=ONCE, on_failure=alerts_to(desk))
    for _ in range(3):
        await instance.until_closed((await instance.send())["id"])
    monkeypatch.setattr("hookkeeper.registry.alerts.ALERT_INTERVAL", timedelta(0))  # the hour is over
    await instance.until_closed((await instance.send())["id"])
    alerts = [json.loads(request.body) for request in desk.requests]
    assert [(alert["kind"], alert["unreported"]) for alert in alerts] == [("failed", 0), ("failed", 2)]


async def test_an_alert_contains_event_webhook_and_outcome(temporal: Client, tmp_path: Path, inbox: Receiver) -> None:
    """The operator wants all alerts. Only its own have the address of the run in the Temporal web UI."""
    inbox.answers.append(Answer(500, "not today"))
    async with sendgrid_server() as sendgrid:
        settings = {
            "sendgrid_api_key": SecretStr(KEY),
            "sendgrid_host": sendgrid.host,
            "alert_emails": ("operator@shop.example",),
        }
        async with running_instance(temporal, tmp_path, **settings) as instance, instance.working():
            owner = {"emails": [{"to": ["owner@acme.example"]}]}
            webhook = await instance.webhook(inbox.url, name="Acme's shop", retry=ONCE, on_failure=owner)
            event = await instance.until_closed((await instance.send())["id"])
    by_recipient = {alert["personalizations"][0]["to"][0]["email"]: alert for alert in sendgrid.messages}
    alert, for_owner = by_recipient["operator@shop.example"], by_recipient["owner@acme.example"]
    text = alert["content"][0]["value"]
    wanted = (
        instance.tenant,
        webhook["id"],
        "Acme's shop",
        "order.paid",
        event["id"],
        "500",
        "not today",
        "All attempts of the retry schedule have failed.",
    )
    said = f"{json.dumps(alert)} {text}"
    assert not [word for word in wanted if word not in said], said
    assert event["links"]["temporal"] in text
    assert "temporal-ui.test" not in json.dumps(for_owner)
    page = f"http://127.0.0.1:8080/events/{event['id']}?tenant={instance.tenant}"
    assert page in for_owner["content"][0]["value"]


async def test_an_alert_that_could_not_be_sent_is_sent_later_and_to_no_recipient_twice(
    instance: Instance, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two recipients; one of them is down at first. The run stays open until both have the alert."""
    inbox.otherwise = Answer(500)
    async with receiver() as other:
        other.fails(503)
        both = [{"http": {"url": recipient.url}} for recipient in (desk, other)]
        await instance.webhook(inbox.url, retry=ONCE, on_failure={"notifications": both})
        event = await instance.until_final((await instance.send())["id"])
        assert event["status"] == "failed"
        await other.got(2)
        assert (len(desk.requests), len(other.requests)) == (1, 2)
        await instance.until_closed(event["id"])


async def test_a_run_with_a_pending_alert_can_be_redelivered_and_cancelled(
    instance: Instance, inbox: Receiver, desk: Receiver
) -> None:
    inbox.otherwise = Answer(500)
    desk.otherwise = Answer(503)
    await instance.webhook(inbox.url, retry=ONCE, on_failure=alerts_to(desk))
    event_id = (await instance.send())["id"]
    await desk.got(1)
    await instance.until_delivery(event_id, "failed", attempts=1)
    assert (await instance.command(event_id, "redeliver")).status_code == 202
    await instance.until_delivery(event_id, "failed", attempts=2)
    await instance.run(event_id).cancel()
    await instance.until_closed(event_id)
    assert (await instance.event(event_id))["status"] == "failed"


async def test_a_recipient_that_hangs_delays_no_other(
    temporal: Client, tmp_path: Path, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner has ten recipients that never answer; the operator gets the alert all the same, before any of them is
    given up.
    """
    monkeypatch.setattr("activities.alerts.NOTIFICATION_TIMEOUT", 2 * WAIT_TIMEOUT)
    inbox.otherwise = Answer(500)
    async with receiver() as hole, sendgrid_server() as sendgrid:
        hole.otherwise = Answer(delay=600)
        settings: dict[str, Any] = {
            "shutdown_timeout": timedelta(seconds=1),  # the worker would wait for them
            "sendgrid_api_key": SecretStr(KEY),
            "sendgrid_host": sendgrid.host,
            "alert_emails": ("operator@shop.example",),
        }
        async with running_instance(temporal, tmp_path, **settings) as instance, instance.working():
            ten = {"notifications": [{"http": {"url": hole.url}}] * 10}
            await instance.webhook(inbox.url, retry=ONCE, on_failure=ten)
            event_id = (await instance.send())["id"]
            await sendgrid.got(1)
            await hole.got(10)
            await instance.run(event_id).cancel()
            await instance.until_closed(event_id)


async def test_an_alert_waits_for_a_free_slot_without_limit(
    temporal: Client, tmp_path: Path, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was given up after ten tries without a slot: a tenant whose webhooks hang got no alert."""
    monkeypatch.setattr("activities.tenant_concurrency.MAX_DELAY", 0.05)
    gate = asyncio.Event()
    inbox.answers = [Answer(500), Answer(200, gate=gate)]
    async with (
        running_instance(temporal, tmp_path, max_concurrent_per_tenant=1) as instance,
        instance.working(),
        receiver() as down,
    ):
        await instance.webhook(inbox.url, events=["a.hangs"], retry={"schedule": [0.05]}, timeout=30)
        down.otherwise = Answer(500)
        await instance.webhook(down.url, events=["b.fails"], retry=ONCE, on_failure=alerts_to(desk))
        await instance.send("a.hangs")
        await inbox.got(2)  # the tenant's only slot for retries and alerts is taken
        event_id = (await instance.send("b.fails"))["id"]
        await until_tried(instance, event_id, 15)
        assert desk.requests == []
        gate.set()
        await desk.got(1)
        await instance.until_closed(event_id)


async def until_tried(instance: Instance, event_id: str, times: int) -> None:
    """Wait until the alert of an event has been tried so often."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            pending = (await instance.run(event_id).describe()).raw_description.pending_activities
            if any(activity.activity_type.name == "send_alert" and activity.attempt >= times for activity in pending):
                return
            await asyncio.sleep(0.05)


async def test_a_run_that_only_waits_for_its_alerts_says_so(
    instance: Instance, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.alerts.ALERT_RETRIES", RetryPolicy(maximum_interval=timedelta(seconds=1)))
    monkeypatch.setattr("activities.alerts.MAX_FAILED_TRIES", 1000)
    inbox.otherwise = Answer(500)
    desk.otherwise = Answer(503)
    await instance.webhook(inbox.url, retry=ONCE, on_failure=alerts_to(desk))
    event_id = (await instance.send())["id"]
    await desk.got(1)
    run = instance.temporal.get_workflow_handle(ids.workflow_id(instance.tenant, event_id))
    shown = await run.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert shown.current_details == ALERTS_PENDING
    desk.otherwise = Answer(200)
    assert (await instance.until_closed(event_id))["status"] == "failed"


async def test_a_tenant_cannot_flood_the_operator_with_alerts(
    temporal: Client, tmp_path: Path, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: a receiver answers 410, which always causes an alert; its webhook is enabled and told so again."""
    monkeypatch.setattr("activities.alerts.MAX_OPERATOR_ALERTS", "2/hour")
    inbox.otherwise = Answer(410)
    async with sendgrid_server() as sendgrid:
        settings = {
            "sendgrid_api_key": SecretStr(KEY),
            "sendgrid_host": sendgrid.host,
            "alert_emails": ("operator@shop.example",),
        }
        async with running_instance(temporal, tmp_path, **settings) as instance, instance.working():
            webhook = (await instance.webhook(inbox.url, on_failure=alerts_to(desk)))["id"]
            for alerts in range(1, 5):
                await instance.send()
                await desk.got(alerts)  # from the run of the incident, when that of the event may have ended
                answer = await instance.http.patch(f"/v1/webhooks/{webhook}", json={"enabled": True})
                assert answer.status_code == 200
            await sendgrid.got(2)
        assert len(sendgrid.requests) == 2
    assert [json.loads(request.body)["kind"] for request in desk.requests] == ["disabled"] * 4


async def test_an_alert_that_cannot_be_sent_is_given_up(
    instance: Instance, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.alerts.MAX_FAILED_TRIES", 1)
    inbox.otherwise = Answer(500)
    desk.otherwise = Answer(503)
    await instance.webhook(inbox.url, retry=ONCE, on_failure=alerts_to(desk))
    assert (await instance.until_closed((await instance.send())["id"]))["status"] == "failed"
    assert len(desk.requests) == 1


async def test_pending_alerts_are_carried_into_the_next_run(
    instance: Instance, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one webhook's alert cannot be sent, the other's retries go on, over several runs."""
    monkeypatch.setattr("workflows.event.MAX_HISTORY_EVENTS", 40)
    monkeypatch.setattr("workflows.alerts.ALERT_RETRIES", RetryPolicy(maximum_interval=timedelta(seconds=5)))
    monkeypatch.setattr("activities.alerts.MAX_FAILED_TRIES", 1000)
    inbox.otherwise = Answer(500)
    desk.otherwise = Answer(503)
    await instance.webhook(inbox.url, retry=ONCE, on_failure=alerts_to(desk))
    async with receiver() as busy:
        busy.otherwise = Answer(500)
        await instance.webhook(busy.url, retry={"schedule": [0.05] * 20})
        event_id = (await instance.send())["id"]
        await busy.got(21)
        desk.otherwise = Answer(200)
        event = await instance.until_closed(event_id)
    assert [len(delivery["attempts"]) for delivery in event["deliveries"]] == [1, 21]
    assert await began_anew(instance, event_id)
    assert json.loads(desk.requests[-1].body)["reason"] == "exhausted"


async def test_an_alert_that_is_being_sent_is_not_sent_again_by_the_next_run(
    instance: Instance, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: the recipient takes its time. Timeline: retries of another delivery make the history long; the recipient
    answers, then the next retry is made. Proves: the run waits for the alert before it continues as new.
    """
    monkeypatch.setattr("workflows.event.MAX_HISTORY_EVENTS", 40)
    inbox.otherwise = Answer(500)
    desk.otherwise = Answer(200, gate=(alert_gate := asyncio.Event()))
    await instance.webhook(inbox.url, retry=ONCE, on_failure=alerts_to(desk))
    async with receiver() as busy:
        busy.answers = [*[Answer(500)] * 4, Answer(500, gate=(retry_gate := asyncio.Event()))]
        await instance.webhook(busy.url, retry={"schedule": [0.05] * 6})
        event_id = (await instance.send())["id"]
        await asyncio.gather(desk.got(1), busy.got(5))
        alert_gate.set()
        async with asyncio.timeout(WAIT_TIMEOUT):
            while len((await instance.run(event_id).describe()).raw_description.pending_activities) > 1:
                await asyncio.sleep(0.03)
        retry_gate.set()
        await instance.until_closed(event_id)
    assert await began_anew(instance, event_id)
    assert len(desk.requests) == 1


async def began_anew(instance: Instance, event_id: str) -> bool:
    """Tell whether the event's latest run goes on from another one."""
    first = await anext(instance.run(event_id).fetch_history_events(page_size=1))
    return bool(first.workflow_execution_started_event_attributes.continued_execution_run_id)


async def test_a_broken_template_of_an_alert_does_not_lose_it(
    instance: Instance, inbox: Receiver, desk: Receiver
) -> None:
    await instance.webhook(
        inbox.url,
        payload={"template": "{{ event.data.nope.nope }}"},
        on_failure=alerts_to(desk, "{{ alert.nope.nope }}"),
    )
    event = await instance.until_final((await instance.send())["id"])
    assert event["deliveries"][0]["reason"] == "bad_template"
    (alert,) = await desk.got(1)
    assert event["id"] in alert.body.decode()
    assert "bad_template" in alert.body.decode()


async def test_a_run_without_alert_recipients_has_no_alert_step(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    await instance.webhook(inbox.url, retry=ONCE)
    event = await instance.until_final((await instance.send())["id"])
    history = (await instance.run(event["id"]).fetch_history()).to_json()
    assert '"send_alert"' not in history
