"""Alerts in real runs: their recipients, content, time and number."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from activities.wiring import webhook_runs
from hookkeeper import error_types, ids
from hookkeeper.services.incidents import Call, IncidentCalls
from hookkeeper.temporal.bulk.incidents import Incidents
from hookkeeper.temporal.server.error_translation import Unavailable
from hookkeeper.tenant_limits import OPERATOR_ALERTS
from hookkeeper.times import utc_now
from instances import Instance, running_instance
from mail_servers import KEY, sendgrid_server
from receivers import Answer, Receiver, receiver
from timeouts import WAIT_TIMEOUT

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


@pytest.mark.promise("docs/alerts.md")
async def test_the_owner_gets_one_alert_an_hour(instance: Instance, inbox: Receiver, desk: Receiver) -> None:
    inbox.otherwise = Answer(500, "out of order")
    webhook = await instance.webhook(inbox.url, retry=ONCE, on_failure=alerts_to(desk))
    for _ in range(3):
        assert (await instance.until_closed((await instance.send())["id"]))["status"] == "failed"
        await until_looked(instance, webhook)
    await desk.got(1)
    assert [json.loads(request.body) for request in desk.requests] == [
        {"kind": "failed", "reason": "exhausted", "unreported": 0}
    ]


async def test_an_alert_counts_unreported_failures(
    instance: Instance, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.otherwise = Answer(500)
    webhook = await instance.webhook(inbox.url, retry=ONCE, on_failure=alerts_to(desk))
    for _ in range(3):
        await instance.until_closed((await instance.send())["id"])
        await until_looked(instance, webhook)
    monkeypatch.setattr("hookkeeper.registry.webhooks.alerts.ALERT_INTERVAL", timedelta(0))  # the hour is over
    await instance.until_closed((await instance.send())["id"])
    alerts = [json.loads(request.body) for request in await desk.got(2)]
    assert [(alert["kind"], alert["unreported"]) for alert in alerts] == [("failed", 0), ("failed", 2)]


async def until_looked(instance: Instance, webhook: dict[str, Any]) -> None:
    """Wait until the incident of the webhook has looked at what has failed."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await instance.store.alerts.noted([webhook["id"]]):
            await asyncio.sleep(0.03)


@pytest.mark.promise("docs/alerts.md")
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
            await sendgrid.got(2)
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


@pytest.mark.promise("docs/alerts.md")
async def test_an_alert_that_could_not_be_sent_is_sent_later_and_to_no_recipient_twice(
    instance: Instance, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two recipients; one of them is down at first. The run of the event does not wait for them."""
    inbox.otherwise = Answer(500)
    async with receiver() as other:
        other.fails(503)
        both = [{"http": {"url": recipient.url}} for recipient in (desk, other)]
        await instance.webhook(inbox.url, retry=ONCE, on_failure={"notifications": both})
        event = await instance.until_closed((await instance.send())["id"])
        assert event["status"] == "failed"
        await other.got(2)
        assert (len(desk.requests), len(other.requests)) == (1, 2)


async def test_an_event_ends_although_its_alert_cannot_be_sent(
    instance: Instance, inbox: Receiver, desk: Receiver
) -> None:
    inbox.otherwise = Answer(500)
    desk.otherwise = Answer(503)
    await instance.webhook(inbox.url, retry=ONCE, on_failure=alerts_to(desk))
    event = await instance.until_closed((await instance.send())["id"])
    assert event["finished_at"]
    await desk.got(1)


async def test_the_incident_that_was_not_called_is_called_by_the_repair(
    own_instance: Instance, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: Temporal takes no call to the incident when the delivery fails."""
    inbox.otherwise = Answer(500)
    webhook = await own_instance.webhook(inbox.url, retry=ONCE, on_failure=alerts_to(desk))
    with monkeypatch.context() as patch:
        patch.setattr(Incidents, "look", away)
        patch.setattr(Incidents, "watch", away)
        await own_instance.until_closed((await own_instance.send())["id"])
    assert list(await own_instance.store.alerts.noted()) == [webhook["id"]]
    runs = webhook_runs(own_instance.store, own_instance.settings, own_instance.gateway)
    for _ in range(2):
        await runs.start_missing(utc_now())
    await until_looked(own_instance, webhook)
    await desk.got(1)


async def away(*_: object) -> None:
    raise Unavailable("away")


@pytest.mark.promise("docs/alerts.md")
async def test_a_record_that_was_interrupted_after_its_write_alerts_once(
    instance: Instance, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: the worker is killed when the rows are written and the incident is not called."""
    make = IncidentCalls.make
    tries: list[Mapping[str, Call]] = []

    async def interrupted(calls: IncidentCalls, tenant: str, made: Mapping[str, Call], *rest: Any, **more: Any) -> None:
        if None in made.values():
            tries.append(made)
            if len(tries) == 1:
                raise RuntimeError("killed")
        await make(calls, tenant, made, *rest, **more)

    monkeypatch.setattr(IncidentCalls, "make", interrupted)
    inbox.otherwise = Answer(500)
    webhook = await instance.webhook(inbox.url, retry=ONCE, on_failure=alerts_to(desk))
    await instance.until_closed((await instance.send())["id"])
    await until_looked(instance, webhook)
    await desk.got(1)
    assert len(tries) == 2


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
            await instance.send()
            await sendgrid.got(1)
            await hole.got(10)


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
        webhook = await instance.webhook(down.url, events=["b.fails"], retry=ONCE, on_failure=alerts_to(desk))
        await instance.send("a.hangs")
        await inbox.got(2)  # the tenant's only slot for retries and alerts is taken
        await instance.send("b.fails")
        await until_tried(instance, webhook, 15)
        assert desk.requests == []
        gate.set()
        await desk.got(1)


async def until_tried(instance: Instance, webhook: dict[str, Any], times: int) -> None:
    """Wait until the alert of a webhook has been tried so often."""
    incident = instance.temporal.get_workflow_handle(ids.incident_id(webhook["id"]))
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            pending = await pending_activities(incident)
            if any(activity.activity_type.name == "send_alert" and activity.attempt >= times for activity in pending):
                return
            await asyncio.sleep(0.05)


async def pending_activities(run: WorkflowHandle[Any, Any]) -> Sequence[PendingActivityInfo]:
    """Return the activities of a run; none if it has not started."""
    try:
        return (await run.describe()).raw_description.pending_activities
    except RPCError:
        return ()


@pytest.mark.promise("docs/alerts.md")
async def test_a_tenant_cannot_flood_the_operator_with_alerts(
    temporal: Client, tmp_path: Path, inbox: Receiver, desk: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: a receiver answers 410, which always causes an alert; its webhook is enabled and told so again."""
    monkeypatch.setattr("activities.alerts.OPERATOR_ALERTS", OPERATOR_ALERTS._replace(rate="2/hour"))
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
                await desk.got(alerts)
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
    webhook = await instance.webhook(inbox.url, retry=ONCE, on_failure=alerts_to(desk))
    await instance.send()
    incident = instance.temporal.get_workflow_handle(ids.incident_id(webhook["id"]))
    await desk.got(1)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while error_types.ALERT_GIVEN_UP not in (await incident.fetch_history()).to_json():
            await asyncio.sleep(0.05)
    assert len(desk.requests) == 1


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
