"""Without fairness on the server, timers keep the rates: each webhook its own, whatever others have waiting."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from hookkeeper import temporal_names
from hookkeeper.temporal.fairness import is_fair
from hookkeeper.temporal.rate_mode import configure, keeping_rates, rates_kept_by
from instances import Instance, running_instance
from receivers import Answer, Receiver, receiver
from timeouts import WAIT_TIMEOUT

RATE = 4.0
BACKLOG, OTHERS = 60, 8


@pytest.fixture
async def unfair(unfair_temporal: Client, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance with a worker on a server without fairness."""
    async with running_instance(unfair_temporal, tmp_path) as built, built.working():
        yield built


async def test_a_backlog_delays_no_other_tenant(unfair: Instance, inbox: Receiver) -> None:
    """Setup: a limited webhook with 15 seconds' worth of events waiting, and a limited webhook of another tenant.

    Proves: the other one has all its events long before the backlog is over; both keep their rate; none is lost.
    """
    async with receiver() as other:
        await unfair.webhook(inbox.url, rate_limit=RATE)
        first_of_backlog = time.monotonic()
        sent = await asyncio.gather(*(unfair.send() for _ in range(BACKLOG)))
        await inbox.got(1)
        body = {"url": other.url, "tenant": "another", "rate_limit": RATE}
        assert (await unfair.http.post("/v1/webhooks", json=body)).status_code == 201
        first_post = time.monotonic()
        for _ in range(OTHERS):
            await unfair.send("a", tenant="another")
        of_other = await other.got(OTHERS)
        assert len(inbox.requests) < BACKLOG, "the other webhook had to wait for the backlog"
        # On a busy machine each request can be late, and none is early: the last one comes after all slots before it.
        assert of_other[-1].at - first_post > (OTHERS - 1) / RATE - 0.05
        assert (await inbox.got(BACKLOG))[-1].at - first_of_backlog > (BACKLOG - 1) / RATE - 0.05
    for event in sent:
        (delivery,) = (await unfair.until_final(event["id"]))["deliveries"]
        assert (delivery["status"], len(delivery["attempts"])) == ("succeeded", 1)
    assert len(inbox.requests) == BACKLOG


async def test_requests_over_the_concurrency_limit_are_deferred_and_made(
    unfair_temporal: Client, tmp_path: Path
) -> None:
    async with (
        running_instance(unfair_temporal, tmp_path, max_concurrent_per_webhook=2) as instance,
        receiver() as slow,
    ):
        slow.otherwise = Answer(delay=0.3)
        await instance.webhook(slow.url, retry={"schedule": []})
        async with instance.working():
            for accepted_event in await asyncio.gather(*(instance.send() for _ in range(10))):
                event = await instance.until_final(accepted_event["id"])
                assert [attempt["number"] for attempt in event["deliveries"][0]["attempts"]] == [1]
        assert len(slow.requests) == 10


async def test_a_delivery_that_waits_for_its_reserved_time_takes_commands(unfair: Instance, inbox: Receiver) -> None:
    """What waits can be sent at once, held, released and cancelled, as where a queue keeps the rate."""
    await unfair.webhook(inbox.url, rate_limit=0.01)
    first = (await unfair.send())["id"]
    await unfair.until_final(first)  # it has the only slot: of events sent together, any could be the first to ask
    hurried, cancelled, held = [(await unfair.send())["id"] for _ in range(3)]
    for event_id in (hurried, cancelled, held):
        await until_waiting(unfair, event_id)
    assert (await unfair.command(hurried, "retry")).status_code == 202
    event = await unfair.until_final(hurried)
    assert [attempt["trigger"] for attempt in event["deliveries"][0]["attempts"]] == ["manual"]
    assert (await unfair.command(cancelled, "cancel")).status_code == 202
    assert (await unfair.until_final(cancelled))["status"] == "cancelled"
    assert (await unfair.command(held, "hold")).status_code == 202
    await unfair.until_delivery(held, "held")
    assert (await unfair.command(held, "release")).status_code == 202
    assert (await unfair.event(held))["deliveries"][0]["status"] == "pending"
    assert len(inbox.requests) == 2


async def until_waiting(instance: Instance, event_id: str) -> None:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.event(event_id))["deliveries"][0]["next_attempt_at"] is None:
            await asyncio.sleep(0.05)


async def test_a_busy_receiver_is_left_alone_and_then_gets_all(unfair: Instance, inbox: Receiver) -> None:
    inbox.answers = [Answer(429, headers={"retry-after": "3"})]
    await unfair.webhook(inbox.url, retry={"schedule": [0.1]})
    first = (await unfair.send())["id"]
    await unfair.until_delivery(first, "retrying", attempts=1)
    later = [(await unfair.send())["id"] for _ in range(3)]
    for event_id in (first, *later):
        assert (await unfair.until_final(event_id))["status"] == "succeeded"
    assert min(request.at for request in inbox.requests[1:]) - inbox.requests[0].at > 2.9


async def test_api_and_queue_show_what_keeps_the_rates(unfair: Instance, idle_instance: Instance) -> None:
    """On the server without fairness and on the other; a limit that an older worker left on the queue is removed."""
    await until_ready_with(unfair, "timers")
    async with idle_instance.working():
        await until_ready_with(idle_instance, "queue")
    assert await rates_kept_by(unfair.temporal, unfair.settings.task_queue) == "timers"


async def until_ready_with(instance: Instance, rates: str) -> None:
    """Wait until the API shows this: workers test the server, and for a second the API keeps what it knew before."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.http.get("/readyz")).json() != {
            "status": "ready",
            "rates": rates,
            "workers": "running",
        }:
            await asyncio.sleep(0.1)


async def test_a_worker_starts_with_the_stored_result_and_corrects_it(unfair_temporal: Client) -> None:
    """Setup: a result of another server. Timeline: a worker starts with it, tests for seconds, and corrects it."""
    queue = f"rates-{uuid.uuid4().hex}"
    await configure(unfair_temporal, queue, "queue")
    async with keeping_rates(await another_connection(unfair_temporal), queue) as mode:
        assert mode.keeper == "queue"
        async with asyncio.timeout(WAIT_TIMEOUT):
            while mode.keeper == "queue":
                await asyncio.sleep(0.1)
    assert await rates_kept_by(unfair_temporal, queue) == "timers"


async def another_connection(client: Client) -> Client:
    """Connect anew: the result of the test is remembered for each connection."""
    return await Client.connect(client.service_client.config.target_host)


@pytest.mark.parametrize("fair", [True, False])
async def test_the_fairness_check_finds_the_mode_and_leaves_no_run(
    temporal: Client, unfair_temporal: Client, fair: bool
) -> None:
    client = temporal if fair else unfair_temporal
    assert await is_fair(client) is fair
    query = f"WorkflowType = '{temporal_names.FAIRNESS_CHECK}'"
    async with asyncio.timeout(WAIT_TIMEOUT):
        while [run async for run in client.list_workflows(query)]:
            await asyncio.sleep(0.2)
