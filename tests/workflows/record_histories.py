"""Record real histories for test_replay.py: `python -m pytest tests/workflows/record_histories.py`.

`tests/workflows/record_firings.py` records those of schedules in the same way.

Run it for a new kind of story, never to make a failing replay pass: the saved histories stand for open runs.
"""

import asyncio
import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError

import shared_runs
from crowds import crowd
from hookkeeper import ids
from hookkeeper.messages.event import EventInput, Receipt
from instances import Instance, running_instance, without_registry
from mail_servers import KEY, SendGridServer, sendgrid_server
from receivers import Answer, Receiver, receiver

HISTORIES = Path(__file__).parent / "histories"
MESSAGE = {"to": ["ann@acme.example"]}


async def test_record(instance: Instance, inbox: Receiver) -> None:
    HISTORIES.mkdir(exist_ok=True)
    await delivered(instance, inbox)
    await retried(instance, inbox)
    await exhausted(instance, inbox)
    await gone(instance, inbox)
    await cancelled(instance, inbox)
    await forced_held_and_released(instance, inbox)
    await forced_across_its_time(instance, inbox)
    await redelivered(instance, inbox)
    await scheduled(instance, inbox)
    await large(instance, inbox)


async def test_record_siblings(instance: Instance, inbox: Receiver) -> None:
    """The first run starts the second, which is held and retried while the first begins again after its end."""
    webhooks = await crowd(instance, inbox.url, 100)
    bad = await instance.webhook(inbox.url + "/bad", retry={"schedule": [3600]})
    inbox.otherwise = Answer(500)
    event_id = (await instance.send(deliver_at=in_days(1)))["id"]
    for id_ in webhooks[1:]:
        await instance.store.webhooks.delete(id_, instance.tenant)
    await instance.command(event_id, "hold", webhooks[0])
    await instance.command(event_id, "release")
    await instance.until_delivery(event_id, "retrying", 1, n=100)
    inbox.otherwise = Answer()
    await instance.command(event_id, "retry", webhooks[0])
    await instance.until_delivery(event_id, "succeeded", 1)
    await instance.command(event_id, "hold", bad["id"])
    inbox.otherwise = Answer(410)
    await instance.command(event_id, "retry", bad["id"])
    await save(instance, event_id, "siblings")
    second = instance.temporal.get_workflow_handle(ids.run_of(instance.tenant, event_id, 2))
    write(HISTORIES / "sibling.json", (await second.fetch_history()).to_json())


async def test_record_deferred(instance: Instance, inbox: Receiver) -> None:
    """One event waits for its time; another one is also held, released and retried while it waits."""
    webhook = await fresh(instance, inbox, rate_limit=0.5)
    _, deferred = [(await instance.send())["id"] for _ in range(2)]
    await save(instance, deferred, "deferred")
    await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"rate_limit": 0.01})
    _, commanded = [(await instance.send())["id"] for _ in range(2)]
    await asyncio.sleep(1)
    for command in ("hold", "release", "retry"):
        await instance.command(commanded, command)
        await asyncio.sleep(0.5)
    await save(instance, commanded, "deferred_and_commanded")
    await drop(instance, webhook)


async def test_record_forced_across_its_recheck(instance: Instance, inbox: Receiver) -> None:
    """A webhook holds a delivery, which is to be rechecked; a retry is forced before, and fails; then it goes on."""
    webhook = await fresh(instance, inbox, retry={"schedule": [3600, 3600]})
    await instance.store.webhooks.set_paused(str(webhook["id"]), instance.tenant, True)
    event_id = (await instance.send())["id"]
    await instance.until_delivery(event_id, "held")
    await instance.store.webhooks.set_paused(
        str(webhook["id"]), instance.tenant, False
    )  # releases nothing, unlike the API
    inbox.answers += [Answer(500, delay=2)]
    await instance.command(event_id, "retry", str(webhook["id"]))
    await inbox.got(1)
    await instance.until_delivery(event_id, "held", 1)
    await instance.command(event_id, "release")
    await instance.command(event_id, "retry")
    await save(instance, event_id, "forced_across_its_recheck")
    await drop(instance, webhook)


async def test_record_paused(instance: Instance, inbox: Receiver) -> None:
    """It is held while its webhook is paused, and let go; another waits for its time, which is moved."""
    webhook = await fresh(instance, inbox)
    path = f"/v1/webhooks/{webhook['id']}"
    await instance.http.post(f"{path}/pause")
    held, moved = (await instance.send())["id"], (await instance.send(deliver_at=in_days(1)))["id"]
    await instance.until_delivery(held, "held")
    await instance.http.post(f"{path}/resume")
    await save(instance, held, "paused")
    query = {"tenant": instance.tenant}
    await instance.http.post(f"/v1/events/{moved}/reschedule", params=query, json={"deliver_at": in_days(2)})
    await instance.command(moved, "release")
    await save(instance, moved, "moved")
    await drop(instance, webhook)


async def test_record_recorded_late(instance: Instance, inbox: Receiver) -> None:
    """A scheduled event is cancelled while the registry is away."""
    webhook = await fresh(instance, inbox)
    event_id = (await instance.send(deliver_at=in_days(1)))["id"]
    async with without_registry(instance):
        await instance.run(event_id).signal("cancel", webhook["id"])
        await instance.until_in_history(event_id, EventType.EVENT_TYPE_TIMER_CANCELED)
    await save(instance, event_id, "recorded_late")
    await drop(instance, webhook)


@pytest.mark.timeout(300)
async def test_record_ordered(instance: Instance, inbox: Receiver) -> None:
    """An event that blocks, one that is skipped, one that was scheduled."""
    webhook = await fresh(instance, inbox, 500, 200, 500, ordered=True, retry={"schedule": [0.1]})
    blocks = (await instance.send())["id"]
    scheduled = (await instance.send(deliver_at=in_days(1)))["id"]
    await instance.until(blocks, "succeeded")
    await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"retry": {"schedule": [3600]}})
    skipped = (await instance.send())["id"]
    await instance.until_delivery(skipped, "retrying")
    await instance.command(scheduled, "release")
    await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"order_policy": "skip"})
    await save(instance, scheduled, "ordered_scheduled")
    await instance.command(skipped, "retry")
    await save(instance, skipped, "ordered_skipped")
    await save(instance, blocks, "ordered")
    await drop(instance, webhook)


async def test_record_probed(temporal: Client, tmp_path: Path, inbox: Receiver) -> None:
    """A webhook that fails for too long is disabled, with an alert, and looked at once more; the first probe fails, the
    second succeeds.
    """
    inbox.fails(500, 500, 500)
    async with (
        receiver() as desk,
        running_instance(temporal, tmp_path, probe_interval=timedelta(seconds=1)) as instance,
    ):
        policy = {"retry": {"schedule": [0.1, 0.1]}, "disable_after": 0.05}
        async with instance.working():
            on_failure = {"notifications": [{"http": {"url": desk.url}}]}
            webhook = await instance.webhook(inbox.url, on_failure=on_failure, **policy)
            event_id = (await instance.send())["id"]
            incident = instance.temporal.get_workflow_handle(ids.incident_id(str(webhook["id"])))
            await desk.got(1)
            await incident.signal("look")
            await save(instance, event_id, "disabled")
            await incident.result()
            write(HISTORIES / "probed.json", (await incident.fetch_history()).to_json())


async def test_record_incident(instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery fails for good; its webhook begins to fail, with a reminder, and works again. The first try to tell of
    the delivery fails.
    """
    monkeypatch.setattr("hookkeeper.registry.webhooks.alerts.REMINDERS", (timedelta(seconds=1), timedelta(hours=1)))
    async with receiver() as desk:
        on_failure = {"notifications": [{"http": {"url": desk.url}}]}
        fields = {"retry": {"schedule": []}, "alert_after": {"attempts": 2}, "on_failure": on_failure}
        desk.fails(503)
        webhook = await fresh(instance, inbox, 500, 500, **fields)
        await instance.until_closed((await instance.send())["id"])
        await desk.got(2)
        await instance.until_closed((await instance.send())["id"])
        await desk.got(4)
        await instance.send()
        await desk.got(5)
        incident = instance.temporal.get_workflow_handle(ids.incident_id(str(webhook["id"])))
        await incident.result()
        write(HISTORIES / "incident.json", (await incident.fetch_history()).to_json())
        await drop(instance, webhook)


async def test_record_shared(instance: Instance, inbox: Receiver) -> None:
    """Events share a run: all succeed; some continue in runs of their own; some are cancelled, held and retried
    meanwhile; a run replaces another.
    """
    webhook = await instance.webhook(inbox.url, retry={"schedule": [0.1]})
    run = await shared_runs.start(instance, [to(instance, webhook, f"succeeds{number}") for number in range(3)])
    succeeded = await run.result()
    await save_shared(run, "shared_succeeded")
    replacement = await shared_runs.start(
        instance, [to(instance, webhook, f"succeeds{number}") for number in range(2)], finished=succeeded.finished[:2]
    )
    await save_shared(replacement, "shared_replaced")

    inbox.fails(500, 503)
    run = await shared_runs.start(instance, [to(instance, webhook, f"continues{number}") for number in range(3)])
    (own, *_) = (await run.result()).continued
    await save_shared(run, "shared_continued")
    await save_own(instance, ids.event_of(own)[1], "shared_own_run")

    gate = asyncio.Event()
    arrived = len(inbox.requests)
    inbox.answers += [Answer(500, gate=gate)] * 3
    names = ("cancelled", "held", "retried")
    run = await shared_runs.start(instance, [to(instance, webhook, name) for name in names])
    await inbox.got(arrived + 3)
    for name, command in zip(names, ("cancel", "hold", "retry"), strict=True):
        await run.command(name, command)
    await run.handle.cancel()
    await asyncio.sleep(0.5)
    gate.set()
    await save_shared(run, "shared_commands")
    await save_own(instance, "cancelled", "shared_own_run_cancelled")
    await instance.run("held").terminate()
    await drop(instance, webhook)


async def test_record_shared_apart(instance: Instance, inbox: Receiver) -> None:
    """An event continues apart from another one with its id, which is open, and which the registry has forgotten."""
    webhook = await instance.webhook(inbox.url, retry={"schedule": [0.1]})
    await instance.send(id="taken", deliver_at=in_days(1))
    await instance.store.rows.remove(instance.tenant, "taken")
    inbox.fails(500)
    run = await shared_runs.start(instance, [to(instance, webhook, "taken")])
    await save_shared(run, "shared_apart")
    await instance.run("taken").terminate()


async def test_record_shared_moved(instance: Instance, inbox: Receiver) -> None:
    """One event of two is in a run of its own already."""
    webhook = await instance.webhook(inbox.url)
    await instance.send(id="moved", deliver_at=in_days(1))
    await save_shared(
        await shared_runs.start(instance, [to(instance, webhook, name) for name in ("moved", "stays")]), "shared_moved"
    )
    await instance.run("moved").terminate()


async def test_record_quick(instance: Instance, inbox: Receiver) -> None:
    """First attempts within the workflow task: one succeeds, one fails and is retried, one lasts; of two that share a
    run, one lasts and fails.
    """
    webhook = await fresh(instance, inbox, retry={"schedule": [0.1]})
    await instance.until_closed((await instance.send())["id"])
    await save(instance, (await instance.send())["id"], "quick")
    inbox.answers = [Answer(500)]
    await save(instance, (await instance.send())["id"], "quick_retried")
    inbox.answers = [Answer(delay=0.8)]
    await save(instance, (await instance.send())["id"], "quick_lasting")
    inbox.answers = [Answer(), Answer(500, delay=0.8)]
    events = [to(instance, webhook, name).model_copy(update={"quick": True}) for name in ("quick", "lasting")]
    await save_shared(await shared_runs.start(instance, events), "shared_quick_lasting")
    await drop(instance, webhook)


async def test_record_shared_waiting(temporal: Client, tmp_path: Path, inbox: Receiver) -> None:
    """A tenant is at its limit: its event waits in the shared run, after another has succeeded."""
    async with running_instance(temporal, tmp_path, max_concurrent_per_tenant=1) as instance, receiver() as slow:
        slow.otherwise = Answer(gate=asyncio.Event())
        tenant = f"{instance.tenant}-busy"
        hangs = await instance.webhook(slow.url, tenant=tenant, timeout=30)
        quick = await instance.webhook(inbox.url)
        waits = shared_runs.event_to(hangs, id="waits", tenant=tenant)
        async with instance.working():
            await shared_runs.start(instance, [shared_runs.event_to(hangs, id="hangs", tenant=tenant)])
            await slow.got(1)
            run = await shared_runs.start(instance, [waits, to(instance, quick, "succeeds")])
            await inbox.got(1)
            await asyncio.sleep(0.5)
            assert slow.otherwise.gate is not None
            slow.otherwise.gate.set()
            await save_shared(run, "shared_waiting")


async def test_record_a_deleted_tenant(instance: Instance, inbox: Receiver) -> None:
    """A tenant with events that were delivered, and one that waits; the deletion is paused and resumed."""
    await instance.webhook(inbox.url)
    for _ in range(3):
        await instance.until_closed((await instance.send())["id"])
    await instance.send(deliver_at=in_days(1))
    job = (await instance.http.delete(f"/v1/tenants/{instance.tenant}")).json()["id"]
    for command in ("pause", "resume"):
        await instance.http.post(f"/v1/recoveries/{job}/{command}")
    run = instance.temporal.get_workflow_handle(str(ids.recovery_workflow_id(job)))
    assert (await run.result())["status"] == "finished"
    write(HISTORIES / "tenant_deleted.json", (await run.fetch_history()).to_json())


def to(instance: Instance, webhook: dict[str, object], event_id: str) -> EventInput:
    return shared_runs.event_to(webhook, id=event_id, tenant=instance.tenant)


async def save_shared(run: shared_runs.SharedRun, name: str) -> None:
    await run.result()
    write(HISTORIES / f"{name}.json", (await run.handle.fetch_history()).to_json())


@pytest.mark.timeout(300)
async def test_record_bulk_work(instance: Instance, inbox: Receiver) -> None:
    """What was held is released, twice over; what has failed is recovered, with a pause in between."""
    webhook = await fresh(instance, inbox, retry={"schedule": []})
    inbox.otherwise = Answer(500)
    url = f"/v1/webhooks/{webhook['id']}"
    await instance.http.post(f"{url}/pause")
    events = [(await instance.send())["id"] for _ in range(3)]
    for event in events:
        await instance.until_delivery(event, "held")
    for _ in range(2):
        await instance.http.post(f"{url}/resume")
        await asyncio.sleep(1)
    for event in events:
        await instance.until(event, "failed")
    recovery = await instance.http.post(f"{url}/recover", json={"since": in_days(-1), "rate": 0.5})
    await asyncio.sleep(1)
    for command in ("pause", "resume"):
        await instance.http.post(f"/v1/recoveries/{recovery.json()['id']}/{command}")
        await asyncio.sleep(3)
    for name, workflow_id in (
        ("released", ids.release_id(str(webhook["id"]))),
        ("recovered", ids.recovery_workflow_id(recovery.json()["id"])),
    ):
        run = instance.temporal.get_workflow_handle(str(workflow_id))
        await run.result()
        write(HISTORIES / f"{name}.json", (await run.fetch_history()).to_json())
    await drop(instance, webhook)


async def test_record_a_bulk_action(instance: Instance, inbox: Receiver) -> None:
    """Failed events are retried, with a pause in between."""
    webhook = await fresh(instance, inbox, *[500] * 3, retry={"schedule": []})
    for event in [(await instance.send())["id"] for _ in range(3)]:
        await instance.until(event, "failed")
    given = {"tenant": instance.tenant, "status": "failed"}
    action = await instance.http.post("/v1/bulk", params=given, json={"action": "retry", "rate": 0.5})
    await asyncio.sleep(1)
    for command in ("pause", "resume"):
        await instance.http.post(f"/v1/recoveries/{action.json()['id']}/{command}")
        await asyncio.sleep(3)
    run = instance.temporal.get_workflow_handle(str(ids.recovery_workflow_id(action.json()["id"])))
    await run.result()
    write(HISTORIES / "retried_in_bulk.json", (await run.fetch_history()).to_json())
    await drop(instance, webhook)


async def test_record_channels(temporal: Client, tmp_path: Path, inbox: Receiver) -> None:
    async with sendgrid_server() as sendgrid:
        settings = {
            "sendgrid_api_key": SecretStr(KEY),
            "sendgrid_host": sendgrid.host,
            "sendgrid_verification_key": "unused: the test records the receipts itself",
        }
        async with running_instance(temporal, tmp_path, **settings) as instance, instance.working():
            await channels(instance, inbox, sendgrid)
            await tracked(instance, sendgrid)


async def channels(instance: Instance, inbox: Receiver, sendgrid: SendGridServer) -> None:
    sendgrid.fails(503)
    notes = [{"http": {"url": inbox.url}}] * 2
    webhook = await fresh(instance, inbox, emails=[MESSAGE, MESSAGE], notifications=notes, retry={"schedule": [0.1]})
    await save(instance, (await instance.send())["id"], "channels")
    await drop(instance, webhook)


async def tracked(instance: Instance, sendgrid: SendGridServer) -> None:
    webhook = await instance.webhook(None, emails=[MESSAGE | {"tracking": True}])
    for words in (("deferred", "delivered"), ("bounced",)):
        event_id = (await instance.send())["id"]
        await instance.until_delivery(event_id, "sent")
        for kind in words:
            receipt = Receipt(id=kind, attempt=1, address="ann@acme.example", kind=kind, at=datetime.now(UTC))
            await instance.gateway.record_receipt(instance.tenant, event_id, f"{webhook['id']}.email.1", receipt)
        await save(instance, event_id, f"tracked_{words[-1]}")
    await drop(instance, webhook)


async def delivered(instance: Instance, inbox: Receiver) -> None:
    webhook = await fresh(instance, inbox)
    await save(instance, (await instance.send())["id"], "delivered")
    await drop(instance, webhook)


async def retried(instance: Instance, inbox: Receiver) -> None:
    webhook = await fresh(instance, inbox, 503, 500, retry={"schedule": [0.1, 0.1]})
    await save(instance, (await instance.send())["id"], "retried")
    await drop(instance, webhook)


async def exhausted(instance: Instance, inbox: Receiver) -> None:
    webhooks = [await fresh(instance, inbox, retry={"schedule": [0.1]}) for _ in range(2)]
    inbox.otherwise = Answer(500)
    await save(instance, (await instance.send())["id"], "exhausted")
    inbox.otherwise = Answer()
    for webhook in webhooks:
        await drop(instance, webhook)


async def gone(instance: Instance, inbox: Receiver) -> None:
    webhook = await fresh(instance, inbox, 410)
    await save(instance, (await instance.send())["id"], "gone")
    await drop(instance, webhook)


async def cancelled(instance: Instance, inbox: Receiver) -> None:
    webhook = await fresh(instance, inbox, 500, 500, retry={"schedule": [3600]})
    by_update, by_temporal = [(await instance.send())["id"] for _ in range(2)]
    for event_id in (by_update, by_temporal):
        await instance.until_delivery(event_id, "retrying", 1)
    await instance.command(by_update, "cancel")
    await instance.run(by_temporal).cancel()
    await save(instance, by_update, "cancelled")
    await save(instance, by_temporal, "cancelled_by_temporal")
    await drop(instance, webhook)


async def forced_held_and_released(instance: Instance, inbox: Receiver) -> None:
    webhook = await fresh(instance, inbox, 500, 500, retry={"schedule": [0.5]})
    event_id = (await instance.send())["id"]
    await instance.until_delivery(event_id, "retrying", 1)
    await instance.command(event_id, "hold")
    await instance.run(event_id).signal("retry", webhook["id"])
    await instance.until_delivery(event_id, "held", 2)
    await instance.command(event_id, "release")
    await save(instance, event_id, "forced_held_and_released")
    await drop(instance, webhook)


async def forced_across_its_time(instance: Instance, inbox: Receiver) -> None:
    """A retry is forced before it is due, and fails after that time."""
    webhook = await fresh(instance, inbox, retry={"schedule": [3, 0.1]})
    inbox.answers += [Answer(500), Answer(500, delay=5)]
    event_id = (await instance.send())["id"]
    await instance.until_delivery(event_id, "retrying", 1)
    await instance.command(event_id, "retry")
    await instance.until(event_id, "succeeded")
    await save(instance, event_id, "forced_across_its_time")
    await drop(instance, webhook)


async def redelivered(instance: Instance, inbox: Receiver) -> None:
    webhook = await fresh(instance, inbox, 500, 500, retry={"schedule": []})
    event_id = (await instance.send())["id"]
    await instance.until_final(event_id)
    await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"retry": {"schedule": [0.1]}})
    await instance.command(event_id, "retry")
    await instance.until(event_id, "succeeded")
    await save(instance, event_id, "redelivered")
    await drop(instance, webhook)


async def scheduled(instance: Instance, inbox: Receiver) -> None:
    webhook = await fresh(instance, inbox)
    event_id = (await instance.send(deliver_at=in_days(1)))["id"]
    later = {"deliver_at": in_days(2)}
    await instance.http.post(f"/v1/events/{event_id}/reschedule", params={"tenant": instance.tenant}, json=later)
    await instance.command(event_id, "release")
    await save(instance, event_id, "scheduled")
    await drop(instance, webhook)


async def large(instance: Instance, inbox: Receiver) -> None:
    webhook = await fresh(instance, inbox, 500, retry={"schedule": [0.1]})
    await save(instance, (await instance.send(data={"text": "x" * 40_000}))["id"], "large")
    await drop(instance, webhook)


def in_days(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


async def fresh(instance: Instance, inbox: Receiver, *statuses: int, **fields: object) -> dict[str, object]:
    inbox.fails(*statuses)
    return await instance.webhook(inbox.url, **fields)


async def drop(instance: Instance, webhook: dict[str, object]) -> None:
    await instance.http.delete(f"/v1/webhooks/{webhook['id']}")


async def save(instance: Instance, event_id: str, name: str) -> None:
    await instance.until_closed(event_id)
    write(HISTORIES / f"{name}.json", (await instance.run(event_id).fetch_history()).to_json())


async def save_own(instance: Instance, event_id: str, name: str) -> None:
    """Save the run of an event that was not posted: it has no row from the start."""
    with suppress(WorkflowFailureError):  # it was cancelled
        await instance.run(event_id).result()
    write(HISTORIES / f"{name}.json", (await instance.run(event_id).fetch_history()).to_json())


def write(path: Path, text: str) -> None:
    """Save a run's history, without the name and the paths of the machine that it ran on."""
    identity = re.compile(r'"(\d+@[^"]+)"')
    hosts = {match.split("@")[1] for match in identity.findall(text)}
    text = identity.sub('"worker"', text)
    for host in hosts:
        text = text.replace(host, "worker")
    text = re.sub(r'"stackTrace":\s*"(?:[^"\\]|\\.)*"', '"stackTrace": ""', text)
    path.write_text(json.dumps(json.loads(text), indent=1) + "\n")
