"""A webhook that hangs occupies some slots of a worker, never all of them."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client

from activities.webhook_concurrency import WebhookConcurrency
from instances import running_instance
from receivers import Answer, receiver


async def test_requests_up_to_the_limit_are_within_it() -> None:
    slot = WebhookConcurrency(2).slot
    async with slot("a") as first, slot("a") as second, slot("a") as third, slot("b") as other:
        assert (first, second, third, other) == (True, True, False, True)
    async with slot("a") as again:
        assert again


async def test_the_pace_is_that_of_the_requests_in_flight() -> None:
    now = 100.0
    concurrency = WebhookConcurrency(20, lambda: now)
    assert concurrency.pace("a") == 20.0
    async with concurrency.slot("a"):
        now += 8
        async with concurrency.slot("a"), concurrency.slot("b"):
            assert (concurrency.pace("a"), concurrency.pace("b")) == (5.0, 20.0)
            now += 6
            assert concurrency.pace("a") == 2.0
        assert concurrency.pace("a") == pytest.approx(20 / 14)
        now += 1000
        assert concurrency.pace("a") == pytest.approx(20 / 60)
    assert concurrency.pace("a") == 20.0


async def test_a_slot_that_was_just_handed_over_does_not_change_the_pace() -> None:
    concurrency = WebhookConcurrency(1, lambda: 50_000.0)
    async with concurrency.slot("a"):
        waiting = asyncio.create_task(_occupy(concurrency, "a"))
        await asyncio.sleep(0)
    assert concurrency.pace("a") == 1.0
    await waiting
    assert concurrency.pace("a") == 1.0


async def _occupy(concurrency: WebhookConcurrency, webhook: str) -> None:
    async with concurrency.slot(webhook, waits=True):
        assert concurrency.pace(webhook) == 1.0


class Requests:
    """Requests of events that share an activity."""

    def __init__(self, limit: int) -> None:
        self.concurrency = WebhookConcurrency(limit)
        self.made: list[int] = []
        self.deferred: list[int] = []
        self.most = 0
        self._now = 0

    async def request(self, number: int, seconds: float) -> None:
        async with self.concurrency.slot("a", waits=True) as is_within_limit:
            if not is_within_limit:
                self.deferred.append(number)
                return
            self._now += 1
            self.most = max(self.most, self._now)
            self.made.append(number)
            await asyncio.sleep(seconds)
            self._now -= 1


async def test_requests_that_wait_are_made_in_their_order_while_the_webhook_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves: the last of them waits for longer than a webhook may hang, as others end all the time."""
    monkeypatch.setattr("activities.webhook_concurrency.STALL_SECONDS", 0.1)
    requests = Requests(limit=2)
    await asyncio.gather(*(requests.request(number, 0.03) for number in range(20)))
    assert sorted(requests.made) == list(range(20))
    # Two that get their places in the same moment may change theirs: one of them was about to look for itself.
    assert all(abs(number - place) <= 1 for place, number in enumerate(requests.made)), requests.made
    assert requests.most == 2
    assert not requests.deferred
    async with requests.concurrency.slot("a"), requests.concurrency.slot("a") as again:
        assert again, "each place was given back"


async def test_requests_that_wait_for_a_webhook_that_hangs_are_deferred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.webhook_concurrency.STALL_SECONDS", 0.1)
    requests = Requests(limit=2)
    await asyncio.gather(*(requests.request(number, 0.5) for number in range(5)))
    assert (sorted(requests.made), sorted(requests.deferred)) == ([0, 1], [2, 3, 4])


async def test_requests_that_get_no_slot_let_none_wait_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves: a request that comes after its webhook has stalled does not wait at all."""
    monkeypatch.setattr("activities.webhook_concurrency.STALL_SECONDS", 0.2)
    concurrency = WebhookConcurrency(1)
    async with concurrency.slot("a"):
        waiting = asyncio.create_task(_waits_for(concurrency))
        for _ in range(5):
            await asyncio.sleep(0.1)
            async with concurrency.slot("a") as is_within_limit:
                assert not is_within_limit
        assert waiting.done()
        assert waiting.result() == pytest.approx(0.2, abs=0.1)
        assert await _waits_for(concurrency) < 0.05


async def _waits_for(concurrency: WebhookConcurrency) -> float:
    """Return the seconds that a request waits for its slot, which it does not get."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with concurrency.slot("a", waits=True) as is_within_limit:
        assert not is_within_limit
        return loop.time() - start


async def test_a_cancelled_request_frees_its_slot() -> None:
    requests = Requests(limit=1)
    first, second = [asyncio.create_task(requests.request(number, 0.05)) for number in range(2)]
    await asyncio.sleep(0.01)
    second.cancel()
    await first
    third = asyncio.create_task(requests.request(2, 0.05))
    fourth = asyncio.create_task(requests.request(3, 0.0))
    await asyncio.sleep(0.01)
    third.cancel()
    await fourth
    assert requests.made == [0, 2, 3]


async def test_a_hanging_webhook_delays_no_other(temporal: Client, tmp_path: Path) -> None:
    settings = {
        "max_concurrent_activities": 12,
        "max_concurrent_per_webhook": 2,
        "shutdown_timeout": timedelta(seconds=1),
    }
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


async def test_requests_that_return_to_a_hanging_webhook_do_not_fill_the_queue(
    temporal: Client, tmp_path: Path
) -> None:
    """It holds two of the four slots that one tenant has of eight: a webhook with a rate is served beside it."""
    settings = {
        "max_concurrent_activities": 8,
        "max_concurrent_per_webhook": 2,
        "shutdown_timeout": timedelta(seconds=1),
    }
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
            await asyncio.sleep(3)  # two a second return: by now, they would have all slots
            good = await instance.send("good")
            assert (await instance.until_final(good["id"]))["status"] == "succeeded"
            assert len(hanging.requests) == 2, "none of them has ended"
