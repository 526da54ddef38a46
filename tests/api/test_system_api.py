"""The state of the whole installation, for operators."""

import asyncio
from datetime import timedelta

import pytest
from callers import calling, make_key

from hookkeeper.temporal.server.readiness import Readiness, server_time
from hookkeeper.times import utc_now
from instances import Instance
from timeouts import WAIT_TIMEOUT


@pytest.mark.promise("docs/operations.md")
async def test_the_system_state_has_waiting_tasks_and_states_of_webhooks(idle_instance: Instance) -> None:
    webhook = await idle_instance.webhook("https://acme.example/hook")
    await idle_instance.webhook("https://acme.example/other")
    await idle_instance.http.post(f"/v1/webhooks/{webhook['id']}/pause")
    await idle_instance.send()
    await until_a_task_waits(idle_instance)
    shown = (await idle_instance.http.get("/v1/system")).json()
    assert shown["webhooks"] == {
        "new": 1,
        "healthy": 0,
        "slow": 0,
        "degraded": 0,
        "failing": 0,
        "paused": 1,
        "disabled": 0,
    }
    assert shown["backlog"] == {"main": 1, "retry": 0, "bulk": 0}
    assert set(shown["deliveries"]) == {"oldest_pending", "held", "retrying", "not_started"}
    assert (await idle_instance.http.get("/v1/system")).json() == shown  # it is not read again


async def until_a_task_waits(instance: Instance) -> None:
    """Wait until Temporal counts the run's first task, which it does a moment after it has stored the run."""
    readiness = Readiness(instance.temporal, instance.settings.task_queue)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await readiness.backlog())["main"] == 0:
            await asyncio.sleep(0.05)


async def test_a_worker_knows_the_time_of_temporal(idle_instance: Instance) -> None:
    """The latest poll says it, so a queue that nobody polls has none."""
    of_queue = (idle_instance.temporal, idle_instance.settings.task_queue)
    assert await server_time(*of_queue) is None
    async with idle_instance.working(), asyncio.timeout(WAIT_TIMEOUT):
        while (time := await server_time(*of_queue)) is None:
            await asyncio.sleep(0.05)
        assert abs(utc_now() - time) < timedelta(minutes=1)


@pytest.mark.promise("docs/operations.md")
async def test_the_system_state_is_for_operators_only(instance: Instance) -> None:
    for tenant, scopes in ((instance.tenant, ["events:read"]), (None, ["events:read", "webhooks:read"])):
        key = await make_key(instance, tenant, scopes=scopes)
        async with calling(instance.app, key["key"]) as http:
            assert (await http.get("/v1/system")).status_code == 403
