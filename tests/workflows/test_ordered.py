"""Events of an ordered webhook arrive one at a time, in the order of their acceptance, whatever happens on the way."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crowds import crowd
from instances import Instance
from numbered_events import first_numbers, numbers, queue, send_numbered
from receivers import Answer, Receiver, receiver

AT_ONCE = {"schedule": [0.05] * 20}
LATER = {"schedule": [3600]}


@pytest.mark.promise("docs/ordering.md")
async def test_a_receiver_that_fails_every_third_request_gets_them_in_order(
    idle_instance: Instance, inbox: Receiver
) -> None:
    """Setup: an ordered webhook; each third request fails. Timeline: the worker is stopped, and another one starts.
    Proves: order holds through failures and a restart, and nothing is left out.
    """
    inbox.answers = [Answer(503 if n % 3 == 2 else 200) for n in range(200)]
    await idle_instance.webhook(inbox.url, ordered=True, retry=AT_ONCE)
    sent = await send_numbered(idle_instance, 24)
    async with idle_instance.working():
        await inbox.got(12)
    async with idle_instance.working():
        for event_id in sent:
            assert (await idle_instance.until_final(event_id))["status"] == "succeeded"
    assert first_numbers(inbox) == list(range(24))
    assert numbers(inbox) == sorted(numbers(inbox))  # no retry came after one that stood behind it


async def test_events_that_come_while_others_are_delivered_are_delivered_after_them(
    instance: Instance, inbox: Receiver
) -> None:
    inbox.otherwise = Answer(delay=0.02)
    await instance.webhook(inbox.url, ordered=True)
    await send_numbered(instance, 20)
    await inbox.got(20)
    assert numbers(inbox) == list(range(20))


@pytest.mark.promise("docs/ordering.md")
async def test_later_events_wait_until_an_event_with_policy_block_is_final(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500, 500, 500)
    await instance.webhook(inbox.url, ordered=True, retry={"schedule": [0.1, 0.1]})
    first, second = await send_numbered(instance, 2)
    assert (await instance.until_final(first))["status"] == "failed"
    assert (await instance.until_final(second))["status"] == "succeeded"
    assert numbers(inbox) == [0, 0, 0, 1]


async def test_later_events_continue_after_the_first_failure_with_policy_skip(
    instance: Instance, inbox: Receiver
) -> None:
    inbox.fails(500)
    await instance.webhook(inbox.url, ordered=True, order_policy="skip", retry={"schedule": [6]})
    first, second = await send_numbered(instance, 2)
    assert (await instance.until_final(second))["status"] == "succeeded"
    assert (await instance.event(first))["deliveries"][0]["status"] == "retrying"
    assert (await instance.until_final(first))["status"] == "succeeded"
    assert numbers(inbox) == [0, 1, 0]


async def test_a_run_with_a_long_history_keeps_its_grant(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.event.MAX_HISTORY_EVENTS", 40)
    inbox.fails(*[500] * 12)
    await instance.webhook(inbox.url, ordered=True, retry={"schedule": [0.02] * 12})
    sent = await send_numbered(instance, 2)
    await instance.until_final(sent[1])
    assert (await instance.event(sent[0]))["status"] == "succeeded"
    assert numbers(inbox) == [0] * 13 + [1]


async def test_a_waiting_delivery_is_shown_as_queued(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    first, second = await send_numbered(instance, 2)
    await instance.until_delivery(first, "retrying")
    (delivery,) = (await instance.event(second))["deliveries"]
    assert (delivery["status"], delivery["reason"], delivery["attempts"]) == ("pending", "queued", [])
    assert await queue(instance, webhook) == {
        "webhook_id": webhook["id"],
        "waiting": 2,
        "head": first,
        "stuck_since": None,
    }


# What people do


async def test_a_requested_attempt_does_not_wait_in_the_queue(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500, 500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    first, second, third = await send_numbered(instance, 3)
    await instance.until_delivery(first, "retrying")
    assert (await instance.command(third, "retry")).status_code == 202
    await instance.until_delivery(third, "pending", 1)
    assert (await instance.command(third, "retry")).status_code == 202
    await instance.until_final(third)
    assert (await instance.event(second))["deliveries"][0]["attempts"] == []
    assert (await instance.command(first, "retry", webhook["id"])).status_code == 202
    await instance.until_final(second)
    assert numbers(inbox) == [0, 2, 2, 0, 1]


@pytest.mark.promise("docs/ordering.md")
async def test_a_held_event_blocks_and_a_cancelled_one_does_not(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    await instance.webhook(inbox.url, ordered=True, retry=LATER)
    first, second, third, fourth = await send_numbered(instance, 4)
    await instance.until_delivery(first, "retrying")
    await instance.command(second, "cancel")
    await instance.command(third, "hold")
    await instance.command(first, "cancel")
    await instance.until_final(second)
    await asyncio.sleep(0.3)
    assert (await instance.event(third))["deliveries"][0]["status"] == "held"
    assert (await instance.event(fourth))["deliveries"][0]["reason"] == "queued"
    await instance.command(third, "release")
    await instance.until_final(fourth)
    assert numbers(inbox) == [0, 2, 3]


async def test_a_disabled_webhook_holds_its_first_event_and_goes_on_in_order(
    instance: Instance, inbox: Receiver
) -> None:
    webhook = await instance.webhook(inbox.url, ordered=True, enabled=False)
    sent = await send_numbered(instance, 5)
    await instance.until_delivery(sent[0], "held")
    await change(instance, webhook, enabled=True)
    await instance.run(sent[0]).signal("release_webhook", webhook["id"])
    await inbox.got(5)
    assert numbers(inbox) == list(range(5))


async def test_a_deleted_webhook_lets_its_queue_run_empty(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    sent = await send_numbered(instance, 5)
    await instance.until_delivery(sent[0], "retrying")
    assert (await instance.http.delete(f"/v1/webhooks/{webhook['id']}")).status_code == 204
    for event_id in sent[1:]:
        assert (await instance.until_final(event_id))["deliveries"][0]["reason"] == "webhook_deleted"
    assert len(inbox.requests) == 1


async def test_no_event_waits_once_the_webhook_is_not_ordered(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    sent = await send_numbered(instance, 6)
    await instance.until_delivery(sent[0], "retrying")
    await change(instance, webhook, ordered=False)
    new = await instance.send(data={"n": 6})
    for event_id in (*sent[1:], new["id"]):
        await instance.until_final(event_id)
    assert sorted(numbers(inbox)) == list(range(7))
    assert (await instance.event(sent[0]))["deliveries"][0]["status"] == "retrying"


async def test_a_changed_policy_counts_at_once(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    first, second = await send_numbered(instance, 2)
    await instance.until_delivery(first, "retrying")
    await change(instance, webhook, order_policy="skip")
    await instance.until_final(second)
    await change(instance, webhook, ordered=False)
    await change(instance, webhook, ordered=True)
    await send_numbered(instance, 3)
    await inbox.got(5)
    assert numbers(inbox)[2:] == [0, 1, 2]


async def test_a_redelivery_does_not_wait_in_the_queue(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url, ordered=True, retry=LATER)
    (done,) = await send_numbered(instance, 1)
    await instance.until_closed(done)
    inbox.fails(500)
    blocking, _ = await send_numbered(instance, 2)
    await instance.until_delivery(blocking, "retrying")
    assert (await instance.command(done, "redeliver")).status_code == 202
    await inbox.got(3)
    assert (await instance.until_closed(done))["deliveries"][0]["attempts"][-1]["number"] == 2


async def test_a_test_event_does_not_wait_in_the_queue(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    (blocking,) = await send_numbered(instance, 1)
    await instance.until_delivery(blocking, "retrying")
    answer = await instance.http.post(f"/v1/webhooks/{webhook['id']}/test")
    await instance.until(answer.json()["id"], "succeeded")


# Other features


async def test_a_scheduled_event_takes_its_place_when_it_is_due(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    scheduled = (await instance.send(data={"n": 99}, deliver_at=later))["id"]
    first, second = await send_numbered(instance, 2)
    await instance.until_delivery(first, "retrying")
    assert (await queue(instance, webhook))["waiting"] == 2
    await instance.command(scheduled, "release")
    while (await queue(instance, webhook))["waiting"] != 3:
        await asyncio.sleep(0.03)
    (last,) = await send_numbered(instance, 1)
    await instance.command(first, "cancel")
    for event_id in (second, scheduled, last):
        await instance.until_final(event_id)
    assert numbers(inbox) == [0, 1, 99, 0]


async def test_only_the_url_is_ordered(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    async with receiver() as notified:
        notifications = [{"http": {"url": notified.url}}]
        await instance.webhook(inbox.url, ordered=True, retry=LATER, notifications=notifications)
        first = (await instance.send(data={"n": 0}))["id"]
        await inbox.got(1)
        second = (await instance.send(data={"n": 1}))["id"]
        await instance.until_delivery(second, "succeeded", n=1)
        await notified.got(2)
    assert (await instance.event(second))["deliveries"][0]["reason"] == "queued"
    assert (await instance.event(first))["status"] == "delivering"


async def test_an_ordered_webhook_with_a_rate_keeps_both(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(200, 503)
    await instance.webhook(inbox.url, ordered=True, rate_limit=50, retry=AT_ONCE)
    await send_numbered(instance, 8)
    await inbox.got(9)
    assert numbers(inbox) == [0, 1, 1, 2, 3, 4, 5, 6, 7]


async def test_an_event_in_parts_takes_its_turn_too(instance: Instance, inbox: Receiver) -> None:
    """With more than a hundred targets, another run than the event's own has the delivery."""
    await crowd(instance, inbox.url, 105, events=["order.*"])
    ordered = await instance.webhook(f"{inbox.url}/ordered", ordered=True, events=["*"])
    sent = [
        (await instance.send("order.paid", data={"n": 0}))["id"],
        (await instance.send("other", data={"n": 1}))["id"],
    ]
    for event_id in sent:
        assert (await instance.until_final(event_id))["status"] == "succeeded"
    there = [json.loads(request.body)["data"]["n"] for request in inbox.requests if request.path.endswith("/ordered")]
    assert there == [0, 1]
    assert (await queue(instance, ordered))["waiting"] == 0


async def test_a_webhook_without_order_has_no_queue(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url)
    nothing = {"webhook_id": webhook["id"], "waiting": 0, "head": None, "stuck_since": None}
    assert await queue(instance, webhook) == nothing


async def change(instance: Instance, webhook: dict[str, Any], **fields: Any) -> None:
    answer = await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json=fields)
    assert answer.status_code == 200, answer.text


@pytest.mark.promise("docs/ordering.md")
async def test_a_batch_is_delivered_in_its_order(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url, ordered=True, events=["order.*"])
    types = ["other" if n % 5 == 4 else "order.paid" for n in range(30)]
    events = [{"type": type_, "tenant": instance.tenant, "data": {"n": n}} for n, type_ in enumerate(types)]
    answer = await instance.http.post("/v1/events/batch", json={"events": [*events[:7], {"bad": 1}, *events[7:]]})
    assert [item["status"] for item in answer.json()["items"]] == [202] * 7 + [422] + [202] * 23
    await inbox.got(24)
    assert numbers(inbox) == [n for n in range(30) if n % 5 != 4]
