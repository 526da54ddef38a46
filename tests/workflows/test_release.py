"""What a webhook held is released once it is resumed or enabled: all of it, oldest first, by a workflow."""

import asyncio

import pytest
from holding import event_ids, farthest, listed, send_many, until_held

from activities.release import MAX_IN_FLIGHT
from hookkeeper import ids
from instances import Instance
from receivers import Answer, Receiver, receiver
from timeouts import WAIT_TIMEOUT

EVENTS = 30


async def pause(instance: Instance, webhook: str) -> None:
    answer = await instance.http.post(f"/v1/webhooks/{webhook}/pause")
    assert answer.status_code == 200 and answer.json()["paused_at"]


async def resume(instance: Instance, webhook: str) -> None:
    answer = await instance.http.post(f"/v1/webhooks/{webhook}/resume")
    assert answer.status_code == 200, answer.text
    assert answer.json()["paused_at"] is None


@pytest.mark.promise("docs/pause-and-recovery.md")
async def test_what_was_held_goes_out_oldest_first(instance: Instance, inbox: Receiver) -> None:
    """Setup: a paused webhook.
    Timeline: thirty events are held; it is resumed.
    Proves: each is delivered once, none farther from its position than there are released at once.
    """
    webhook = (await instance.webhook(inbox.url))["id"]
    await pause(instance, webhook)
    sent = await send_many(instance, EVENTS)
    await until_held(instance, webhook, EVENTS)
    assert inbox.requests == []
    (delivery,) = (await instance.event(sent[0]))["deliveries"]
    assert (delivery["status"], delivery["reason"]) == ("held", "webhook_paused")
    await resume(instance, webhook)
    await inbox.got(EVENTS)
    assert sorted(event_ids(inbox)) == sorted(sent)
    assert farthest(sent, event_ids(inbox)) <= MAX_IN_FLIGHT
    for event in sent:
        assert (await instance.until_final(event))["status"] == "succeeded"
    await until_held(instance, webhook, 0)
    assert len(inbox.requests) == EVENTS


async def test_enabling_releases_too(instance: Instance, inbox: Receiver) -> None:
    webhook = (await instance.webhook(inbox.url, enabled=False))["id"]
    event = (await instance.send())["id"]
    await until_held(instance, webhook, 1)
    answer = await instance.http.patch(f"/v1/webhooks/{webhook}", json={"enabled": True})
    assert answer.status_code == 200
    assert (await instance.until_final(event))["status"] == "succeeded"


async def test_it_keeps_to_the_rate_and_stops_where_the_webhook_is_paused_again(
    instance: Instance, inbox: Receiver
) -> None:
    webhook, events = (await instance.webhook(inbox.url, rate_limit=5))["id"], MAX_IN_FLIGHT + 5
    await pause(instance, webhook)
    await send_many(instance, events)
    await until_held(instance, webhook, events)
    await resume(instance, webhook)
    await inbox.got(3)
    await pause(instance, webhook)
    run = instance.temporal.get_workflow_handle(ids.release_id(webhook))
    async with asyncio.timeout(WAIT_TIMEOUT):
        await run.result()
    assert len(inbox.requests) < events
    await resume(instance, webhook)
    await inbox.got(events)
    assert len(set(event_ids(inbox))) == len(inbox.requests) == events


@pytest.mark.promise("docs/pause-and-recovery.md")
async def test_what_a_person_holds_stays_held(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(503)
    webhook = (await instance.webhook(inbox.url, retry={"schedule": [3600]}))["id"]
    theirs = (await instance.send())["id"]
    await instance.until_delivery(theirs, "retrying", attempts=1)
    assert (await instance.command(theirs, "hold")).status_code == 202
    await pause(instance, webhook)
    event = (await instance.send())["id"]
    await until_held(instance, webhook, 2)
    await resume(instance, webhook)
    assert (await instance.until_final(event))["status"] == "succeeded"
    await until_held(instance, webhook, 1)
    assert [accepted_event["event_id"] for accepted_event in await listed(instance, webhook, "held")] == [theirs]
    assert len(inbox.requests) == 2


async def test_what_came_to_rest_too_late_is_found_by_a_later_pass(instance: Instance, inbox: Receiver) -> None:
    """Setup: a paused webhook, and one whose receiver takes its time.
    Timeline: a round reads both; while it waits for the slow one, the other is resumed, and the first pass finds
    nothing that is held. Then the round is over, and says that the webhook was paused.
    Proves: a later pass releases that too.
    """
    webhook = (await instance.webhook(inbox.url))["id"]
    await pause(instance, webhook)
    async with receiver() as slow:
        slow.otherwise = Answer(delay=1.5)
        await instance.webhook(slow.url)
        event = (await instance.send())["id"]
        await slow.got(1)
        await resume(instance, webhook)
        assert (await instance.until_final(event))["status"] == "succeeded"
    assert event_ids(inbox) == [event]


async def test_resuming_again_repairs_a_release_that_was_never_started(instance: Instance, inbox: Receiver) -> None:
    """As after a 503: the registry has the webhook resumed, and no release was started."""
    webhook = (await instance.webhook(inbox.url))["id"]
    await pause(instance, webhook)
    event = (await instance.send())["id"]
    await until_held(instance, webhook, 1)
    await instance.store.webhooks.set_paused(webhook, None, False)
    await resume(instance, webhook)
    assert (await instance.until_final(event))["status"] == "succeeded"
