"""A worker is killed while it releases what one webhook held and redelivers what has failed for another."""

import asyncio
from collections import Counter

from holding import farthest, send_many, until_held, until_listed
from test_recovery import LONG_AGO, OVER, counts, until

from activities import recovery, release
from instances import Instance
from receivers import Answer, Receiver, receiver
from worker_processes import SOON_UNSTUCK, worker_process

HELD, FAILED = 20, 20
RATE = 2
BEGUN = 4
"""Events of each kind that are sent before the worker is killed."""


async def test_a_killed_worker_repeats_and_reorders_no_bulk_work(idle_instance: Instance, inbox: Receiver) -> None:
    """Setup: one webhook holds twenty events; for another twenty have failed, and will fail again: what was redelivered
    looks like what was not.
    Timeline: the one is resumed, the other recovered; in the middle of both the worker is killed; another one starts.
    Proves: each event is released and redelivered once, the oldest first; only what was under way when the
    worker was killed is sent twice, with one attempt in the log.
    """
    instance = idle_instance
    async with receiver() as bad:
        bad.otherwise = Answer(503)
        inbox.answers, inbox.otherwise = [Answer()] * BEGUN, Answer(gate=(gate := asyncio.Event()))
        held = (await instance.webhook(inbox.url, events=["held"]))["id"]
        failed = (await instance.webhook(bad.url, events=["failed"], retry={"schedule": []}))["id"]
        await instance.http.post(f"/v1/webhooks/{held}/pause")
        async with instance.working():
            to_release = await send_many(instance, HELD, "held")
            to_recover = await send_many(instance, FAILED, "failed")
            await until_held(instance, held, HELD)
            await until_listed(instance, failed, "failed", FAILED)
        bad.requests.clear()
        async with worker_process(instance, timeouts=SOON_UNSTUCK):
            await instance.http.post(f"/v1/webhooks/{held}/resume")
            answer = await instance.http.post(f"/v1/webhooks/{failed}/recover", json={"since": LONG_AGO, "rate": RATE})
            await inbox.got(BEGUN)
            await bad.got(BEGUN)
        gate.set()
        inbox.otherwise = Answer(delay=0.3)
        released, redelivered = len(inbox.requests), len(bad.requests)
        assert released < HELD and redelivered < FAILED
        async with instance.working():
            job = await until(instance, answer.json(), *OVER)
            assert counts(job) == (FAILED, FAILED, 0, 0)
            await inbox.got(HELD)
            for event_id in to_release:
                (delivery,) = (await instance.until_final(event_id))["deliveries"]
                assert len(delivery["attempts"]) == 1
            for event_id in to_recover:
                (delivery,) = (await instance.until_final(event_id))["deliveries"]
                assert [attempt["number"] for attempt in delivery["attempts"]] == [1, 2]
        got = [request.webhook_id for request in inbox.requests]
        assert set(got) == set(to_release)
        assert len(got) - HELD <= release.MAX_IN_FLIGHT
        assert farthest(to_release, list(dict.fromkeys(got))) <= release.MAX_IN_FLIGHT
        again = Counter(request.webhook_id for request in bad.requests)
        assert set(again) == set(to_recover)
        assert again.total() - FAILED <= recovery.MAX_CONCURRENT_REDELIVERIES
