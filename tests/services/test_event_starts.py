"""Tenants take turns in starting runs."""

import asyncio

import pytest

from hookkeeper.messages.event import EventInput
from hookkeeper.services.event_starts import MAX_CONCURRENT_STARTS
from hookkeeper.services.start_queue import MAX_EVENT_BYTES
from hookkeeper.temporal.own_runs import EventSnapshot
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
