"""A round whose worker dies or is stopped: real worker processes, real signals."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from house import House
from receivers import Answer, Receiver, receiver

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def worker_process(home: House) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `hookkeeper worker` for this house, and see to it that it ends with the block."""
    settings = home.settings
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "hookkeeper", "worker"),
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "HOOKKEEPER_DATABASE_URL": settings.database_url,
            "HOOKKEEPER_TASK_QUEUE": settings.task_queue,
            "HOOKKEEPER_ALLOWED_NETWORKS": ",".join(settings.allowed_networks),
            "TEMPORAL_ADDRESS": home.temporal.service_client.config.target_host,
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.timeout(90)
async def test_what_a_killed_worker_had_sent_is_not_sent_again(idle_house: House, inbox: Receiver) -> None:
    async with receiver() as slow:
        slow.answers = [Answer(delay=60)]
        for each in (inbox, slow):
            await idle_house.webhook(each.url, timeout=30)
        accepted = await idle_house.send()
        async with worker_process(idle_house) as process:
            await inbox.got(1, seconds=30)
            await slow.got(1)
            await asyncio.sleep(2.5)  # a heartbeat, at most a second apart, carries the first outcome
            process.kill()
        async with idle_house.working():
            event = await idle_house.until_final(accepted["id"], seconds=30)
        assert event["status"] == "succeeded"
        assert len(inbox.requests) == 1, "its outcome was in a heartbeat"
        assert len(slow.requests) == 2, "it was under way: only such can arrive twice"
        assert {request.webhook_id for request in slow.requests} == {accepted["id"]}
        assert [len(each["attempts"]) for each in event["deliveries"]] == [1, 1], "our fault costs no attempt"


@pytest.mark.timeout(90)
async def test_a_stopping_worker_finishes_what_is_under_way(idle_house: House, inbox: Receiver) -> None:
    inbox.answers = [Answer(delay=2)]
    await idle_house.webhook(inbox.url)
    accepted = await idle_house.send()
    async with worker_process(idle_house) as process:
        await inbox.got(1, seconds=30)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    async with idle_house.working():
        event = await idle_house.until_final(accepted["id"])
    assert event["status"] == "succeeded"
    assert len(inbox.requests) == 1


async def test_a_round_of_many_is_one_activity(home: House, inbox: Receiver) -> None:
    for _ in range(150):
        await home.webhook(inbox.url)
    event = await home.until_final((await home.send())["id"], seconds=30)
    assert event["status"] == "succeeded"
    assert len(event["deliveries"]) == len(inbox.requests) == 150
    history = await home.run(event["id"]).fetch_history()
    scheduled = [each for each in history.events if each.HasField("activity_task_scheduled_event_attributes")]
    assert len(scheduled) == 1
