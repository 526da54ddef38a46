"""What waits for its time while the worker that knew it is killed.

A new worker's first step of such a run can be given the time of an earlier step as `workflow.now()` (docs/temporal.md).
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from house import House
from receivers import Receiver
from worker import SANDBOX, WORKFLOWS
from worker_processes import worker_process


async def timers_of(home: House, event_id: str) -> int:
    """Count the timers of a run, after it has been replayed: that fails where two workers did not agree."""
    history = await home.run(event_id).fetch_history()
    replayer = Replayer(workflows=WORKFLOWS, data_converter=pydantic_data_converter, workflow_runner=SANDBOX)
    await replayer.replay_workflow(history)
    return sum(event.HasField("timer_started_event_attributes") for event in history.events)


async def attempts(event: dict[str, Any]) -> int:
    return len(event["deliveries"][0]["attempts"])


async def test_a_retry_that_became_due_meanwhile_comes_at_once(idle_house: House, inbox: Receiver) -> None:
    """Setup: a delivery that has failed and is to be tried again in two seconds.
    Timeline: its worker is killed; the two seconds pass; another worker starts.
    Proves: it is tried once more, and does not wait for the same time again.
    """
    inbox.fails(503)
    await idle_house.webhook(inbox.url, retry={"schedule": [1]})
    event_id = (await idle_house.send())["id"]
    async with worker_process(idle_house) as process:
        await inbox.got(1)
        await idle_house.until_delivery(event_id, "retrying", 1)
        process.kill()
    async with idle_house.working():
        event = await idle_house.until_final(event_id)
    assert (event["status"], await attempts(event)) == ("succeeded", 2)
    assert await timers_of(idle_house, event_id) == 1


async def test_an_event_whose_time_came_meanwhile_is_delivered_at_once(idle_house: House, inbox: Receiver) -> None:
    await idle_house.webhook(inbox.url)
    async with worker_process(idle_house) as process:
        first = (await idle_house.send())["id"]
        await idle_house.until_final(first)  # the worker is there
        event_id = (await idle_house.send(deliver_at=(datetime.now(UTC) + timedelta(seconds=2)).isoformat()))["id"]
        await asyncio.sleep(0.7)  # and has this run in its cache
        process.kill()
    async with idle_house.working():
        event = await idle_house.until_final(event_id)
    assert (event["status"], await attempts(event)) == ("succeeded", 1)
    assert await timers_of(idle_house, event_id) == 1


async def test_what_was_held_beyond_its_time_goes_when_it_is_released(idle_house: House, inbox: Receiver) -> None:
    """Setup: a delivery that has failed, is to be tried again in a second, and is held.
    Timeline: its worker is killed; the second passes; it is released; whoever asks how it is wakes another worker.
    Proves: it is tried once more, and the run can be replayed: no step of it went by the clock.
    """
    inbox.fails(503)
    await idle_house.webhook(inbox.url, retry={"schedule": [1]})
    event_id = (await idle_house.send())["id"]
    async with worker_process(idle_house) as process:
        await idle_house.until_delivery(event_id, "retrying", 1)
        assert (await idle_house.command(event_id, "hold")).status_code == 202
        await idle_house.until_delivery(event_id, "held", 1)
        process.kill()
    await asyncio.sleep(1.5)
    await idle_house.run(event_id).signal("release")
    async with idle_house.working():
        event = await idle_house.until_final(event_id)
    assert (event["status"], await attempts(event)) == ("succeeded", 2)
    assert await timers_of(idle_house, event_id) == 2
