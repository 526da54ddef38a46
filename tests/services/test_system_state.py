"""The state of the installation that metrics show: read seldom, and left out if it cannot be read."""

import asyncio
import math

import pytest
from temporalio.client import Client

from cloud import cloud
from hookkeeper import metrics
from hookkeeper.registry.store import Store
from hookkeeper.services.system import state as system_state
from hookkeeper.services.system.state import SystemState
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.server import readiness
from instances import Instance
from receivers import Receiver
from temporal_processes import free_ports
from timeouts import WAIT_TIMEOUT
from workflows.commands import Commands


async def shown(state: SystemState) -> dict[str, float]:
    """Return the samples by name and labels, as one text."""
    registries = await state.registries()
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sample.labels.items()): sample.value
        for registry in registries
        for family in registry.collect()
        for sample in family.samples
    }


async def test_webhooks_and_tasks_are_counted_at_most_every_15_seconds(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = idle_instance
    for name in ("one", "two"):
        await instance.webhook(f"https://acme.example/{name}")
    paused, disabled = [await instance.webhook(f"https://acme.example/{n}") for n in range(2)]
    await instance.http.post(f"/v1/webhooks/{paused['id']}/pause")
    await instance.http.patch(f"/v1/webhooks/{disabled['id']}", json={"enabled": False})
    await instance.send()
    async with asyncio.timeout(WAIT_TIMEOUT):
        # The server queues the run's first task a moment later.
        while (await instance.gateway.readiness.backlog())["main"] < 1:
            await asyncio.sleep(0.05)
    state = SystemState(instance.store, instance.gateway)
    found = await shown(state)
    assert found["hookkeeper_webhooks state=new"] == 2
    assert found["hookkeeper_webhooks state=paused"] == 1
    assert found["hookkeeper_webhooks state=disabled"] == 1
    assert found["hookkeeper_webhooks state=failing"] == 0
    assert found["hookkeeper_backlog_tasks queue=main"] == 1
    assert found["hookkeeper_source_up source=temporal"] == 1
    await instance.webhook("https://acme.example/three")
    assert (await shown(state))["hookkeeper_webhooks state=new"] == 2
    monkeypatch.setattr(system_state, "MAX_AGE", 0.0)
    assert (await shown(state))["hookkeeper_webhooks state=new"] == 3


async def test_a_value_that_cannot_be_read_is_left_out(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_state, "MAX_AGE", 0.0)
    away = Store.connect(f"postgresql+asyncpg://hook:secret@127.0.0.1:{free_ports().ui}/hookkeeper")
    try:
        state = SystemState(away, instance.gateway)
        found = await shown(state)
    finally:
        await away.close()
    assert found["hookkeeper_source_up source=registry"] == 0
    assert found["hookkeeper_source_up source=temporal"] == 1
    assert "hookkeeper_backlog_tasks queue=bulk" in found
    assert not any(name.startswith(("hookkeeper_webhooks", "hookkeeper_oldest", "hookkeeper_deliv")) for name in found)


async def test_runs_whose_code_fails_are_counted_until_it_is_repaired(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_state, "MAX_AGE", 0.0)
    monkeypatch.setattr(system_state, "MAX_AGE_OF_FAILING_RUNS", 0.0)
    state = SystemState(instance.store, instance.gateway)

    async def until_counted(count: int) -> None:
        async with asyncio.timeout(WAIT_TIMEOUT):
            while (await shown(state))["hookkeeper_failing_runs"] != count:
                await asyncio.sleep(0.1)

    inbox.fails(503, 503)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    events = [(await instance.send())["id"] for _ in range(2)]
    for event_id in events:
        await instance.until_delivery(event_id, "retrying", 1)
    await until_counted(0)

    async def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as bug:
        bug.setattr(Commands, "signal", fail)
        for event_id in events:
            await instance.run(event_id).signal("retry")
        await until_counted(2)
        await instance.run(events[0]).terminate()
        await until_counted(1)
    assert (await instance.until_final(events[1]))["status"] == "succeeded"
    await until_counted(0)


async def test_failing_runs_are_counted_once_a_minute(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Visibility allows ten requests a second. While it is busy, the other metrics of Temporal are shown."""
    monkeypatch.setattr(system_state, "MAX_AGE", 0.0)
    async with cloud(instance.temporal) as (address, frontend):
        client = await Client.connect(address, namespace=instance.temporal.namespace)
        gateway = Gateway(client, instance.settings.task_queue, instance.store.rows)
        state = SystemState(instance.store, gateway)
        frontend.busy = ["CountWorkflowExecutions"] * 3
        found = await shown(state)
        assert len(frontend.busy) == 2
        assert math.isnan(found["hookkeeper_failing_runs"])
        assert found["hookkeeper_backlog_tasks queue=main"] == 0
        assert found["hookkeeper_source_up source=temporal"] == 1
        await shown(state)
        assert len(frontend.busy) == 2
        monkeypatch.setattr(system_state, "MAX_AGE_OF_FAILING_RUNS", 0.0)
        frontend.busy = []
        assert (await shown(state))["hookkeeper_failing_runs"] == 0


async def test_a_server_that_reports_no_failing_runs_shows_the_other_metrics(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "HAS_PROBLEMS", "AttributeOfANewerServer IS NOT NULL")
    found = await shown(SystemState(instance.store, instance.gateway))
    assert math.isnan(found["hookkeeper_failing_runs"])
    assert found["hookkeeper_backlog_tasks queue=main"] == 0


async def test_each_state_of_webhooks_has_a_series(instance: Instance) -> None:
    found = await shown(SystemState(instance.store, instance.gateway))
    assert {f"hookkeeper_webhooks state={state}" for state in metrics.WEBHOOK_STATES} <= {*found}
