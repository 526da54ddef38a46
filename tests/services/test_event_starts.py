"""Tenants take turns in starting runs, and an event that is posted again waits for the start of its run."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from hookkeeper.messages.event import EventInput
from hookkeeper.services import event_starts
from hookkeeper.services.event_starts import MAX_CONCURRENT_STARTS
from hookkeeper.services.start_queue import MAX_EVENT_BYTES
from hookkeeper.temporal.events.own_runs import EventSnapshot
from instances import Instance


async def test_a_flood_of_one_tenant_delays_no_start_of_another(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tenant's starts hang, as many as it may have; another's event is accepted all the same. None shares a run."""
    start, go_on, hanging = idle_instance.gateway.start, asyncio.Event(), list[str]()

    async def hangs_for_one(event: EventInput) -> EventSnapshot:
        if event.tenant == idle_instance.tenant:
            hanging.append(event.id)
            await go_on.wait()
        return await start(event)

    monkeypatch.setattr(idle_instance.gateway, "start", hangs_for_one)
    large = "x" * MAX_EVENT_BYTES
    flood = [asyncio.create_task(idle_instance.send(data=large)) for _ in range(MAX_CONCURRENT_STARTS)]
    while len(hanging) < MAX_CONCURRENT_STARTS // 2:
        await asyncio.sleep(0.01)
    other = await idle_instance.send(tenant=f"{idle_instance.tenant}-other", data=large)
    assert other["duplicate"] is False
    assert len(hanging) == MAX_CONCURRENT_STARTS // 2
    go_on.set()
    accepted = await asyncio.gather(*flood)
    assert len({event["run_id"] for event in accepted}) == MAX_CONCURRENT_STARTS


async def test_an_event_that_is_posted_again_waits_for_the_start_of_its_shared_run_however_long_it_takes(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: the start of a shared run takes longer than a start of another process is waited for.
    Timeline: the request of one of its events breaks off; the event is posted again. Proves: it is not moved to
    another run.
    """
    start, go_on, starting = idle_instance.gateway.start_shared, asyncio.Event(), list[str]()

    async def slow(shared_run: str, events: Sequence[EventInput]) -> str | None:
        starting.extend(event.id for event in events)
        await go_on.wait()
        return await start(shared_run, events)

    monkeypatch.setattr(idle_instance.gateway, "start_shared", slow)
    monkeypatch.setattr(event_starts, "START_TIME", timedelta(0))
    requests = {f"e{n}": asyncio.create_task(idle_instance.send(id=f"e{n}")) for n in range(6)}
    while len(starting) < 2:
        await asyncio.sleep(0.01)
    broken_off = starting[0]
    requests.pop(broken_off).cancel()
    again = asyncio.create_task(idle_instance.send(id=broken_off))
    await asyncio.sleep(0.3)
    assert not again.done()
    go_on.set()
    accepted = {event["id"]: event for event in await asyncio.gather(*requests.values())}
    assert (await again)["run_id"] == accepted[starting[1]]["run_id"]
