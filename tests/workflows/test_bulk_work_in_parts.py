"""An event with very many targets goes in parts: what is held or has failed in one of them is found there."""

import asyncio

from holding import until_held, until_listed
from test_recovery import LONG_AGO, OVER, counts, until

from crowds import crowd, statuses
from house import House
from patience import PATIENCE
from receivers import Answer, Receiver


async def test_a_part_is_released_and_recovered(home: House, inbox: Receiver) -> None:
    """Setup: an event goes to 101 webhooks, in two parts; the last of them is paused, and refuses at first.
    Timeline: it is resumed; its delivery fails; the receiver is well; it is recovered.
    Proves: the bulk work finds the part, and no other webhook gets an event twice.
    """
    await crowd(home, inbox.url, 100)
    inbox.otherwise = Answer(200)
    last = (await home.webhook(f"{inbox.url}/last", retry={"schedule": []}))["id"]
    await home.http.post(f"/v1/webhooks/{last}/pause")
    event = (await home.send())["id"]
    await inbox.got(100)
    await until_held(home, last, 1)
    inbox.otherwise = Answer(503)
    await home.http.post(f"/v1/webhooks/{last}/resume")
    failed = await home.until_final(event)
    assert statuses(failed) == {"failed": 1, "succeeded": 100}
    (row,) = await until_listed(home, last, "failed", 1)
    assert row["event_id"] == event
    inbox.otherwise = Answer()
    answer = await home.http.post(f"/v1/webhooks/{last}/recover", json={"since": LONG_AGO})
    over = await until(home, answer.json(), *OVER)
    assert counts(over) == (1, 1, 0, 0)
    async with asyncio.timeout(PATIENCE):
        while (await home.event(event))["status"] != "succeeded":
            await asyncio.sleep(0.1)
    paths = [request.path for request in inbox.requests]
    assert (paths.count("/hook"), paths.count("/hook/last")) == (100, 2)
