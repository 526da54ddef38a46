"""A webhook that was disabled for failing is probed until it answers, and then receives what it held."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from activities.wiring import webhook_runs
from hookkeeper import ids
from hookkeeper.times import utc_now
from instances import Instance, running_instance
from receivers import Answer, Receiver, receiver
from timeouts import WAIT_TIMEOUT

EVERY = timedelta(seconds=1)
BODY = '{"kind": {{ alert.kind }}, "type": {{ event.type }}, "link": {{ alert.link }}}'


@pytest.fixture
async def probing(temporal: Client, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance that probes."""
    async with running_instance(temporal, tmp_path, probe_interval=EVERY) as instance, instance.working():
        yield instance


async def disabled(instance: Instance, inbox: Receiver, **fields: Any) -> tuple[dict[str, Any], str]:
    """Return a webhook that has failed for too long, and the event that it holds."""
    inbox.otherwise = Answer(500)
    webhook = await instance.webhook(inbox.url, disable_after=0.05, retry={"schedule": [0.1, 0.1]}, **fields)
    event_id = (await instance.send())["id"]
    await instance.until_delivery(event_id, "held", attempts=2)
    assert (await show(instance, webhook))["disabled_reason"] == "failing"
    return webhook, event_id


async def show(instance: Instance, webhook: dict[str, Any]) -> dict[str, Any]:
    return (await instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()  # type: ignore[no-any-return]


def incident_of(instance: Instance, webhook: dict[str, Any]) -> WorkflowHandle[Any, Any]:
    return instance.temporal.get_workflow_handle(ids.incident_id(webhook["id"]))


async def until_over(incident: WorkflowHandle[Any, Any]) -> None:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await incident.describe()).status == WorkflowExecutionStatus.RUNNING:
            await asyncio.sleep(0.05)


@pytest.mark.promise("docs/retries.md")
async def test_a_probed_webhook_is_enabled_when_it_answers(probing: Instance, inbox: Receiver) -> None:
    """Timeline: three requests to a webhook that fails; disabled; a probe that fails; one that succeeds.

    Proves: probes are signed; the webhook is enabled, without a key; what it held is delivered; there is one alert.
    """
    async with receiver() as desk:
        on_failure = {"notifications": [{"http": {"url": desk.url, "body": BODY}}]}
        webhook, event_id = await disabled(probing, inbox, on_failure=on_failure)
        await inbox.got(3)
        assert (await show(probing, webhook))["enabled"] is False
        inbox.otherwise = Answer()
        await probing.until(event_id, "succeeded")
        await until_over(incident_of(probing, webhook))
        await desk.got(2)
        alerts = [json.loads(request.body) for request in desk.requests]
    knock = json.loads(inbox.requests[2].body)
    assert knock["type"] == "hookkeeper.test"
    Webhook(webhook["secret"]).verify(inbox.requests[2].body.decode(), inbox.requests[2].headers)
    assert [(alert["kind"], alert["type"]) for alert in alerts] == [
        ("disabled", "hookkeeper.alert"),
        ("recovered", "hookkeeper.alert"),
    ]
    shown = await show(probing, webhook)
    assert (shown["enabled"], shown["disabled_reason"], shown["health"]["status"]) == (True, None, "healthy")
    entries = (await probing.http.get("/v1/audit", params={"tenant": probing.tenant})).json()["items"]
    assert [(entry["key_id"], entry["action"]) for entry in entries][:2] == [
        ("hookkeeper", "webhook.enable"),
        ("hookkeeper", "webhook.disable"),
    ]
    events = (await probing.http.get("/v1/events", params={"tenant": probing.tenant})).json()["items"]
    assert [event["id"] for event in events] == [event_id], "a probe is no event"


@pytest.mark.parametrize("by", ["disabling", "enabling", "deleting", "gone"])
async def test_probing_ends_when_its_webhook_is_changed_deleted_or_gone(
    probing: Instance, inbox: Receiver, by: str
) -> None:
    webhook, _ = await disabled(probing, inbox)
    path = f"/v1/webhooks/{webhook['id']}"
    if by == "gone":
        inbox.otherwise = Answer(410)
    elif by == "deleting":
        await probing.http.delete(path)
    else:
        await probing.http.patch(path, json={"enabled": by == "enabling", "disable_after": 0})
    await until_over(incident_of(probing, webhook))
    if by == "disabling":
        assert (await show(probing, webhook))["disabled_reason"] == "manual"


async def test_a_probe_continues_as_a_new_run(
    probing: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.incident.MAX_HISTORY", 10)
    webhook, event_id = await disabled(probing, inbox)
    await inbox.got(4)
    inbox.otherwise = Answer()
    await probing.until(event_id, "succeeded")
    first = await anext(incident_of(probing, webhook).fetch_history_events(page_size=1))
    assert first.workflow_execution_started_event_attributes.continued_execution_run_id


async def test_no_probes_unless_the_operator_turns_them_on(instance: Instance, inbox: Receiver) -> None:
    webhook, _ = await disabled(instance, inbox)
    with pytest.raises(Exception, match="not found"):
        await incident_of(instance, webhook).describe()


@pytest.mark.parametrize("is_enabled", [False, True], ids=["probe", "release"])
async def test_what_was_lost_of_a_webhook_is_started_again(
    probing: Instance, inbox: Receiver, is_enabled: bool
) -> None:
    """Setup: a webhook is disabled and holds an event; an operator has terminated its probe. Or it was enabled, and the
    release of what it holds is lost. Proves: the regular repair starts what is missing.
    """
    webhook, event_id = await disabled(probing, inbox)
    await incident_of(probing, webhook).terminate()
    inbox.otherwise = Answer()
    if is_enabled:
        assert await probing.store.health.enable(webhook["id"], utc_now())
    runs = webhook_runs(probing.store, probing.settings, probing.gateway)
    for _ in range(2):
        await runs.start_missing(utc_now())
    assert (await probing.until_final(event_id))["status"] == "succeeded"
    assert (await show(probing, webhook))["enabled"] is True


async def test_a_webhook_that_holds_nothing_for_long_is_not_released(probing: Instance, inbox: Receiver) -> None:
    webhook, _ = await disabled(probing, inbox)
    runs = webhook_runs(probing.store, probing.settings, probing.gateway)
    await runs.start_missing(utc_now())
    assert await probing.store.index.runs_by_status.held_by_active(utc_now()) == []
    await incident_of(probing, webhook).terminate()
    await probing.store.health.enable(webhook["id"], utc_now())
    held_by_active = probing.store.index.runs_by_status.held_by_active
    assert await held_by_active(utc_now() - timedelta(minutes=30)) == []
    assert await held_by_active(utc_now()) == [(probing.tenant, webhook["id"])]


async def test_looks_put_no_probe_off(probing: Instance, inbox: Receiver) -> None:
    """Setup: the incident is asked to look all the time, as if deliveries that were held too long failed."""
    webhook, _ = await disabled(probing, inbox)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while len(inbox.requests) < 4:
            await incident_of(probing, webhook).signal("look")
            await asyncio.sleep(0.2)
