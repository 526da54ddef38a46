"""A schedule is a row. Temporal executes it, and may lose it, be away, or have an older copy of it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from problems import problem
from sqlalchemy import delete
from temporalio.client import (
    Client,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError

from hookkeeper import ids
from hookkeeper.registry.schedules import Schedule
from hookkeeper.temporal.run_repair import RunRepair
from hookkeeper.times import utc_now
from instances import Instance, another_process, without_registry
from receivers import Receiver
from schedules import forgotten_at_last, next_second
from timeouts import WAIT_TIMEOUT

EVENT = {"type": "report.due", "data": {"report": "orders"}}
SELDOM = 86400 * 300
"""Seconds: a schedule that fires on request only."""


@pytest.fixture(autouse=True)
async def no_schedule_is_left(temporal: Client) -> AsyncIterator[None]:
    async with forgotten_at_last(temporal):
        yield


async def make(instance: Instance, **fields: Any) -> dict[str, Any]:
    answer = await instance.http.post(
        "/v1/schedules", json={"tenant": instance.tenant, "id": "s", "event": EVENT, "every": SELDOM, **fields}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def call(instance: Instance, method: str, path: str = "s", **body: Any) -> Any:
    answer = await instance.http.request(
        method, f"/v1/schedules/{path}", params={"tenant": instance.tenant}, json=body or None
    )
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


async def listed(instance: Instance) -> list[dict[str, Any]]:
    answer = await instance.http.get("/v1/schedules", params={"tenant": instance.tenant})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]  # type: ignore[no-any-return]


def in_temporal(instance: Instance, schedule: str = "s") -> ScheduleHandle:
    return instance.temporal.get_schedule_handle(ids.schedule_id(instance.tenant, schedule))


async def is_in_temporal(instance: Instance, schedule: str = "s") -> bool:
    try:
        await in_temporal(instance, schedule).describe()
    except RPCError:
        return False
    return True


async def repair(instance: Instance) -> None:
    """Make the pass of each minute, which is not that of the day: nothing is compared that Temporal's list lacks."""
    await RunRepair(instance.temporal, instance.gateway, instance.store).repair_regularly()


def cut_off(instance: Instance) -> Client:
    """Return a connection that leads to a namespace that Temporal does not have."""
    config = instance.temporal.config()
    config["namespace"] = "nowhere"
    return Client(**config)


async def test_a_schedule_that_temporal_has_lost_is_started_again(own_instance: Instance, inbox: Receiver) -> None:
    """Timeline: it fires; Temporal loses it, which lists do not show; a pass later it fires again."""
    await own_instance.webhook(inbox.url)
    await repair(own_instance)  # that of the day
    made = await make(own_instance, every=1)
    await inbox.got(1)
    await in_temporal(own_instance).delete()
    (shown,) = await listed(own_instance)
    assert (shown["id"], shown["next"]) == ("s", None)
    lost = utc_now()
    await repair(own_instance)
    assert await is_in_temporal(own_instance)
    shown = await call(own_instance, "GET")
    assert shown["next"]
    assert (shown["event"], shown["created_at"], shown["updated_at"]) == (made["event"], made["created_at"], None)
    before = len(inbox.requests)
    last = (await inbox.got(before + 2))[-1]
    scheduled = ids.scheduled_event(last.webhook_id)
    assert scheduled is not None
    assert scheduled[1] >= lost.replace(microsecond=0)


@pytest.mark.promise("docs/schedules.md")
async def test_a_command_finds_a_schedule_that_temporal_has_lost(own_instance: Instance, inbox: Receiver) -> None:
    await own_instance.webhook(inbox.url)
    await make(own_instance)
    await in_temporal(own_instance).delete()
    await call(own_instance, "POST", "s/trigger")
    await inbox.got(1)


async def test_an_older_copy_in_temporal_follows_the_rows(own_instance: Instance, inbox: Receiver) -> None:
    """Setup: one schedule was paused since, one changed, one deleted. Timeline: Temporal has all as they were before.
    Proves: the repair after a restore pauses, changes and deletes them again.
    """
    await own_instance.webhook(inbox.url)
    for name in ("paused", "changed", "deleted"):
        await make(own_instance, id=name)
    older = {name: (await in_temporal(own_instance, name).describe()).schedule for name in ("paused", "changed")}
    deleted = (await in_temporal(own_instance, "deleted").describe()).schedule
    await call(own_instance, "POST", "paused/pause", note="Holidays.")
    await call(own_instance, "PATCH", "changed", name="Now")
    await call(own_instance, "DELETE", "deleted")
    for name, schedule in older.items():
        await in_temporal(own_instance, name).delete()
        await own_instance.temporal.create_schedule(ids.schedule_id(own_instance.tenant, name), schedule)
    await own_instance.temporal.create_schedule(ids.schedule_id(own_instance.tenant, "deleted"), deleted)
    await next_second()
    await in_temporal(own_instance, "deleted").trigger()
    await RunRepair(own_instance.temporal, own_instance.gateway, own_instance.store).repair(timedelta())
    assert {one["id"]: (one["paused"], one["note"], one["name"]) for one in await listed(own_instance)} == {
        "paused": (True, "Holidays.", ""),
        "changed": (False, "", "Now"),
    }
    state = (await in_temporal(own_instance, "paused").describe()).schedule.state
    assert (state.paused, state.note) == (True, "Holidays.")
    assert not inbox.requests, "a firing of a schedule that was deleted makes no event"


async def test_a_schedule_that_is_resumed_with_temporals_tools_is_paused_again(own_instance: Instance) -> None:
    await repair(own_instance)  # that of the day
    await make(own_instance, paused=True)

    async def resume(known: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = known.description.schedule
        schedule.state = ScheduleState(paused=False)
        return ScheduleUpdate(schedule)

    await in_temporal(own_instance).update(resume)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not await is_listed_as_active(own_instance):
            await asyncio.sleep(0.03)
    await repair(own_instance)
    assert (await in_temporal(own_instance).describe()).schedule.state.paused


async def is_listed_as_active(instance: Instance) -> bool:
    name = ids.schedule_id(instance.tenant, "s")
    async for each in await instance.temporal.list_schedules(f"ScheduleId = '{name}'"):
        return each.schedule is not None and not each.schedule.state.paused
    return False


async def test_a_schedule_whose_input_was_replaced_with_temporals_tools_gets_its_own_again(
    own_instance: Instance, inbox: Receiver
) -> None:
    """Another one that cannot be read, and has no row, is left alone."""
    await own_instance.webhook(inbox.url)
    await make(own_instance)
    await make(own_instance, id="unknown")

    def with_other_input(given: ScheduleUpdateInput) -> ScheduleUpdate:
        action = given.description.schedule.action
        assert isinstance(action, ScheduleActionStartWorkflow)
        action.args = ["nonsense"]
        return ScheduleUpdate(given.description.schedule)

    for schedule in ("s", "unknown"):
        await in_temporal(own_instance, schedule).update(with_other_input)
    async with own_instance.store.database.write() as session:
        await session.execute(delete(Schedule).where(Schedule.id == "unknown", Schedule.tenant == own_instance.tenant))
    await RunRepair(own_instance.temporal, own_instance.gateway, own_instance.store).repair(timedelta())
    await in_temporal(own_instance).trigger()
    await inbox.got(1)
    assert await is_in_temporal(own_instance, "unknown")
    assert [shown["id"] for shown in await listed(own_instance)] == ["s"]


@pytest.mark.promise("docs/schedules.md")
async def test_while_temporal_is_away_schedules_are_read_changed_and_made(
    own_instance: Instance, inbox: Receiver
) -> None:
    """Timeline: without Temporal, one is created, one changed, one paused, one deleted; then it is back, and has fired
    the ones that it still has as active.
    """
    await own_instance.webhook(inbox.url)
    await repair(own_instance)  # that of the day
    for name in ("changed", "paused", "deleted"):
        await make(own_instance, id=name)
    async with another_process(own_instance, temporal=cut_off(own_instance)) as cut:
        made = await make(cut, id="new")
        assert (made["next"], made["recent"], made["skipped"], made["missed"]) == (None, None, None, None)
        assert (await call(cut, "PATCH", "changed", name="Now"))["name"] == "Now"
        assert (await call(cut, "POST", "paused/pause"))["paused"]
        await call(cut, "DELETE", "deleted")
        shown = await listed(cut)
        assert [(one["id"], one["paused"], one["next"]) for one in shown] == [
            ("new", False, None),
            ("paused", True, None),
            ("changed", False, None),
        ]
        query = {"tenant": cut.tenant}
        problem(await cut.http.get("/v1/schedules/deleted", params=query), 404)
        problem(await cut.http.post("/v1/schedules/new/trigger", params=query), 503)
        wrong = await cut.http.post("/v1/schedules", json=query | {"event": EVENT, "cron": ["61 * * * *"]})
        problem(wrong, 422, "cron.0")
    await next_second()  # a firing for a time before the pause has its event
    for name in ("paused", "deleted"):
        await in_temporal(own_instance, name).trigger()
    await in_temporal(own_instance, "changed").trigger()
    assert (await inbox.got(1))[0].webhook_id.startswith("changed-")
    await repair(own_instance)
    assert [await is_in_temporal(own_instance, name) for name in ("new", "deleted")] == [True, False]
    shown = await listed(own_instance)
    assert [(one["id"], bool(one["next"])) for one in shown] == [("new", True), ("paused", True), ("changed", True)]
    assert (await in_temporal(own_instance, "paused").describe()).schedule.state.paused
    assert len(inbox.requests) == 1


async def test_a_schedule_of_which_the_registry_knows_nothing_is_taken_over(
    own_instance: Instance,
) -> None:
    """The registry was restored to an older state. What a caller has made is not removed for that."""
    made = await make(own_instance, paused=True, note="Not yet.")
    await own_instance.store.tenants.remove(own_instance.tenant)
    await own_instance.store.tenants.forget_deleted(utc_now())
    assert await listed(own_instance) == []
    await repair(own_instance)
    known = await call(own_instance, "GET")
    assert known | {"created_at": made["created_at"]} == made
    assert known["created_at"] >= made["created_at"], "that of Temporal"


async def test_nothing_is_taken_over_of_a_tenant_that_was_deleted(own_instance: Instance) -> None:
    await make(own_instance)
    await own_instance.store.tenants.remove(own_instance.tenant)
    await repair(own_instance)
    assert await listed(own_instance) == []
    assert not await is_in_temporal(own_instance)


async def test_a_schedule_is_not_made_without_its_row(own_instance: Instance) -> None:
    async with without_registry(own_instance):
        body = {"tenant": own_instance.tenant, "id": "s", "event": EVENT, "every": SELDOM}
        problem(await own_instance.http.post("/v1/schedules", json=body), 503)
    assert not await is_in_temporal(own_instance)
