"""A webhook that hangs occupies some slots of a worker, never all of them."""

import asyncio
from functools import partial
from pathlib import Path
from unittest.mock import create_autospec

from temporalio.client import Client

from activities.rate_gate import RateGate
from hookkeeper.registry.slots import Slots
from hookkeeper.temporal.rate_mode import RateMode
from instances import running_instance
from receivers import Answer, receiver


def test_requests_up_to_the_limit_are_within_it() -> None:
    request = partial(RateGate(create_autospec(Slots), RateMode("queue"), max_concurrent=2).in_flight, limited=False)
    with request("a") as first, request("a") as second, request("a") as third, request("b") as other:
        assert (first, second, third, other) == (True, True, False, True)
    with request("a") as again:
        assert again


def test_the_limited_queue_has_twice_the_limit() -> None:
    request = partial(RateGate(create_autospec(Slots), RateMode("queue"), max_concurrent=1).in_flight, "a")
    with request(limited=False), request(limited=True) as more, request(limited=True) as too_many:
        assert (more, too_many) == (True, False)


async def test_a_hanging_webhook_delays_no_other(temporal: Client, tmp_path: Path) -> None:
    settings = {"max_concurrent_activities": 12, "max_concurrent_per_webhook": 2}
    async with (
        running_instance(temporal, tmp_path, **settings) as instance,
        receiver() as hanging,
        receiver() as healthy,
    ):
        hanging.otherwise = Answer(delay=40.0)
        await instance.webhook(hanging.url, events=["bad"], timeout=15, retry={"schedule": []})
        await instance.webhook(healthy.url, events=["good"])
        async with instance.working():
            bad = [await instance.send("bad") for _ in range(20)]
            good = [await instance.send("good") for _ in range(20)]
            await asyncio.gather(*(instance.until(accepted_event["id"], "succeeded") for accepted_event in good))
            # Six slots, as one tenant has of twelve, at 15 s each would have kept the healthy ones waiting for
            # the hanging ones before them.
            assert (
                len(
                    [
                        accepted_event
                        for accepted_event in bad
                        if (await instance.event(accepted_event["id"]))["status"] == "delivering"
                    ]
                )
                >= 10
            )
            await instance.command(bad[-1]["id"], "cancel")
            event = await instance.until_final(bad[-1]["id"])
            assert event["status"] == "cancelled"


async def test_a_request_over_the_limit_costs_no_attempt(temporal: Client, tmp_path: Path) -> None:
    settings = {"max_concurrent_per_webhook": 2}
    async with running_instance(temporal, tmp_path, **settings) as instance, receiver() as slow:
        slow.otherwise = Answer(delay=0.3)
        await instance.webhook(slow.url, retry={"schedule": []})
        async with instance.working():
            sent = await asyncio.gather(*(instance.send() for _ in range(10)))
            for accepted_event in sent:
                event = await instance.until_final(accepted_event["id"])
                assert event["status"] == "succeeded"
                assert [attempt["number"] for attempt in event["deliveries"][0]["attempts"]] == [1]
        assert len(slow.requests) == 10


async def test_a_hanging_webhook_does_not_fill_the_limited_queue(temporal: Client, tmp_path: Path) -> None:
    """It holds four of the eight slots that one tenant has of sixteen: a webhook with a rate is served beside it."""
    settings = {"max_concurrent_activities": 16, "max_concurrent_per_webhook": 2}
    async with (
        running_instance(temporal, tmp_path, **settings) as instance,
        receiver() as hanging,
        receiver() as healthy,
    ):
        hanging.otherwise = Answer(delay=60.0)
        await instance.webhook(hanging.url, events=["bad"], timeout=30, retry={"schedule": []})
        await instance.webhook(healthy.url, events=["good"], rate_limit=50)
        async with instance.working():
            for _ in range(30):
                await instance.send("bad")
            await asyncio.sleep(6)  # two a second were over the limit: by now, they would have all slots
            good = await instance.send("good")
            assert (await instance.until_final(good["id"]))["status"] == "succeeded"
            assert len(hanging.requests) == 4, "none of them has ended"
