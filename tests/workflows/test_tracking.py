"""Emails that wait for delivery receipts: signed events arrive as from SendGrid, and the runs are real."""

import asyncio
import base64
import json
import time
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr
from temporalio.client import Client

from instances import Instance, running_instance
from mail_servers import KEY, SendGridServer, sendgrid_server
from receivers import receiver
from timeouts import WAIT_TIMEOUT

SENDGRID = ec.generate_private_key(ec.SECP256R1())
PUBLIC = base64.b64encode(SENDGRID.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
TRACKED = {"to": ["ann@acme.example", "bob@acme.example"], "tracking": True}


@pytest.fixture
async def sendgrid() -> AsyncIterator[SendGridServer]:
    async with sendgrid_server() as server:
        yield server


@pytest.fixture
async def instance(temporal: Client, tmp_path: Path, sendgrid: SendGridServer) -> AsyncIterator[Instance]:
    settings = {
        "sendgrid_api_key": SecretStr(KEY),
        "sendgrid_host": sendgrid.host,
        "sendgrid_verification_key": PUBLIC,
    }
    async with running_instance(temporal, tmp_path, **settings) as built, built.working():
        yield built


async def report(instance: Instance, message: dict[str, Any], *words: tuple[str, str], **fields: Any) -> httpx.Response:
    """Say of a message that was taken what became of it, as SendGrid does: signed."""
    events = [
        {
            "email": address,
            "timestamp": int(time.time()),
            "event": kind,
            "sg_event_id": uuid.uuid4().hex,
            "attempt": "5",  # SendGrid's own count of tries
            **message["personalizations"][0]["custom_args"],
            **fields,
        }
        for kind, address in words
    ]
    body, now = json.dumps(events).encode(), str(int(time.time()))
    signature = SENDGRID.sign(now.encode() + body, ec.ECDSA(hashes.SHA256()))
    headers = {
        "content-type": "application/json",
        "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
        "x-twilio-email-event-webhook-timestamp": now,
    }
    async with httpx.AsyncClient(transport=instance.http._transport, base_url="http://hookkeeper.test") as keyless:
        return await keyless.post("/v1/providers/sendgrid/events", content=body, headers=headers)


async def sent(instance: Instance, sendgrid: SendGridServer) -> tuple[str, dict[str, Any]]:
    """Send an event whose email waits for word."""
    await instance.webhook(None, emails=[TRACKED])
    event_id = (await instance.send())["id"]
    await instance.until_delivery(event_id, "sent")
    (message,) = await sendgrid.got(1)
    return event_id, message


async def health(instance: Instance) -> dict[str, Any]:
    (webhook,) = (await instance.http.get("/v1/webhooks", params={"tenant": instance.tenant})).json()["items"]
    return webhook["health"]  # type: ignore[no-any-return]


@pytest.mark.promise("docs/emails.md")
async def test_an_email_is_delivered_once_all_recipients_have_it(instance: Instance, sendgrid: SendGridServer) -> None:
    event_id, message = await sent(instance, sendgrid)
    answer = await report(instance, message, ("deferred", "ann@acme.example"), ("delivered", "ann@acme.example"))
    assert (answer.status_code, answer.json()) == (200, {"recorded": 2, "ignored": 0})
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (delivery := (await instance.event(event_id))["deliveries"][0])["awaiting"] != ["bob@acme.example"]:
            await asyncio.sleep(0.02)
    assert delivery["status"] == "sent"
    await report(instance, message, ("delivered", "bob@acme.example"))
    event = await instance.until_final(event_id)
    assert event["status"] == "succeeded"
    assert [receipt["kind"] for receipt in event["deliveries"][0]["receipts"]] == ["deferred", "delivered", "delivered"]
    assert len(event["deliveries"][0]["attempts"]) == 1
    history = (await instance.run(event_id).fetch_history()).to_json()
    assert (
        "wait for receipts of ann@acme.example, bob@acme.example" in base64.b64decode(_timer_summary(history)).decode()
    )


def _timer_summary(history: str) -> str:
    events = json.loads(history)["events"]
    timer = next(event for event in events if event["eventType"] == "EVENT_TYPE_TIMER_STARTED")
    assert timer["timerStartedEventAttributes"]["startToFireTimeout"] == "259200s"
    return str(timer["userMetadata"]["summary"]["data"])


@pytest.mark.promise("docs/emails.md")
async def test_a_bounce_fails_the_delivery_and_the_address_is_mailed_no_more(
    instance: Instance, sendgrid: SendGridServer
) -> None:
    event_id, message = await sent(instance, sendgrid)
    await report(instance, message, ("bounce", "ann@acme.example"), type="bounce", reason="550 no such user")
    event = await instance.until_final(event_id)
    (delivery,) = event["deliveries"]
    assert (event["status"], delivery["reason"]) == ("failed", "bounced")
    assert delivery["receipts"][-1]["detail"] == "550 no such user"
    (one,) = (await health(instance))["failing"]
    assert (one["target"], one["error"], one["event_id"]) == ("email.1", "bounced", event_id)
    assert one["text"] == "ann@acme.example: 550 no such user"
    await report(instance, message, ("delivered", "bob@acme.example"))
    assert (await health(instance))["status"] == "degraded", "the other address of that email says nothing"

    listed = (await instance.http.get("/v1/suppressions", params={"tenant": instance.tenant})).json()["items"]
    assert [(item["address"], item["reason"]) for item in listed] == [("ann@acme.example", "bounced")]

    again = (await instance.send())["id"]
    await instance.until_delivery(again, "sent")
    _, second = await sendgrid.got(2)
    assert [to["email"] for to in second["personalizations"][0]["to"]] == ["bob@acme.example"]
    (delivery,) = (await instance.event(again))["deliveries"]
    assert delivery["awaiting"] == ["bob@acme.example"]
    assert "ann@acme.example" in delivery["attempts"][0]["response_excerpt"]
    assert (await health(instance))["status"] == "degraded", "nothing is known of the second one"
    await report(instance, second, ("delivered", "bob@acme.example"))
    assert (await health(instance))["status"] == "healthy"

    await report(instance, second, ("bounce", "bob@acme.example"), type="bounce", reason="550")
    third = await instance.until_final((await instance.send())["id"])
    (delivery,) = third["deliveries"]
    assert (delivery["reason"], delivery["attempts"][0]["error"]) == ("rejected", "suppressed")
    assert len(sendgrid.requests) == 2
    assert (await health(instance))["failing"][0]["error"] == "suppressed"

    removed = await instance.http.delete("/v1/suppressions/ann@acme.example", params={"tenant": instance.tenant})
    assert removed.status_code == 204
    await instance.send()
    assert len(await sendgrid.got(3)) == 3


async def test_receipts_for_closed_runs_are_ignored_and_unsigned_ones_refused(
    instance: Instance, sendgrid: SendGridServer
) -> None:
    event_id, message = await sent(instance, sendgrid)
    assert (await instance.command(event_id, "cancel")).status_code == 202
    assert (await instance.until_closed(event_id))["status"] == "cancelled"
    answer = await report(instance, message, ("delivered", "ann@acme.example"))
    assert answer.json() == {"recorded": 0, "ignored": 1}
    forged = await instance.http.post("/v1/providers/sendgrid/events", json=[])
    assert forged.status_code == 401


async def test_an_email_without_tracking_is_not_awaited(instance: Instance, sendgrid: SendGridServer) -> None:
    await instance.webhook(None, emails=[{"to": ["ann@acme.example"]}])
    event = await instance.until_final((await instance.send())["id"])
    assert event["status"] == "succeeded"
    assert event["deliveries"][0]["awaiting"] == []


async def test_an_email_without_receipts_counts_as_delivered(
    instance: Instance, sendgrid: SendGridServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.delivery_status.RECEIPT_TIMEOUT", timedelta(seconds=1))
    await instance.webhook(None, emails=[TRACKED])
    event = await instance.until_closed((await instance.send())["id"])
    assert (event["status"], event["deliveries"][0]["receipts"]) == ("succeeded", [])


async def test_a_bounce_that_is_reported_later_is_alerted(instance: Instance, sendgrid: SendGridServer) -> None:
    async with receiver() as desk:
        body = '{"kind": {{ alert.kind }}, "channel": {{ alert.channel }}, "error": {{ alert.last_outcome.error }}}'
        alerts = {"notifications": [{"http": {"url": desk.url, "body": body}}]}
        await instance.webhook(None, emails=[TRACKED], alert_after={"attempts": 1}, on_failure=alerts)
        event = (await instance.send())["id"]
        await instance.until_delivery(event, "sent")
        (message,) = await sendgrid.got(1)
        await report(instance, message, ("bounce", "ann@acme.example"), type="bounce", reason="550 no such user")
        said = [json.loads(request.body) for request in await desk.got(1)]
        assert {"kind": "failing", "channel": "email", "error": "bounced"} in said
