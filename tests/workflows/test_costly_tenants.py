"""A tenant with very costly filters and templates does not delay another one: in the API and in the worker."""

import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client

from instances import Instance, running_instance
from receivers import Receiver

BOMB = "{% set x = event.data.items %}" + "{% set _ = x.extend(x) %}" * 18 + "{% set _ = x.count(11) %}" * 20
SLOWDOWN = 20
"""With one queue for all, it was a hundred times."""
FILTER_BOMB = "event.data.items.map(a, " * 8 + "[a]" + ")" * 8 + ".size() > 0"


@pytest.fixture
async def instance(temporal: Client, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance whose worker does not see through, at its end, what the hostile tenant has posted."""
    async with running_instance(temporal, tmp_path, shutdown_timeout=timedelta(seconds=1)) as built, built.working():
        yield built


@pytest.mark.alone
async def test_an_event_is_taken_and_delivered_next_to_bombs(instance: Instance, inbox: Receiver) -> None:
    """With one queue for all, the event was taken after 4.6 s and delivered after 26 s."""
    hostile = f"{instance.tenant}-hostile"
    for number in range(8):
        await instance.webhook(inbox.url, tenant=hostile, filter=f"{FILTER_BOMB} // {number}")
        await instance.webhook(inbox.url, tenant=hostile, payload={"template": f"{BOMB}{number}"}, events=["bomb"])
    await instance.webhook(f"{inbox.url}/good", filter="event.data.n > 1", payload={"template": "{{ event.data.n }}"})
    calm_taken, calm_delivered = await measure(instance)
    numbers = itertools.count()

    async def bomb() -> None:
        while True:
            data = {"items": list(range(10)), "n": next(numbers)}
            await instance.http.post("/v1/events", json={"type": "bomb", "tenant": hostile, "data": data})

    bombing = [asyncio.create_task(bomb()) for _ in range(6)]
    await asyncio.sleep(0.5)
    taken, delivered = await measure(instance)
    for task in bombing:
        task.cancel()
    await asyncio.gather(*bombing, return_exceptions=True)
    print(
        f"without bombs: taken after {calm_taken:.2f} s, delivered after {calm_delivered:.2f} s; "
        f"with: {taken:.2f} s, {delivered:.2f} s"
    )
    assert taken < max(1, SLOWDOWN * calm_taken)
    assert delivered < max(3, SLOWDOWN * calm_delivered)


async def measure(instance: Instance) -> tuple[float, float]:
    """Give the median seconds until an event is taken, and until it is delivered."""
    taken, delivered = [], []
    for number in range(2, 12):
        started = time.perf_counter()
        event = await instance.send(data={"n": number})
        taken.append(time.perf_counter() - started)
        event = await instance.until_final(event["id"])
        delivered.append(time.perf_counter() - started)
        assert event["status"] == "succeeded"
        await asyncio.sleep(0.1)
    return statistics.median(taken), statistics.median(delivered)
