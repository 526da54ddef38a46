"""What is held does not wait without limit, and the Temporal web UI says what it waits for."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client
from test_alerts import alerts_to

from instances import Instance, running_instance
from receivers import Receiver, receiver

HOLD = timedelta(seconds=3)


@pytest.fixture
async def instance(temporal: Client, tmp_path: Path) -> AsyncIterator[Instance]:
    async with running_instance(temporal, tmp_path, max_hold=HOLD) as built, built.working():
        yield built


async def summaries_of(instance: Instance, event_id: str) -> list[str]:
    """Return what the Temporal web UI says of each timer and activity of a run."""
    history = await instance.run(event_id).fetch_history()
    payloads = [event.user_metadata.summary for event in history.events if event.user_metadata.HasField("summary")]
    return [json.loads(payload.data) for payload in payloads]


@pytest.mark.promise("docs/retries.md")
async def test_a_hold_by_a_paused_webhook_for_too_long_fails_with_an_alert(instance: Instance, inbox: Receiver) -> None:
    async with receiver() as desk:
        webhook = await instance.webhook(inbox.url, on_failure=alerts_to(desk))
        assert (await instance.http.post(f"/v1/webhooks/{webhook['id']}/pause")).status_code == 200
        event_id = (await instance.send())["id"]
        event = await instance.until_closed(event_id)
        (alert,) = await desk.got(1)
    delivery = event["deliveries"][0]
    assert (delivery["status"], delivery["reason"], delivery["attempts"]) == ("failed", "held_too_long", [])
    assert json.loads(alert.body)["reason"] == "held_too_long"
    assert not inbox.requests
    said = await summaries_of(instance, event_id)
    assert "held: webhook paused, rechecked in 1 h" in said
    assert any(summary.startswith("held: webhook paused, fails in ") for summary in said)


async def test_a_delivery_held_by_request_for_too_long_fails_and_can_be_redelivered(
    instance: Instance, inbox: Receiver
) -> None:
    inbox.fails(503)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    event_id = (await instance.send())["id"]
    await instance.until_delivery(event_id, "retrying", 1)
    assert (await instance.command(event_id, "hold")).status_code == 202
    event = await instance.until_closed(event_id)
    assert (event["status"], event["deliveries"][0]["reason"]) == ("failed", "held_too_long")
    assert any(summary.startswith("held by request, fails in ") for summary in await summaries_of(instance, event_id))
    assert (await instance.command(event_id, "redeliver")).status_code == 202
    assert (await instance.until_closed(event_id))["status"] == "succeeded"
