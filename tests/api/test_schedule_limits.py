"""Schedules and what limits them: how many, how often, at whose rate, and what becomes of them without their key."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from callers import calling, make_key
from problems import problem
from temporalio.client import Client

from hookkeeper.tenant_limits import FIRINGS
from instances import Instance, running_instance
from receivers import Receiver
from schedules import forgotten_at_last, next_second
from timeouts import WAIT_TIMEOUT

EVENT = {"type": "report.due", "data": {}}
SELDOM = {"event": EVENT, "every": 86400 * 300}


@pytest.fixture(scope="module", autouse=True)
async def no_schedule_is_left(temporal: Client) -> AsyncIterator[None]:
    async with forgotten_at_last(temporal):
        yield


async def post(http: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    return await http.post("/v1/schedules", json=fields)


async def test_a_tenant_has_few_schedules_and_another_does_not_notice(temporal: Client, tmp_path: Path) -> None:
    """Timeline: twelve are posted at once; three are allowed; one is deleted."""
    async with running_instance(temporal, tmp_path, max_schedules_per_tenant=3) as instance:
        answers = await asyncio.gather(*(post(instance.http, tenant=instance.tenant, **SELDOM) for _ in range(12)))
        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 9
        assert (await post(instance.http, tenant=f"{instance.tenant}-other", **SELDOM)).status_code == 201
        made = next(answer.json()["id"] for answer in answers if answer.status_code == 201)
        refused = problem(await post(instance.http, tenant=instance.tenant, **SELDOM), 409)
        assert refused["detail"] == f"Tenant {instance.tenant} has 3 schedules, which is the maximum."
        await instance.http.delete(f"/v1/schedules/{made}", params={"tenant": instance.tenant})
        assert (await post(instance.http, tenant=instance.tenant, **SELDOM)).status_code == 201


async def test_no_schedule_is_too_frequent(temporal: Client, tmp_path: Path) -> None:
    async with running_instance(temporal, tmp_path, min_schedule_interval=10) as instance:
        fields = {"tenant": instance.tenant, "id": "a", "event": EVENT}
        problem(await post(instance.http, **fields, every=9), 422, "every")
        assert (await post(instance.http, **fields, every=10, paused=True)).status_code == 201
        changed = await instance.http.patch("/v1/schedules/a", params={"tenant": instance.tenant}, json={"every": 1})
        problem(changed, 422, "every")


async def test_events_of_schedules_count_against_the_rate_of_their_key(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: a key of three requests an hour makes a schedule, which fires five times. Proves: three events come,
    the others refused with the reason, and another tenant's schedule goes on.
    """
    monkeypatch.setattr("activities.scheduled_event.RATE_TIMEOUT", timedelta(seconds=-1))
    for tenant in (instance.tenant, f"{instance.tenant}-other"):
        await instance.http.post("/v1/webhooks", json={"url": inbox.url, "tenant": tenant})
    keys = [
        await make_key(instance, instance.tenant, rate_limit="3/hour"),
        await make_key(instance, f"{instance.tenant}-other", rate_limit="3/hour"),
    ]
    schedules = []
    for key in keys:
        async with calling(instance.app, key["key"]) as http:
            schedules.append((await post(http, **SELDOM)).json()["id"])
    for _ in range(5):
        await trigger(instance, schedules[0], instance.tenant)
    statuses = await until_fired(instance, schedules[0], instance.tenant, 5)
    assert sorted(statuses) == ["done"] * 3 + ["refused"] * 2
    await trigger(instance, schedules[1], f"{instance.tenant}-other")
    assert await until_fired(instance, schedules[1], f"{instance.tenant}-other", 1) == ["done"]


async def trigger(instance: Instance, schedule: str, tenant: str) -> None:
    answer = await instance.http.post(f"/v1/schedules/{schedule}/trigger", params={"tenant": tenant})
    assert answer.status_code == 202, answer.text
    await next_second()


async def until_fired(instance: Instance, schedule: str, tenant: str, times: int) -> list[str]:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            answer = await instance.http.get(f"/v1/schedules/{schedule}", params={"tenant": tenant})
            statuses = [firing["status"] for firing in answer.json()["recent"]]
            if len(statuses) == times and "running" not in statuses:
                return statuses
            await asyncio.sleep(0.1)


async def test_revoking_a_key_names_its_schedules_and_can_pause_them(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant)
    async with calling(instance.app, key["key"]) as http:
        for name in ("a", "b"):
            assert (await post(http, id=name, **SELDOM)).status_code == 201
        await http.patch("/v1/schedules/a", json={"name": "changed"})
    await post(instance.http, tenant=instance.tenant, id="c", **SELDOM)
    assert len((await revoke(instance, key["id"]))["schedules"]) == 2
    assert await states(instance) == {"a": False, "b": False, "c": False}
    revoked = await revoke(instance, key["id"], pause_schedules=True)
    made = sorted(revoked["schedules"], key=lambda schedule: schedule["id"])
    assert made == [{"id": name, "tenant": instance.tenant, "paused": True} for name in ("a", "b")]
    assert await states(instance) == {"a": True, "b": True, "c": False}
    kept = (await instance.http.get("/v1/audit", params={"tenant": instance.tenant})).json()["items"]
    assert {entry["object_id"] for entry in kept if entry["action"] == "schedule.pause"} == {"a", "b"}


async def revoke(instance: Instance, key_id: str, **query: Any) -> dict[str, Any]:
    answer = await instance.http.delete(f"/v1/keys/{key_id}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def states(instance: Instance) -> dict[str, bool]:
    answers = [
        await instance.http.get(f"/v1/schedules/{name}", params={"tenant": instance.tenant}) for name in ("a", "b", "c")
    ]
    return {answer.json()["id"]: answer.json()["paused"] for answer in answers}


async def test_backfills_and_triggers_of_a_tenant_post_few_events_together(instance: Instance) -> None:
    """Temporal makes ten events of each backfill a second, for each of fifty schedules: other tenants waited long."""
    of_tenant = {"tenant": instance.tenant}
    for id_ in ("a", "b"):
        schedule = {"id": id_, "event": EVENT, "every": 60, "start_at": "2026-01-01T00:00:00Z", "paused": True}
        assert (await post(instance.http, **of_tenant, **schedule)).status_code == 201
    await instance.app.state.api.firings.count(instance.tenant, FIRINGS.rate, "", cost=995)
    hour = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T01:00:00Z"}
    refused = await instance.http.post("/v1/schedules/b/backfill", params=of_tenant, json=hour)
    assert "1,000 events" in problem(refused, 429)["detail"]
    assert 1 <= int(refused.headers["retry-after"]) <= 100
    triggers = [await instance.http.post("/v1/schedules/b/trigger", params=of_tenant) for _ in range(6)]
    assert [answer.status_code for answer in triggers] == [202] * 5 + [429]
