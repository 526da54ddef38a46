"""A webhook gets as many requests a second as it accepts. Waiting counts neither as a failure nor as an attempt."""

import asyncio
import time

import pytest

from hookkeeper.registry.models import HANGING_RATE
from hookkeeper.registry.storage import database
from instances import Instance
from receivers import Answer, Receiver, Request, receiver
from timeouts import WAIT_TIMEOUT

RATE, RATE_OF_BACKLOG = 5.0, 2.5
EVENTS, BACKLOG = 10, 50


def assert_rate(requests: list[Request], begin: float, rate: float = RATE) -> None:
    """No request is early. On a busy machine each can be late: the last one comes after all times before it."""
    assert max(request.at for request in requests) - begin > (len(requests) - 1) / rate - 0.05


async def test_a_backlog_keeps_its_rate_and_delays_no_other_tenant(instance: Instance, inbox: Receiver) -> None:
    """Setup: a webhook with twenty seconds' worth of events waiting, and a webhook of another tenant.

    Proves: the other one has all its events long before the backlog is over; both keep their rate; none is lost; what
    waits shares no queue with webhooks that fail.
    """
    async with receiver() as other:
        await instance.webhook(inbox.url, rate_limit=RATE_OF_BACKLOG)
        first_of_backlog = time.monotonic()
        sent = await asyncio.gather(*(instance.send() for _ in range(BACKLOG)))
        await inbox.got(1)
        body = {"url": other.url, "tenant": "another", "rate_limit": RATE}
        assert (await instance.http.post("/v1/webhooks", json=body)).status_code == 201
        first_of_other = time.monotonic()
        for _ in range(EVENTS):
            await instance.send("a", tenant="another")
        of_other = await other.got(EVENTS)
        assert len(inbox.requests) < BACKLOG, "the other webhook had to wait for the backlog"
        assert_rate(of_other, first_of_other)
        assert_rate(await inbox.got(BACKLOG), first_of_backlog, RATE_OF_BACKLOG)
    for event in sent:
        (delivery,) = (await instance.until_final(event["id"]))["deliveries"]
        assert (delivery["status"], len(delivery["attempts"])) == ("succeeded", 1)
    assert len(inbox.requests) == BACKLOG
    assert set(await queues(instance, inbox.requests[-1].webhook_id)) == {instance.settings.task_queue}


async def queues(instance: Instance, event_id: str) -> list[str]:
    """Return the task queues of a run's activities."""
    history = await instance.run(event_id).fetch_history()
    scheduled = [event for event in history.events if event.HasField("activity_task_scheduled_event_attributes")]
    return [activity.activity_task_scheduled_event_attributes.task_queue.name for activity in scheduled]


@pytest.mark.promise("docs/rates.md")
async def test_events_of_a_webhook_that_hangs_wait_for_their_times_without_an_attempt(
    instance: Instance, inbox: Receiver
) -> None:
    webhook = await instance.webhook(inbox.url)
    await instance.store.health.note_hanging(webhook["id"])
    begin = time.monotonic()
    sent = [await instance.send() for _ in range(3)]
    waiting = (await instance.http.get(f"/v1/events/{sent[2]['id']}")).json()["deliveries"][0]
    assert waiting["next_attempt_at"]
    await inbox.got(3)
    assert max(request.at for request in inbox.requests) - begin > 2 / HANGING_RATE - 0.05
    for event in sent:
        (delivery,) = (await instance.until_final(event["id"]))["deliveries"]
        assert (delivery["status"], len(delivery["attempts"])) == ("succeeded", 1)
        assert len(await queues(instance, event["id"])) == 1, "an activity has put the event off"


@pytest.mark.promise("docs/rates.md")
async def test_a_limit_set_later_counts_at_once(idle_instance: Instance, inbox: Receiver) -> None:
    webhook = await idle_instance.webhook(inbox.url)
    sent = [await idle_instance.send() for _ in range(EVENTS)]
    await idle_instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"rate_limit": RATE})
    begin = time.monotonic()
    async with idle_instance.working():
        assert_rate(await inbox.got(EVENTS), begin)
        event = await idle_instance.until_final(sent[0]["id"])
    (delivery,) = event["deliveries"]
    assert len(delivery["attempts"]) == 1
    assert delivery["attempts"][0]["trigger"] == "scheduled"


async def test_other_webhooks_of_the_event_do_not_wait(instance: Instance, inbox: Receiver) -> None:
    slow = await instance.webhook(inbox.url, rate_limit=0.01, events=["slow"])
    for _ in range(3):
        await instance.send("slow")
    await instance.http.patch(f"/v1/webhooks/{slow['id']}", json={"events": ["*"]})
    await instance.webhook(inbox.url + "/fast", events=["order.*"])
    event = await instance.send("order.paid")
    shown = await instance.until_delivery(event["id"], "succeeded", n=1)
    assert shown["deliveries"][0]["status"] == "pending"
    # What a person asks for does not wait either.
    assert (await instance.command(event["id"], "retry", slow["id"])).status_code == 202


async def test_a_failing_limited_webhook_is_retried(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(503, 503)
    await instance.webhook(inbox.url, rate_limit=50, retry={"schedule": [0.1, 0.1]})
    event = await instance.until_final((await instance.send())["id"])
    assert event["status"] == "succeeded"
    assert [attempt["status_code"] for attempt in event["deliveries"][0]["attempts"]] == [503, 503, 200]


@pytest.mark.promise("docs/rates.md")
async def test_a_delivery_that_waits_for_its_time_takes_commands(instance: Instance, inbox: Receiver) -> None:
    """What waits can be sent at once, cancelled, held and released."""
    await instance.webhook(inbox.url, rate_limit=0.01)
    first = (await instance.send())["id"]
    await instance.until_final(first)  # it has the only time: of events sent together, any could be the first to ask
    hurried, cancelled, held = [(await instance.send())["id"] for _ in range(3)]
    for event_id in (hurried, cancelled, held):
        await until_waiting(instance, event_id)
    assert (await instance.command(hurried, "retry")).status_code == 202
    event = await instance.until_final(hurried)
    assert [attempt["trigger"] for attempt in event["deliveries"][0]["attempts"]] == ["manual"]
    assert (await instance.command(cancelled, "cancel")).status_code == 202
    event = await instance.until_final(cancelled)
    assert (event["status"], event["deliveries"][0]["attempts"]) == ("cancelled", [])
    assert (await instance.command(held, "hold")).status_code == 202
    await instance.until_delivery(held, "held")
    assert (await instance.command(held, "release")).status_code == 202
    assert (await instance.event(held))["deliveries"][0]["status"] == "pending"
    assert len(inbox.requests) == 2


async def until_waiting(instance: Instance, event_id: str) -> None:
    """Wait until the first delivery of the event has a time."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.event(event_id))["deliveries"][0]["next_attempt_at"] is None:
            await asyncio.sleep(0.05)


async def test_an_outcome_is_recorded_at_once_after_the_registry_was_busy(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: while a request is under way, other writers keep SQLite's lock for longer than a writer waits.
    Proves: its outcome is recorded at once then, and not at the webhook's next turn.
    """
    may_answer = asyncio.Event()
    inbox.otherwise = Answer(gate=may_answer)
    await instance.webhook(inbox.url, rate_limit=0.01)
    event_id = (await instance.send())["id"]
    await inbox.got(1)
    monkeypatch.setattr(database, "TURN_TIMEOUT", 0.2)
    async with instance.store.health._database.turn():
        may_answer.set()
        await asyncio.sleep(0.4)
    assert (await instance.until_final(event_id))["status"] == "succeeded"
    assert len(inbox.requests) == 1


async def test_a_redelivery_that_waits_for_its_rate_is_held_when_its_webhook_is_paused(
    instance: Instance, inbox: Receiver
) -> None:
    inbox.fails(500, 500)
    webhook = await instance.webhook(inbox.url, retry={"schedule": []})
    first, second = [(await instance.send())["id"] for _ in range(2)]
    for event_id in (first, second):
        await instance.until_closed(event_id)
    path = f"/v1/webhooks/{webhook['id']}"
    await instance.http.patch(path, json={"rate_limit": 0.2})
    assert (await instance.command(first, "redeliver")).status_code == 202
    await inbox.got(3)
    assert (await instance.command(second, "redeliver")).status_code == 202
    await until_waiting(instance, second)
    await instance.http.post(f"{path}/pause")
    event = await instance.until_delivery(second, "held")
    assert event["deliveries"][0]["reason"] == "webhook_paused"
    assert len(inbox.requests) == 3


async def test_a_redelivery_to_a_paused_webhook_with_a_rate_is_sent(instance: Instance, inbox: Receiver) -> None:
    """A redelivery of one event is sent even if the webhook is paused and has a rate limit."""
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, rate_limit=50, retry={"schedule": []})
    event_id = (await instance.send())["id"]
    await instance.until_closed(event_id)
    await instance.http.post(f"/v1/webhooks/{webhook['id']}/pause")
    assert (await instance.command(event_id, "redeliver")).status_code == 202
    assert (await instance.until(event_id, "succeeded"))["deliveries"][0]["attempts"][-1]["trigger"] == "manual"
