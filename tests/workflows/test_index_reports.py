"""The index follows every change of an event: what a run reports is what the API shows."""

import asyncio
from datetime import UTC, datetime, timedelta

from claimed_runs import share
from crowds import crowd
from hookkeeper.policy import RetryPolicy
from index_rows import indexed, until_indexed
from instances import Instance
from receivers import Answer, Receiver
from shared_runs import event_to

PATIENT = RetryPolicy(schedule=(3600,)).model_dump()


async def test_the_index_has_an_event_that_no_worker_has_started(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    event = await instance.send(data={"a": 1})
    await until_indexed(instance, event["id"])


async def test_the_index_follows_success_and_failure(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    inbox.fails(200, 410)
    for _ in range(2):
        event = await instance.send()
        await instance.until_closed(event["id"])
        await until_indexed(instance, event["id"])


async def test_the_index_has_an_event_without_webhooks(instance: Instance) -> None:
    event = await instance.send()
    await instance.until_closed(event["id"])
    await until_indexed(instance, event["id"])


async def test_the_index_follows_commands(instance: Instance, inbox: Receiver) -> None:
    """A delivery fails, is retried, fails, is held, released, cancelled, and delivered after all."""
    await instance.webhook(inbox.url, retry=PATIENT)
    inbox.fails(503, 500)
    event = await instance.send()
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    await until_indexed(instance, event["id"])
    await instance.command(event["id"], "retry")
    await instance.until_delivery(event["id"], "retrying", attempts=2)
    await until_indexed(instance, event["id"])
    for command in ("hold", "release", "cancel"):
        await instance.command(event["id"], command)
        await until_indexed(instance, event["id"])
    await instance.until_closed(event["id"])
    await until_indexed(instance, event["id"])
    await instance.command(event["id"], "redeliver")
    await instance.until(event["id"], "succeeded")
    await instance.until_closed(event["id"])
    await until_indexed(instance, event["id"])


async def test_the_index_shows_a_redelivery_in_flight(idle_instance: Instance, inbox: Receiver) -> None:
    """Timeline: an event has succeeded, and is delivered again to a slow receiver; so is one that shared a run.
    Proves: its run reports that when it starts. Lists do not wait for the attempt to end.
    """
    webhook = await idle_instance.webhook(inbox.url)
    gate = asyncio.Event()
    async with idle_instance.working():
        await idle_instance.send(id="alone")
        await idle_instance.until_closed("alone")
        await (await share(idle_instance, [event_to(webhook, id="shared", tenant=idle_instance.tenant)])).result()
        inbox.otherwise = Answer(gate=gate)
        for name in ("alone", "shared"):
            await until_indexed(idle_instance, name)
            assert (await idle_instance.command(name, "redeliver")).status_code == 202
            await until_indexed(idle_instance, name)
            of_webhook = webhook["id"], "pending", 1, 200, None
            found = await indexed(idle_instance, name)
            assert (found["status"], found["deliveries"]) == ("delivering", {webhook["id"]: of_webhook})
        gate.set()


async def test_the_index_follows_a_scheduled_event(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    later = datetime.now(UTC) + timedelta(hours=1)
    event = await instance.send(deliver_at=later.isoformat())
    await instance.until(event["id"], "scheduled")
    await until_indexed(instance, event["id"])
    await instance.command(event["id"], "release")
    await instance.until_closed(event["id"])
    await until_indexed(instance, event["id"])


async def test_the_index_shows_a_delivery_held_by_a_paused_webhook(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url)
    assert (await instance.http.post(f"/v1/webhooks/{webhook['id']}/pause")).status_code == 200
    event = await instance.send()
    await instance.until_delivery(event["id"], "held")
    await until_indexed(instance, event["id"])
    assert (await instance.http.post(f"/v1/webhooks/{webhook['id']}/resume")).status_code == 200
    await instance.until_closed(event["id"])
    await until_indexed(instance, event["id"])


async def test_the_index_has_a_large_event_once(instance: Instance, inbox: Receiver) -> None:
    """The parts report the deliveries, and the event's own run reports the event."""
    inbox.fails(410)
    await crowd(instance, inbox.url, 130)
    event = await instance.send()
    await instance.until_closed(event["id"])
    await until_indexed(instance, event["id"])


async def test_the_index_follows_events_from_a_shared_run_into_their_own(instance: Instance, inbox: Receiver) -> None:
    """One succeeds, one is retried and one held while its attempt is in flight: the rows follow into their own runs."""
    webhook = await instance.webhook(inbox.url, retry=PATIENT)
    gate = asyncio.Event()
    inbox.otherwise = Answer(500, gate=gate)
    run = await share(instance, [event_to(webhook, id=f"e{n}", tenant=instance.tenant) for n in range(2)])
    await inbox.got(2)
    await run.command("e0", "hold")
    await until_indexed(instance, "e0")
    gate.set()
    inbox.otherwise = Answer()
    await run.result()
    for name, status in (("e0", "held"), ("e1", "retrying")):
        await instance.until_delivery(name, status, attempts=1)
        await until_indexed(instance, name)
        assert (await instance.command(name, "retry", webhook["id"])).status_code == 202
        await instance.until_closed(name)
        await until_indexed(instance, name)
    run = await share(instance, [event_to(webhook, id=f"e{n}", tenant=instance.tenant) for n in range(2, 5)])
    await run.result()
    for name in ("e2", "e3", "e4"):
        await until_indexed(instance, name)
