"""Record real histories for test_replay.py: `python -m pytest tests/workflows/record_histories.py`.

`tests/workflows/record_firings.py` records those of schedules in the same way.

Run it for a new kind of story, never to make a failing replay pass: the saved histories stand for open runs.
"""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from temporalio.client import Client

from crowds import crowd
from hookkeeper import ids
from hookkeeper.messages.event import Receipt
from hookkeeper.messages.ordered_queue import QueuePosition
from house import House, house
from mail_servers import KEY, SendGridServer, sendgrid_server
from receivers import Answer, Receiver, receiver

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
    await forced_across_its_time(home, inbox)
    await redelivered(home, inbox)
    await scheduled(home, inbox)
    await large(home, inbox)


async def test_record_parts(home: House, inbox: Receiver) -> None:
    await in_parts(home, inbox)
    await in_parts_cancelled(home, inbox)


async def in_parts(home: House, inbox: Receiver) -> None:
    """The second part waits for a retry; the first is over, and begins again; both hear signals; one fails."""
    webhooks = await crowd(home, inbox.url, 100)
    bad = await home.webhook(inbox.url + "/bad", retry={"schedule": [3600]})
    inbox.otherwise = Answer(500)
    event_id = (await home.send(deliver_at=in_days(1)))["id"]
    for id_ in webhooks[1:]:
        await home.store.delete(id_, home.tenant)
    await home.command(event_id, "release")
    await home.until_delivery(event_id, "retrying", 1, n=100)
    await home.until_delivery(event_id, "failed", 1)
    inbox.otherwise = Answer()
    await home.command(event_id, "redeliver", webhooks[0])
    await home.until_delivery(event_id, "succeeded", 2)
    await home.run(event_id).signal("hold", bad["id"])
    await home.until_delivery(event_id, "held", 1, n=100)
    inbox.otherwise = Answer(410)
    await home.run(event_id).signal("retry", bad["id"])
    await save(home, event_id, "in_parts")
    part = home.temporal.get_workflow_handle(ids.part_id(home.tenant, event_id, 2))
    write(HISTORIES / "part.json", (await part.fetch_history()).to_json())
    for id_ in (webhooks[0], bad["id"]):
        await home.store.delete(id_, home.tenant)


async def in_parts_cancelled(home: House, inbox: Receiver) -> None:
    webhooks = await crowd(home, inbox.url, 101)
    by_command, by_temporal = [(await home.send(deliver_at=in_days(1)))["id"] for _ in range(2)]
    await home.command(by_command, "cancel")
    await home.command(by_temporal, "hold", webhooks[0])
    await home.run(by_temporal).cancel()
    await save(home, by_command, "in_parts_cancelled")
    await save(home, by_temporal, "in_parts_cancelled_by_temporal")


async def test_record_limited(home: House, inbox: Receiver) -> None:
    """It waits for the grant, is held, released and retried; then no event waits."""
    webhook = await fresh(home, inbox, rate_limit=0.01)
    events = [(await home.send())["id"] for _ in range(3)]
    await inbox.got(1)
    await asyncio.sleep(1)
    waiting = [event for event in events if (await home.event(event))["status"] == "delivering"]
    for command in ("hold", "release", "retry"):
        await home.command(waiting[-1], command)
        await asyncio.sleep(0.5)
    await save(home, waiting[-1], "limited")
    await drop(home, webhook)


async def test_record_paused(home: House, inbox: Receiver) -> None:
    """It is held while its webhook is paused, and let go; another waits for its time, which is moved."""
    webhook = await fresh(home, inbox)
    path = f"/v1/webhooks/{webhook['id']}"
    await home.http.post(f"{path}/pause")
    held, moved = (await home.send())["id"], (await home.send(deliver_at=in_days(1)))["id"]
    await home.until_delivery(held, "held")
    await home.http.post(f"{path}/resume")
    await save(home, held, "paused")
    query = {"tenant": home.tenant}
    await home.http.post(f"/v1/events/{moved}/reschedule", params=query, json={"deliver_at": in_days(2)})
    await home.command(moved, "release")
    await save(home, moved, "moved")
    await drop(home, webhook)


@pytest.mark.timeout(300)
async def test_record_ordered(home: House, inbox: Receiver) -> None:
    """A position without a run, an event that blocks, one that is skipped, one that was scheduled; then none."""
    webhook = await fresh(home, inbox, 500, 200, 500, ordered=True, retry={"schedule": [0.1]})
    nobody = QueuePosition(webhook_id=str(webhook["id"]), tenant=home.tenant, position="nobody")
    await home.gateway.ordered_queues.enqueue(nobody)
    blocks = (await home.send())["id"]
    scheduled = (await home.send(deliver_at=in_days(1)))["id"]
    await home.until(blocks, "succeeded")
    await home.http.patch(f"/v1/webhooks/{webhook['id']}", json={"retry": {"schedule": [3600]}})
    skipped = (await home.send())["id"]
    await home.until_delivery(skipped, "retrying")
    await home.command(scheduled, "release")
    await home.http.patch(f"/v1/webhooks/{webhook['id']}", json={"order_policy": "skip"})
    await save(home, scheduled, "ordered_scheduled")
    await home.command(skipped, "retry")
    await save(home, skipped, "ordered_skipped")
    await save(home, blocks, "ordered")
    queue = home.temporal.get_workflow_handle(ids.ordered_queue_id(str(webhook["id"])))
    await queue.result()
    write(HISTORIES / "ordered_queue.json", (await queue.fetch_history()).to_json())
    await drop(home, webhook)


async def test_record_probed(temporal: Client, tmp_path: Path, inbox: Receiver) -> None:
    """A webhook that fails for too long is disabled, with an alert; the first probe fails, the second succeeds."""
    inbox.fails(500, 500, 500)
    async with receiver() as desk, house(temporal, tmp_path, probe_interval=timedelta(seconds=1)) as home:
        policy = {"retry": {"schedule": [0.1, 0.1]}, "disable_after": 0.05}
        async with home.working():
            on_failure = {"notifications": [{"http": {"url": desk.url}}]}
            webhook = await home.webhook(inbox.url, on_failure=on_failure, **policy)
            await save(home, (await home.send())["id"], "disabled")
            probe = home.temporal.get_workflow_handle(ids.probe_id(str(webhook["id"])))
            await probe.result()
            write(HISTORIES / "probed.json", (await probe.fetch_history()).to_json())


@pytest.mark.timeout(300)
async def test_record_bulk_work(home: House, inbox: Receiver) -> None:
    """What was held is released, twice over; what has failed is recovered, with a pause in between."""
    webhook = await fresh(home, inbox, retry={"schedule": []})
    inbox.otherwise = Answer(500)
    url = f"/v1/webhooks/{webhook['id']}"
    await home.http.post(f"{url}/pause")
    events = [(await home.send())["id"] for _ in range(3)]
    for event in events:
        await home.until_delivery(event, "held")
    for _ in range(2):
        await home.http.post(f"{url}/resume")
        await asyncio.sleep(1)
    for event in events:
        await home.until(event, "failed")
    await asyncio.sleep(1)  # visibility follows
    recovery = await home.http.post(f"{url}/recover", json={"since": in_days(-1), "rate": 0.5})
    await asyncio.sleep(1)
    for command in ("pause", "resume"):
        await home.http.post(f"/v1/recoveries/{recovery.json()['id']}/{command}")
        await asyncio.sleep(3)
    for name, workflow_id in (
        ("released", ids.release_id(str(webhook["id"]))),
        ("recovered", ids.recovery_workflow_id(recovery.json()["id"])),
    ):
        run = home.temporal.get_workflow_handle(str(workflow_id))
        await run.result()
        write(HISTORIES / f"{name}.json", (await run.fetch_history()).to_json())
    await drop(home, webhook)


async def test_record_channels(temporal: Client, tmp_path: Path, inbox: Receiver) -> None:
    async with sendgrid_server() as sendgrid:
        settings = {
            "sendgrid_api_key": SecretStr(KEY),
            "sendgrid_host": sendgrid.host,
            "sendgrid_verification_key": "unused: the test records the receipts itself",
        }
        async with house(temporal, tmp_path, **settings) as home, home.working():
            await channels(home, inbox, sendgrid)
            await tracked(home, sendgrid)
            await alerted(home, inbox)


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


async def alerted(home: House, inbox: Receiver) -> None:
    """The delivery fails, then the first try to tell of it."""
    policy = {"retry": {"schedule": []}, "on_failure": {"notifications": [{"http": {"url": inbox.url}}]}}
    webhook = await fresh(home, inbox, 500, 503, **policy)
    await save(home, (await home.send())["id"], "alerted")
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


async def forced_across_its_time(home: House, inbox: Receiver) -> None:
    """A retry is forced before it is due, and fails after that time."""
    webhook = await fresh(home, inbox, retry={"schedule": [3, 0.1]})
    inbox.answers += [Answer(500), Answer(500, delay=5)]
    event_id = (await home.send())["id"]
    await home.until_delivery(event_id, "retrying", 1)
    await home.command(event_id, "retry")
    await home.until(event_id, "succeeded")
    await save(home, event_id, "forced_across_its_time")
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
    await home.until_closed(event_id)
    write(HISTORIES / f"{name}.json", (await home.run(event_id).fetch_history()).to_json())


def write(path: Path, text: str) -> None:
    """Save a run's history, without the name and the paths of the machine that it ran on."""
    identity = re.compile(r'"(\d+@[^"]+)"')
    hosts = {match.split("@")[1] for match in identity.findall(text)}
    text = identity.sub('"worker"', text)
    for host in hosts:
        text = text.replace(host, "worker")
    text = re.sub(r'"stackTrace":\s*"(?:[^"\\]|\\.)*"', '"stackTrace": ""', text)
    path.write_text(json.dumps(json.loads(text), indent=1) + "\n")
