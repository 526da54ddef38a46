"""The state of the installation that metrics show: read seldom, and left out if it cannot be read."""

import asyncio

import pytest

from hookkeeper import metrics
from hookkeeper.registry.store import Store
from hookkeeper.services import system_state
from hookkeeper.services.system_state import SystemState
from instances import Instance
from temporal_processes import free_ports
from timeouts import WAIT_TIMEOUT


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
    assert found["hookkeeper_webhooks state=active"] == 2
    assert found["hookkeeper_webhooks state=paused"] == 1
    assert found["hookkeeper_webhooks state=disabled"] == 1
    assert found["hookkeeper_webhooks state=disabled_by_failures"] == 0
    assert found["hookkeeper_backlog_tasks queue=main"] == 1
    assert found["hookkeeper_source_up source=temporal"] == 1
    await instance.webhook("https://acme.example/three")
    assert (await shown(state))["hookkeeper_webhooks state=active"] == 2
    monkeypatch.setattr(system_state, "MAX_AGE", 0.0)
    assert (await shown(state))["hookkeeper_webhooks state=active"] == 3


async def test_a_value_that_cannot_be_read_is_left_out(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_state, "MAX_AGE", 0.0)
    away = Store.connect(f"postgresql+asyncpg://hook:secret@127.0.0.1:{free_ports().ui}/hookkeeper")
    try:
        state = SystemState(away, idle_instance.gateway)
        found = await shown(state)
    finally:
        await away.close()
    assert found["hookkeeper_source_up source=registry"] == 0
    assert found["hookkeeper_source_up source=temporal"] == 1
    assert "hookkeeper_backlog_tasks queue=bulk" in found
    assert not any(name.startswith(("hookkeeper_webhooks", "hookkeeper_oldest", "hookkeeper_deliv")) for name in found)


async def test_each_state_of_webhooks_has_a_series(idle_instance: Instance) -> None:
    found = await shown(SystemState(idle_instance.store, idle_instance.gateway))
    assert {f"hookkeeper_webhooks state={state}" for state in metrics.WEBHOOK_STATES} <= {*found}
