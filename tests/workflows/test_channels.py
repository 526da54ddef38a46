"""One event through all channels: real runs, real servers for URL, mail and services."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from temporalio.client import Client

from hookkeeper.content.payload import Payload
from instances import Instance, running_instance
from mail_servers import KEY, SendGridServer, sendgrid_server, smtp_server
from receivers import Answer, Receiver, receiver
from timeouts import WAIT_TIMEOUT

QUICK = {"schedule": [0.1, 0.1, 0.1, 0.1]}
TO = {"to": ["ann@acme.example"]}
BOMB = "{% for i in range(10**9) %}{% endfor %}"


@pytest.fixture
async def sendgrid() -> AsyncIterator[SendGridServer]:
    async with sendgrid_server() as server:
        yield server


@pytest.fixture
async def instance(temporal: Client, tmp_path: Path, sendgrid: SendGridServer) -> AsyncIterator[Instance]:
    """An instance that mails through SendGrid."""
    settings = {
        "sendgrid_api_key": SecretStr(KEY),
        "sendgrid_host": sendgrid.host,
        "email_from": "Shop <shop@shop.example>",
    }
    async with running_instance(temporal, tmp_path, **settings) as built, built.working():
        yield built


async def summaries(instance: Instance, event_id: str) -> list[str]:
    """Return what the timeline of the Temporal web UI says of each step."""
    history = await instance.run(event_id).fetch_history()
    metadata = [event.user_metadata.summary for event in history.events if event.HasField("user_metadata")]
    return [json.loads(summary.data) for summary in metadata if summary.data]


def failing(deliveries: list[dict[str, Any]]) -> dict[str, str]:
    return {delivery["id"]: delivery["reason"] for delivery in deliveries if delivery["status"] != "succeeded"}


@pytest.mark.promise("README.md")
async def test_each_target_of_a_webhook_is_a_delivery_with_its_own_attempts(
    instance: Instance, inbox: Receiver, sendgrid: SendGridServer
) -> None:
    """One webhook with a URL, two messages and two notifications: each is a delivery with its own attempts."""
    async with receiver() as ntfy:
        service = f"ntfy://{urlsplit(ntfy.url).netloc}/orders"
        webhook = await instance.webhook(
            inbox.url,
            emails=[
                {
                    "to": ["Ann <ann@acme.example>", "{{ event.data.customer }}"],
                    "cc": ["boss@acme.example"],
                    "subject": "Order {{ event.data.order }} was paid",
                    "html": "<p>{{ event.data.note }}</p>",
                },
                {"to": ["archive@acme.example"]},
            ],
            notifications=[
                {"service": service, "title": "Paid", "body": "Order {{ event.data.order }}"},
                {"http": {"url": f"{inbox.url}/notes?key=hidden", "body": '{"text": {{ event.data.note }}}'}},
            ],
        )
        data = {"order": 4711, "customer": "cid@cid.example", "note": '<b>"you"</b>'}
        event = await instance.until_final((await instance.send(data=data))["id"])
        (posted,) = await ntfy.got(1)

    id_ = webhook["id"]
    assert event["status"] == "succeeded", event
    assert [(delivery["id"], delivery["channel"], delivery["target"]) for delivery in event["deliveries"]] == [
        (id_, "webhook", inbox.url),
        (f"{id_}.email.1", "email", "ann@acme.example, cid@cid.example"),
        (f"{id_}.email.2", "email", "archive@acme.example"),
        (f"{id_}.notification.1", "notification", "ntfy"),
        (f"{id_}.notification.2", "notification", f"POST http://{urlsplit(inbox.url).netloc}"),
    ]
    assert [len(delivery["attempts"]) for delivery in event["deliveries"]] == [1] * 5
    assert [delivery["attempts"][0]["status_code"] for delivery in event["deliveries"]][:3] == [200, 202, 202]

    first = next(message for message in sendgrid.messages if "html" in json.dumps(message["content"]))
    envelope = first["personalizations"][0]
    assert [mailbox["email"] for mailbox in envelope["to"]] == ["ann@acme.example", "cid@cid.example"]
    assert [mailbox["email"] for mailbox in envelope["cc"]] == ["boss@acme.example"]
    assert envelope["custom_args"]["hookkeeper_event_id"] == event["id"]
    assert first["from"]["email"] == "shop@shop.example"
    assert first["subject"] == envelope.get("subject", "Order 4711 was paid")
    assert "<b>" not in first["content"][0]["value"]
    assert json.loads(posted.body)["message"].endswith("Order 4711")
    note = next(request for request in inbox.requests if "notes" in request.path)
    assert json.loads(note.body) == {"text": '<b>"you"</b>'}

    said = await summaries(instance, event["id"])
    assert f"POST {inbox.url} · attempt 1" in said
    for start in ("email to Ann <ann@acme.example>, ", "email to archive@", "notify ntfy", "notify POST http://"):
        assert any(line.startswith(start) and line.endswith("attempt 1") for line in said), said
    assert "hidden" not in json.dumps(event)


async def test_a_slow_mail_provider_delays_no_retry_of_a_url(
    instance: Instance, inbox: Receiver, sendgrid: SendGridServer
) -> None:
    """While the mail provider takes its time, a failed webhook is attempted again."""
    sendgrid.answers.append(Answer(202, gate=(gate := asyncio.Event())))
    inbox.fails(500)
    await instance.webhook(inbox.url, emails=[TO], retry={"schedule": [0.1]})
    event_id = (await instance.send())["id"]
    await inbox.got(2)
    event = await instance.event(event_id)
    assert [delivery["attempts"] for delivery in event["deliveries"] if delivery["channel"] == "email"] == [[]]
    gate.set()
    assert (await instance.until_final(event_id))["status"] == "succeeded"


@pytest.mark.promise("docs/emails.md")
async def test_an_email_is_sent_once_the_provider_is_up(instance: Instance, sendgrid: SendGridServer) -> None:
    sendgrid.fails(503, 503, 500)
    await instance.webhook(None, emails=[TO], retry=QUICK)
    event = await instance.until_final((await instance.send())["id"])
    (delivery,) = event["deliveries"]
    assert [attempt["status_code"] for attempt in delivery["attempts"]] == [503, 503, 500, 202]
    assert delivery["status"] == "succeeded"
    assert len(sendgrid.messages) == 1
    said = await summaries(instance, event["id"])
    assert "email to ann@acme.example · attempt 4" in said
    assert "retry in 0.1 s · http_503" in "\n".join(said).replace("0.10", "0.1") or any("http_503" in x for x in said)


@pytest.mark.promise("docs/emails.md")
async def test_an_email_that_the_provider_rejects_is_not_retried(instance: Instance, sendgrid: SendGridServer) -> None:
    sendgrid.fails(400)
    await instance.webhook(None, emails=[TO], retry=QUICK)
    event = await instance.until_final((await instance.send())["id"])
    (delivery,) = event["deliveries"]
    assert (delivery["status"], delivery["reason"]) == ("failed", "rejected")
    assert "answer 400" in delivery["attempts"][0]["response_excerpt"]
    assert len(delivery["attempts"]) == 1


@pytest.mark.promise("docs/payloads.md")
@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"template": BOMB}, "line"),
        ({"template": "{% set x = 'aaaaaaaaaaaaaaaa' %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}"}, ""),
        ({"template": '{"a": 1,\n "b": {{ event.data.missing.deep }}}'}, "2"),
        ({"template": '{"a": {{ event.type | safe }}}'}, "JSON"),
    ],
    ids=["loop", "memory", "undefined", "not json"],
)
async def test_a_bad_template_fails_its_own_delivery_only(
    instance: Instance, inbox: Receiver, sendgrid: SendGridServer, payload: dict[str, Any], words: str
) -> None:
    broken = await instance.webhook(inbox.url, emails=[TO], retry=QUICK)
    # The API would refuse some of these templates: an event can bring about the same with others.
    await instance.store.webhooks.update(broken["id"], None, {"payload": Payload.model_validate(payload)})
    healthy = await instance.webhook(inbox.url)
    event = await instance.until_final((await instance.send())["id"])
    assert failing(event["deliveries"]) == {broken["id"]: "bad_template"}
    (attempt,) = next(delivery for delivery in event["deliveries"] if delivery["id"] == broken["id"])["attempts"]
    assert attempt["error"] == "bad_template"
    assert words in attempt["response_excerpt"]
    assert len(inbox.requests) == 1, f"nothing was sent to {broken['id']}, one request to {healthy['id']}"
    assert len(sendgrid.messages) == 1


@pytest.mark.promise("docs/payloads.md")
async def test_custom_payloads_are_signed(instance: Instance, inbox: Receiver) -> None:
    from standardwebhooks import Webhook

    webhook = await instance.webhook(inbox.url, payload={"template": '{"order": {{ event.data.order }}}'})
    events = await instance.webhook(inbox.url, payload={"format": "cloudevents-binary", "static": {"shop": "eu"}})
    await instance.until_final((await instance.send(data={"order": 'a\n"b"'}))["id"])
    bodies = {}
    for request in inbox.requests:
        for sender in (webhook, events):
            try:
                Webhook(sender["secret"]).verify(request.body, request.headers)
            except Exception:  # noqa: BLE001 - the other webhook's key
                continue
            bodies[sender["id"]] = request
    assert json.loads(bodies[webhook["id"]].body) == {"order": 'a\n"b"'}
    headers = bodies[events["id"]].headers
    assert (headers["ce-type"], headers["ce-shop"], headers["ce-specversion"]) == ("order.paid", "eu", "1.0")
    assert json.loads(bodies[events["id"]].body) == {"order": 'a\n"b"'}


@pytest.mark.promise("docs/filters.md")
async def test_an_event_that_a_filter_excludes_has_no_delivery(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url, filter="event.data.amount >= 100")
    wanted = await instance.send(data={"amount": 100.5})
    unwanted = await instance.send(data={"amount": 99})
    broken, again = [await instance.send(data={}, id="broken") for _ in range(2)]
    assert again["duplicate"]
    assert [len(accepted["deliveries"]) for accepted in (wanted, unwanted, broken)] == [1, 0, 0]
    event = await instance.until_final(broken["id"])
    assert event["status"] == "no_webhook"
    (left_out,) = event["left_out"]
    assert (left_out["webhook_id"], left_out["error"]) == (webhook["id"], "bad_filter")
    assert left_out["error_text"].startswith("The filter fails, so events are left out: ")
    assert webhook["id"] in broken["note"]
    assert unwanted["note"]
    shown = (await instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()
    assert shown["filter_errors"] == 1
    assert shown["filter_error"]
    assert shown["health"]["status"] == "failing", "an event was not sent: it counts at once"
    assert [failing["target"] for failing in shown["health"]["failing"]] == ["filter"]
    await instance.until_final((await instance.send(data={"amount": 200}))["id"])
    shown = (await instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()
    assert shown["health"]["status"] == "failing", "a later event does not bring back the one that was left out"
    change = await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"filter": "has(event.data.amount)"})
    assert change.json()["filter_errors"] == 0
    assert change.json()["health"]["status"] == "healthy"


@pytest.mark.promise("docs/filters.md")
async def test_a_filter_that_loops_costs_little_and_matches_nothing(instance: Instance, inbox: Receiver) -> None:
    items = "event.data"
    bomb = f"{items}.all(a, {items}.all(b, {items}.all(c, {items}.all(d, {items}.all(e, a + b + c + d + e >= 0)))))"
    webhook = await instance.webhook(inbox.url, filter=bomb)
    sent = await instance.send(data=list(range(300)))
    assert sent["deliveries"] == []
    shown = (await instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()
    assert shown["filter_errors"] == 1


@pytest.mark.promise("docs/pause-and-recovery.md")
async def test_a_disabled_webhook_holds_all_its_channels(
    instance: Instance, inbox: Receiver, sendgrid: SendGridServer
) -> None:
    note = {"http": {"url": inbox.url}}
    await instance.webhook(inbox.url, emails=[TO], notifications=[note], enabled=False)
    event_id = (await instance.send())["id"]
    for n in range(3):  # each channel records its own step
        await instance.until_delivery(event_id, "held", n=n)
    assert not inbox.requests
    assert not sendgrid.requests


async def test_an_email_that_was_removed_from_its_webhook_is_cancelled(
    instance: Instance, sendgrid: SendGridServer
) -> None:
    """It is removed during the first attempt, so that the second one finds it missing on a slow machine too."""
    is_removed = asyncio.Event()
    sendgrid.answers = [Answer(500, gate=is_removed)] * 2
    webhook = await instance.webhook(None, emails=[TO, TO], retry={"schedule": [0.5]})
    event_id = (await instance.send())["id"]
    async with asyncio.timeout(WAIT_TIMEOUT):
        while len(sendgrid.requests) < 2:
            await asyncio.sleep(0.05)
    await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"emails": [TO]})
    is_removed.set()
    event = await instance.until_final(event_id)
    assert [delivery["status"] for delivery in event["deliveries"]] == ["succeeded", "cancelled"]
    assert event["deliveries"][1]["reason"] == "webhook_deleted"


async def test_removing_an_email_does_not_change_the_deliveries_of_the_others(
    instance: Instance, sendgrid: SendGridServer
) -> None:
    """Ann's is taken away while Bob's waits for a retry: Bob gets his, once, and the new Carl none of this event."""
    ann, bob, carl = [{"to": [f"{name}@acme.example"]} for name in ("ann", "bob", "carl")]
    sendgrid.fails(500, 500)
    webhook = await instance.webhook(None, emails=[ann, bob], retry={"schedule": [3600]})
    event_id = (await instance.send())["id"]
    await instance.until_delivery(event_id, "retrying", n=0)
    await instance.until_delivery(event_id, "retrying", n=1)
    await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"emails": [bob | {"subject": "Corrected"}, carl]})
    assert (await instance.command(event_id, "retry")).status_code == 202
    event = await instance.until_final(event_id)
    assert [(delivery["id"], delivery["status"]) for delivery in event["deliveries"]] == [
        (f"{webhook['id']}.email.1", "cancelled"),
        (f"{webhook['id']}.email.2", "succeeded"),
    ]
    (message,) = sendgrid.messages
    assert (message["personalizations"][0]["to"], message["subject"]) == ([{"email": "bob@acme.example"}], "Corrected")
    later = await instance.send()
    assert [delivery["id"] for delivery in later["deliveries"]] == [f"{webhook['id']}.email.{n}" for n in (2, 3)]


async def test_one_email_can_be_retried_by_command(instance: Instance, sendgrid: SendGridServer) -> None:
    sendgrid.fails(500)
    webhook = await instance.webhook(None, emails=[TO], retry={"schedule": [3600]})
    event_id = (await instance.send())["id"]
    await instance.until_delivery(event_id, "retrying")
    assert (await instance.command(event_id, "retry", f"{webhook['id']}.email.1")).status_code == 202
    event = await instance.until_final(event_id)
    assert [attempt["trigger"] for attempt in event["deliveries"][0]["attempts"]] == ["scheduled", "manual"]


@pytest.mark.promise("docs/emails.md")
async def test_an_email_is_sent_by_smtp_or_captured_and_fails_without_a_provider(
    temporal: Client, tmp_path: Path
) -> None:
    async with (
        smtp_server() as mail,
        running_instance(temporal, tmp_path, smtp_url=SecretStr(mail.url)) as instance,
        instance.working(),
    ):
        await instance.webhook(None, emails=[{**TO, "subject": "Paid: {{ event.data.order }}"}])
        event = await instance.until_final((await instance.send(data={"order": 7}))["id"])
        (delivered,) = await mail.got(1)
    assert event["deliveries"][0]["attempts"][0]["status_code"] == 250
    assert delivered.email["subject"] == "Paid: 7"

    emails = tmp_path / "emails"
    async with running_instance(temporal, tmp_path, email_capture_dir=emails) as instance, instance.working():
        await instance.webhook(None, emails=[TO])
        event = await instance.until_final((await instance.send())["id"])
    (kept,) = emails.glob("*.eml")
    assert "not sent" in event["deliveries"][0]["attempts"][0]["response_excerpt"]
    assert "order.paid" in kept.read_text()

    async with running_instance(temporal, tmp_path) as instance, instance.working():
        await instance.webhook(None, emails=[TO], retry={"schedule": []})
        event = await instance.until_final((await instance.send())["id"])
    assert event["deliveries"][0]["attempts"][0]["error"] == "no_email_provider"
    assert event["status"] == "failed"


@pytest.mark.promise("docs/notifications.md")
async def test_a_notification_retries_like_a_webhook(instance: Instance, inbox: Receiver) -> None:
    inbox.answers.append(Answer(429, "slow down", {"retry-after": "0.3"}))
    inbox.fails(500)
    await instance.webhook(None, notifications=[{"http": {"url": inbox.url, "method": "PUT"}}], retry=QUICK)
    event = await instance.until_final((await instance.send())["id"])
    (delivery,) = event["deliveries"]
    assert [attempt["error"] for attempt in delivery["attempts"]] == ["http_429", "http_500", None]
    assert delivery["attempts"][0]["response_excerpt"] == "slow down"
    gap = inbox.requests[1].at - inbox.requests[0].at
    assert gap >= 0.3


@pytest.mark.promise("docs/notifications.md")
async def test_a_410_of_a_notification_does_not_disable_the_webhook(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(410)
    webhook = await instance.webhook(None, notifications=[{"http": {"url": inbox.url}}], retry=QUICK)
    event = await instance.until_final((await instance.send())["id"])
    assert event["deliveries"][0]["reason"] == "rejected"
    assert (await instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()["enabled"] is True


@pytest.mark.promise("docs/encryption.md")
async def test_no_secret_is_in_history_logs_or_answers(
    instance: Instance, inbox: Receiver, sendgrid: SendGridServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every secret that was configured is looked for wherever people may look."""
    sendgrid.fails(401)
    inbox.fails(500)
    netloc = urlsplit(inbox.url).netloc
    webhook = await instance.webhook(
        f"{inbox.url}?token=secret-in-query",
        headers={"authorization": "Bearer secret-in-header"},
        emails=[TO],
        notifications=[
            {"service": f"ntfy://user:secret-password@{netloc}/orders"},
            {"http": {"url": f"http://{netloc}/secret-in-path", "headers": {"x-key": "secret-in-call"}}},
        ],
        on_failure={"notifications": [{"http": {"url": f"http://{netloc}/secret-in-alert"}}]},
        retry={"schedule": [0.1]},
    )
    event = await instance.until_final((await instance.send())["id"])
    history = (await instance.run(event["id"]).fetch_history()).to_json()
    registered = (await instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()
    shown = json.dumps([event, registered | {"url": "its owner may see it whole"}])
    log = "".join(capfd.readouterr())
    assert "attempt" in log, "the log was captured"
    secrets = [KEY, webhook["secret"], "secret-password", *(f"secret-in-{x}" for x in SECRET_PLACES)]
    for source, text in (("history", history), ("answers", shown), ("log", log)):
        assert not [secret for secret in secrets if secret in text], source


SECRET_PLACES = ("query", "header", "path", "call", "alert")
