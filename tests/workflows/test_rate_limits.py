"""A webhook gets as many requests a second as it accepts. Waiting counts neither as a failure nor as an attempt."""

import asyncio
import time

from hookkeeper import task_queues
from hookkeeper.registry.database import TURN_TIMEOUT
from instances import Instance
from receivers import Answer, Receiver, Request
from timeouts import WAIT_TIMEOUT

RATE = 5.0
EVENTS = 20
BURST = 1.5
"""Temporal lets about one second's worth through at once."""


def assert_rate(requests: list[Request], begin: float) -> None:
    """No request is early. On a busy machine each can be late, the first one too."""
    assert max(request.at for request in requests) - begin > (EVENTS - BURST * RATE) / RATE


async def test_requests_to_a_webhook_with_a_rate_are_spread_over_time(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url, rate_limit=RATE)
    begin = time.monotonic()
    sent = await asyncio.gather(*(instance.send(data={"n": n}) for n in range(EVENTS)))
    assert_rate(await inbox.got(EVENTS), begin)
    for answer in sent:
        event = await instance.until_final(answer["id"])
        assert [attempt["number"] for attempt in event["deliveries"][0]["attempts"]] == [1]


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


async def test_a_delivery_in_the_limited_queue_can_be_cancelled(instance: Instance, inbox: Receiver) -> None:
    event_id = await waiting_for_its_turn(instance, inbox)
    assert (await instance.command(event_id, "cancel")).status_code == 202
    event = await instance.until_final(event_id)
    assert event["status"] == "cancelled"
    assert event["deliveries"][0]["attempts"] == []


async def waiting_for_its_turn(instance: Instance, inbox: Receiver) -> str:
    """Return an event that waits in the limited queue, for minutes."""
    await instance.webhook(inbox.url, rate_limit=0.01)
    events: list[str] = [(await instance.send())["id"] for _ in range(3)]
    (sent,) = await inbox.got(1)
    await instance.until_final(sent.webhook_id)
    waiting = next(event for event in events if event != sent.webhook_id)
    await until_in_limited_queue(instance, waiting)
    return waiting


async def until_in_limited_queue(instance: Instance, event_id: str) -> None:
    limited = task_queues.limited_queue(instance.settings.task_queue)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            history = await instance.run(event_id).fetch_history()
            scheduled = [event.activity_task_scheduled_event_attributes for event in history.events]
            if any(activity.task_queue.name == limited for activity in scheduled):
                return
            await asyncio.sleep(0.05)


async def test_an_outcome_is_recorded_at_once_after_the_registry_was_busy(instance: Instance, inbox: Receiver) -> None:
    """Timeline: while a request is under way, other writers keep SQLite's lock for longer than a writer waits.
    Proves: its outcome is recorded at once then, and not at the webhook's next turn.
    """
    may_answer = asyncio.Event()
    inbox.otherwise = Answer(gate=may_answer)
    await instance.webhook(inbox.url, rate_limit=0.01)
    event_id = (await instance.send())["id"]
    await inbox.got(1)
    async with instance.store.health._database.turn():
        may_answer.set()
        await asyncio.sleep(TURN_TIMEOUT + 0.2)
    assert (await instance.until_final(event_id))["status"] == "succeeded"
    assert len(inbox.requests) == 1


async def test_a_requested_attempt_does_not_wait_for_the_rate(instance: Instance, inbox: Receiver) -> None:
    event_id = await waiting_for_its_turn(instance, inbox)
    assert (await instance.command(event_id, "retry")).status_code == 202
    event = await instance.until_final(event_id)
    assert event["status"] == "succeeded"
    assert [attempt["trigger"] for attempt in event["deliveries"][0]["attempts"]] == ["manual"]


async def test_a_held_delivery_is_not_in_the_limited_queue(instance: Instance, inbox: Receiver) -> None:
    event_id = await waiting_for_its_turn(instance, inbox)
    assert (await instance.command(event_id, "hold")).status_code == 202
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.run(event_id).describe()).raw_description.pending_activities:
            await asyncio.sleep(0.05)
    assert (await instance.event(event_id))["deliveries"][0]["status"] == "held"
    assert (await instance.command(event_id, "release")).status_code == 202
    assert (await instance.event(event_id))["deliveries"][0]["status"] == "pending"
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not (await instance.run(event_id).describe()).raw_description.pending_activities:
            await asyncio.sleep(0.05)


async def test_a_redelivery_that_waits_for_its_rate_is_held_when_its_webhook_is_paused(
    instance: Instance, inbox: Receiver
) -> None:
    inbox.fails(500, 500, 500)
    webhook = await instance.webhook(inbox.url, retry={"schedule": []})
    events = [(await instance.send())["id"] for _ in range(3)]
    for event_id in events:
        await instance.until_closed(event_id)
    path = f"/v1/webhooks/{webhook['id']}"
    await instance.http.patch(path, json={"rate_limit": 0.2})
    for event_id in events:
        assert (await instance.command(event_id, "redeliver")).status_code == 202
    await inbox.got(4)
    for event_id in events:
        await until_in_limited_queue(instance, event_id)
    await instance.http.post(f"{path}/pause")
    for event_id in events:
        event = await instance.until_delivery(event_id, "held") if event_id != inbox.requests[3].webhook_id else None
        assert event is None or event["deliveries"][0]["reason"] == "webhook_paused"
    assert len(inbox.requests) == 4


async def test_a_redelivery_to_a_paused_webhook_with_a_rate_is_sent(instance: Instance, inbox: Receiver) -> None:
    """A redelivery of one event is sent even if the webhook is paused and has a rate limit."""
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, rate_limit=50, retry={"schedule": []})
    event_id = (await instance.send())["id"]
    await instance.until_closed(event_id)
    await instance.http.post(f"/v1/webhooks/{webhook['id']}/pause")
    assert (await instance.command(event_id, "redeliver")).status_code == 202
    assert (await instance.until(event_id, "succeeded"))["deliveries"][0]["attempts"][-1]["trigger"] == "manual"
