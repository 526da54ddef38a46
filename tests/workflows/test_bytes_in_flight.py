"""A tenant whose small events make large bodies for receivers that read nothing, and the memory of the worker."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client

from activities.memory_budget import request_memory
from instances import Instance, running_instance
from receivers import Answer, Receiver, receiver
from silent_receivers import SilentReceiver, silent_receiver
from worker_processes import WorkerProcess, worker_process

MIB = 1024 * 1024
BODY = 500 * 1024
LARGE = {"template": "{% for _ in range(50) %}" + "x" * (BODY // 50) + "{% endfor %}", "content_type": "text/plain"}
WEBHOOKS, EVENTS = 20, 25
"""Requests of the hostile tenant: 500 requests, whose bodies alone are 250 MB."""
AT_ONCE = 96 * MIB // request_memory(BODY)
"""Requests with such bodies that one tenant's budget allows."""
RESERVED_AT_ONCE = 96 * MIB // request_memory(512 * 1024)
"""The same before their bodies are made."""


async def resident_bytes(process: WorkerProcess) -> int:
    command = ("ps", "-o", "rss=", "-p", str(process.pid))
    ps = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    written, _ = await ps.communicate()
    return int(written) * 1024


async def post_large(instance: Instance, silent: SilentReceiver) -> str:
    """Post events of another tenant, each to many webhooks whose templates make large bodies."""
    tenant = f"{instance.tenant}-hostile"
    for number in range(WEBHOOKS):
        await instance.webhook(f"{silent.url}/{number}", tenant=tenant, payload=LARGE, timeout=30)
    for _ in range(EVENTS):
        await instance.send(tenant=tenant)
    return tenant


async def test_bodies_that_no_receiver_reads_take_bounded_memory_and_delay_no_other_tenant(
    idle_instance: Instance, inbox: Receiver
) -> None:
    """Timeline: a worker process starts and delivers one event; the hostile tenant's events fill its budget; another
    tenant's events are sent. Proves: they are delivered by their first attempts while each hostile request hangs.
    """
    instance = idle_instance
    webhook = await instance.webhook(inbox.url, payload={"template": "{{ event.data }}"})
    async with silent_receiver() as silent, worker_process(instance) as process:
        await instance.until_final((await instance.send(data=0))["id"])
        before = await resident_bytes(process)
        await post_large(instance, silent)
        await silent.until_open(RESERVED_AT_ONCE)
        for number in range(1, 6):
            event = await instance.until_final((await instance.send(data=number))["id"])
            assert event["status"] == "succeeded"
            assert len(event["deliveries"][0]["attempts"]) == 1
        assert silent.ended == 0
        await asyncio.sleep(3)  # for more requests to come, if nothing keeps them away
        grown = await resident_bytes(process) - before
        print(f"{silent.most} requests under way at once, {grown / MIB:.0f} MiB more")
        assert silent.most <= AT_ONCE
        assert grown < 200 * MIB
    health = (await instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()["health"]
    assert health["failures"] == 0


@pytest.mark.promise("docs/limits.md")
async def test_a_delivery_without_memory_is_deferred_and_no_attempt_counted(
    temporal: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: of five requests, two fit the tenant's budget and hang; the others wait for 0.1 s only. Then all are
    answered.
    """
    monkeypatch.setattr("hookkeeper.egress.request_state.SLOT_TIMEOUT", 0.1)
    async with running_instance(temporal, tmp_path, max_bytes_in_flight=8 * MIB) as instance, receiver() as slow:
        slow.otherwise = Answer(gate=asyncio.Event())
        for _ in range(5):
            await instance.webhook(slow.url, payload=LARGE, timeout=30)
        async with instance.working():
            accepted = await instance.send()
            await slow.got(2)
            await asyncio.sleep(1)  # for a third request to come, if nothing keeps it away
            assert len(slow.requests) == 2
            assert slow.otherwise.gate is not None
            slow.otherwise.gate.set()
            event = await instance.until_final(accepted["id"])
    assert event["status"] == "succeeded"
    assert [len(delivery["attempts"]) for delivery in event["deliveries"]] == [1] * 5


async def test_data_of_events_takes_bounded_memory_and_delays_no_other_tenant(
    temporal: Client, tmp_path: Path, inbox: Receiver
) -> None:
    """Timeline: four events that take over 2 MiB each as Python objects go to a receiver that does not answer; another
    tenant's event is sent. Proves: one of the four is in the worker at a time, and the other event is delivered.
    """
    settings = {"max_bytes_in_flight": 8 * MIB, "shutdown_timeout": timedelta(seconds=1)}
    async with running_instance(temporal, tmp_path, **settings) as instance, receiver() as slow:
        slow.otherwise = Answer(gate=asyncio.Event())
        hostile = f"{instance.tenant}-hostile"
        await instance.webhook(slow.url, tenant=hostile, timeout=30)
        await instance.webhook(inbox.url)
        async with instance.working():
            for number in range(4):
                data: list[object] = [[] for _ in range(18_000)]
                await instance.send(tenant=hostile, id=f"e{number}", data=data)
            await slow.got(1)
            event = await instance.until_final((await instance.send())["id"])
            assert event["status"] == "succeeded"
            assert len(event["deliveries"][0]["attempts"]) == 1
            assert len(slow.requests) == 1
            assert slow.otherwise.gate is not None
            slow.otherwise.gate.set()
            instance.tenant = hostile
            for number in range(4):
                shown = await instance.until_final(f"e{number}")
                assert shown["status"] == "succeeded"
                assert len(shown["deliveries"][0]["attempts"]) == 1
