"""What a webhook holds is let go when it is on again: all of it, oldest first, by a run that survives."""

import asyncio

from holding import event_ids, farthest, listed, send_many, until_held

from activities.release import MAX_IN_FLIGHT
from hookkeeper import ids
from house import House
from patience import PATIENCE
from receivers import Answer, Receiver, receiver

EVENTS = 30


async def pause(home: House, webhook: str) -> None:
    answer = await home.http.post(f"/v1/webhooks/{webhook}/pause")
    assert answer.status_code == 200 and answer.json()["paused_at"]


async def resume(home: House, webhook: str) -> None:
    answer = await home.http.post(f"/v1/webhooks/{webhook}/resume")
    assert answer.status_code == 200, answer.text
    assert answer.json()["paused_at"] is None


async def test_what_was_held_goes_out_oldest_first(home: House, inbox: Receiver) -> None:
    """Setup: a paused webhook.
    Timeline: thirty events are held; it is resumed.
    What this proves: each is delivered once, none farther from its position than there are released at once.
    """
    webhook = (await home.webhook(inbox.url))["id"]
    await pause(home, webhook)
    sent = await send_many(home, EVENTS)
    await until_held(home, webhook, EVENTS)
    assert inbox.requests == []
    (delivery,) = (await home.event(sent[0]))["deliveries"]
    assert (delivery["status"], delivery["reason"]) == ("held", "webhook_paused")
    await resume(home, webhook)
    await inbox.got(EVENTS)
    assert sorted(event_ids(inbox)) == sorted(sent)
    assert farthest(sent, event_ids(inbox)) <= MAX_IN_FLIGHT
    for event in sent:
        assert (await home.until_final(event))["status"] == "succeeded"
    await until_held(home, webhook, 0)
    assert len(inbox.requests) == EVENTS


async def test_enabling_releases_too(home: House, inbox: Receiver) -> None:
    webhook = (await home.webhook(inbox.url, enabled=False))["id"]
    event = (await home.send())["id"]
    await until_held(home, webhook, 1)
    answer = await home.http.patch(f"/v1/webhooks/{webhook}", json={"enabled": True})
    assert answer.status_code == 200
    assert (await home.until_final(event))["status"] == "succeeded"


async def test_it_keeps_to_the_rate_and_stops_where_the_webhook_is_paused_again(home: House, inbox: Receiver) -> None:
    webhook, events = (await home.webhook(inbox.url, rate_limit=5))["id"], MAX_IN_FLIGHT + 5
    await pause(home, webhook)
    await send_many(home, events)
    await until_held(home, webhook, events)
    await resume(home, webhook)
    await inbox.got(3)
    await pause(home, webhook)
    run = home.temporal.get_workflow_handle(ids.release_id(webhook))
    async with asyncio.timeout(PATIENCE):
        await run.result()
    assert len(inbox.requests) < events
    await resume(home, webhook)
    await inbox.got(events)
    assert len(set(event_ids(inbox))) == len(inbox.requests) == events


async def test_what_a_person_holds_stays_held(home: House, inbox: Receiver) -> None:
    inbox.fails(503)
    webhook = (await home.webhook(inbox.url, retry={"schedule": [3600]}))["id"]
    theirs = (await home.send())["id"]
    await home.until_delivery(theirs, "retrying", attempts=1)
    assert (await home.command(theirs, "hold")).status_code == 202
    await pause(home, webhook)
    event = (await home.send())["id"]
    await until_held(home, webhook, 2)
    await resume(home, webhook)
    assert (await home.until_final(event))["status"] == "succeeded"
    await until_held(home, webhook, 1)
    assert [accepted_event["event_id"] for accepted_event in await listed(home, webhook, "held")] == [theirs]
    assert len(inbox.requests) == 2


async def test_what_came_to_rest_too_late_is_found_by_a_later_pass(home: House, inbox: Receiver) -> None:
    """Setup: a paused webhook, and one whose receiver takes its time.
    Timeline: a round reads both; while it waits for the slow one, the other is resumed, and the first pass finds
    nothing that is held. Then the round is over, and says that the webhook was paused.
    What this proves: a later pass releases that too.
    """
    webhook = (await home.webhook(inbox.url))["id"]
    await pause(home, webhook)
    async with receiver() as slow:
        slow.otherwise = Answer(delay=1.5)
        await home.webhook(slow.url)
        event = (await home.send())["id"]
        await slow.got(1)
        await resume(home, webhook)
        assert (await home.until_final(event))["status"] == "succeeded"
    assert event_ids(inbox) == [event]


async def test_resuming_again_repairs_a_release_that_was_never_started(home: House, inbox: Receiver) -> None:
    """As after a 503: the registry has the webhook resumed, and no release was started."""
    webhook = (await home.webhook(inbox.url))["id"]
    await pause(home, webhook)
    event = (await home.send())["id"]
    await until_held(home, webhook, 1)
    await home.store.set_paused(webhook, None, False)
    await resume(home, webhook)
    assert (await home.until_final(event))["status"] == "succeeded"
