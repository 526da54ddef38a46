"""Releases and recoveries find held and failed deliveries in each of the runs of a large event."""

import asyncio

from holding import until_held, until_listed
from test_recovery import LONG_AGO, OVER, counts, until

from crowds import crowd, statuses
from instances import Instance
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT


async def test_deliveries_of_a_part_are_released_and_recovered(instance: Instance, inbox: Receiver) -> None:
    """Setup: an event goes to 101 webhooks, in two parts; the last of them is paused, and refuses at first.
    Timeline: it is resumed; its delivery fails; the receiver is well; it is recovered.
    Proves: the bulk work finds the part, and no other webhook gets an event twice.
    """
    await crowd(instance, inbox.url, 100)
    inbox.otherwise = Answer(200)
    last = (await instance.webhook(f"{inbox.url}/last", retry={"schedule": []}))["id"]
    await instance.http.post(f"/v1/webhooks/{last}/pause")
    event = (await instance.send())["id"]
    await inbox.got(100)
    await until_held(instance, last, 1)
    inbox.otherwise = Answer(503)
    await instance.http.post(f"/v1/webhooks/{last}/resume")
    failed = await instance.until_final(event)
    assert statuses(failed) == {"failed": 1, "succeeded": 100}
    (row,) = await until_listed(instance, last, "failed", 1)
    assert row["event_id"] == event
    inbox.otherwise = Answer()
    answer = await instance.http.post(f"/v1/webhooks/{last}/recover", json={"since": LONG_AGO})
    over = await until(instance, answer.json(), *OVER)
    assert counts(over) == (1, 1, 0, 0)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.event(event))["status"] != "succeeded":
            await asyncio.sleep(0.1)
    paths = [request.path for request in inbox.requests]
    assert (paths.count("/hook"), paths.count("/hook/last")) == (100, 2)
