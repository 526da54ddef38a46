"""Record real histories for test_replay.py: `python -m pytest tests/workflows/record_histories.py`.

Run it when a new kind of story is worth keeping, never to make a failing replay pass: the saved histories stand for
runs that are open somewhere.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr
from temporalio.client import Client

from house import House, house
from mail_servers import KEY, SendGridServer, sendgrid_server
from receivers import Answer, Receiver
from workflows.models import Receipt

HISTORIES = Path(__file__).parent / "histories"
MESSAGE = {"to": ["ann@acme.example"]}


async def test_record(home: House, inbox: Receiver) -> None:
    HISTORIES.mkdir(exist_ok=True)
    await delivered(home, inbox)
    await retried(home, inbox)
    await exhausted(home, inbox)
    await gone(home, inbox)
    await cancelled(home, inbox)
    await forced_held_and_released(home, inbox)
    await redelivered(home, inbox)
    await scheduled(home, inbox)
    await large(home, inbox)


async def test_record_channels(temporal: Client, tmp_path: Path, inbox: Receiver) -> None:
    async with sendgrid_server() as sendgrid:
        settings = {
            "sendgrid_api_key": SecretStr(KEY),
            "sendgrid_host": sendgrid.host,
            "sendgrid_verification_key": "not asked for: receipts are recorded by hand",
        }
        async with house(temporal, tmp_path, **settings) as home, home.working():
            await channels(home, inbox, sendgrid)
            await tracked(home, sendgrid)
            await told(home, inbox)


async def channels(home: House, inbox: Receiver, sendgrid: SendGridServer) -> None:
    sendgrid.fails(503)
    notes = [{"http": {"url": inbox.url}}] * 2
    webhook = await fresh(home, inbox, emails=[MESSAGE, MESSAGE], notifications=notes, retry={"schedule": [0.1]})
    await save(home, (await home.send())["id"], "channels")
    await drop(home, webhook)


async def tracked(home: House, sendgrid: SendGridServer) -> None:
    webhook = await home.webhook(None, emails=[MESSAGE | {"tracking": True}])
    for words in (("deferred", "delivered"), ("bounced",)):
        event_id = (await home.send())["id"]
        await home.until_delivery(event_id, "sent")
        for kind in words:
            receipt = Receipt(id=kind, attempt=1, address="ann@acme.example", kind=kind, at=datetime.now(UTC))
            await home.gateway.record(home.tenant, event_id, f"{webhook['id']}.email.1", receipt)
        await save(home, event_id, f"tracked_{words[-1]}")
    await drop(home, webhook)


async def told(home: House, inbox: Receiver) -> None:
    """The delivery fails, then the first try to tell of it."""
    policy = {"retry": {"schedule": []}, "on_failure": {"notifications": [{"http": {"url": inbox.url}}]}}
    webhook = await fresh(home, inbox, 500, 503, **policy)
    await save(home, (await home.send())["id"], "told")
    await drop(home, webhook)


async def delivered(home: House, inbox: Receiver) -> None:
    webhook = await fresh(home, inbox)
    await save(home, (await home.send())["id"], "delivered")
    await drop(home, webhook)


async def retried(home: House, inbox: Receiver) -> None:
    webhook = await fresh(home, inbox, 503, 500, retry={"schedule": [0.1, 0.1]})
    await save(home, (await home.send())["id"], "retried")
    await drop(home, webhook)


async def exhausted(home: House, inbox: Receiver) -> None:
    webhooks = [await fresh(home, inbox, retry={"schedule": [0.1]}) for _ in range(2)]
    inbox.otherwise = Answer(500)
    await save(home, (await home.send())["id"], "exhausted")
    inbox.otherwise = Answer()
    for webhook in webhooks:
        await drop(home, webhook)


async def gone(home: House, inbox: Receiver) -> None:
    webhook = await fresh(home, inbox, 410)
    await save(home, (await home.send())["id"], "gone")
    await drop(home, webhook)


async def cancelled(home: House, inbox: Receiver) -> None:
    webhook = await fresh(home, inbox, 500, 500, retry={"schedule": [3600]})
    by_update, by_temporal = [(await home.send())["id"] for _ in range(2)]
    for event_id in (by_update, by_temporal):
        await home.until_delivery(event_id, "retrying", 1)
    await home.command(by_update, "cancel")
    await home.run(by_temporal).cancel()
    await save(home, by_update, "cancelled")
    await save(home, by_temporal, "cancelled_by_temporal")
    await drop(home, webhook)


async def forced_held_and_released(home: House, inbox: Receiver) -> None:
    webhook = await fresh(home, inbox, 500, 500, retry={"schedule": [0.5]})
    event_id = (await home.send())["id"]
    await home.until_delivery(event_id, "retrying", 1)
    await home.command(event_id, "hold")
    await home.run(event_id).signal("retry", webhook["id"])
    await home.until_delivery(event_id, "held", 2)
    await home.command(event_id, "release")
    await save(home, event_id, "forced_held_and_released")
    await drop(home, webhook)


async def redelivered(home: House, inbox: Receiver) -> None:
    webhook = await fresh(home, inbox, 500, 500, retry={"schedule": []})
    event_id = (await home.send())["id"]
    await home.until_final(event_id)
    await home.http.patch(f"/v1/webhooks/{webhook['id']}", json={"retry": {"schedule": [0.1]}})
    await home.command(event_id, "retry")
    await home.until(event_id, "succeeded")
    await save(home, event_id, "redelivered")
    await drop(home, webhook)


async def scheduled(home: House, inbox: Receiver) -> None:
    webhook = await fresh(home, inbox)
    event_id = (await home.send(deliver_at=in_days(1)))["id"]
    later = {"deliver_at": in_days(2)}
    await home.http.post(f"/v1/events/{event_id}/reschedule", params={"tenant": home.tenant}, json=later)
    await home.command(event_id, "release")
    await save(home, event_id, "scheduled")
    await drop(home, webhook)


async def large(home: House, inbox: Receiver) -> None:
    webhook = await fresh(home, inbox, 500, retry={"schedule": [0.1]})
    await save(home, (await home.send(data={"text": "x" * 40_000}))["id"], "large")
    await drop(home, webhook)


def in_days(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


async def fresh(home: House, inbox: Receiver, *statuses: int, **fields: object) -> dict[str, object]:
    inbox.fails(*statuses)
    return await home.webhook(inbox.url, **fields)


async def drop(home: House, webhook: dict[str, object]) -> None:
    await home.http.delete(f"/v1/webhooks/{webhook['id']}")


async def save(home: House, event_id: str, name: str) -> None:
    """Save the run's history, without the name and the paths of the machine that it ran on."""
    await home.until_closed(event_id)
    text = (await home.run(event_id).fetch_history()).to_json()
    identity = re.compile(r'"(\d+@[^"]+)"')
    hosts = {match.split("@")[1] for match in identity.findall(text)}
    text = identity.sub('"worker"', text)
    for host in hosts:
        text = text.replace(host, "worker")
    text = re.sub(r'"stackTrace":\s*"(?:[^"\\]|\\.)*"', '"stackTrace": ""', text)
    (HISTORIES / f"{name}.json").write_text(json.dumps(json.loads(text), indent=1) + "\n")
