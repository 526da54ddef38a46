"""Bulk work on very many events continues as a new run now and then, and keeps its state."""

import asyncio
from itertools import chain, repeat
from unittest.mock import AsyncMock

import pytest
from holding import event_ids, farthest, send_many, until_held, until_listed
from test_recovery import LONG_AGO, OVER, counts, until
from test_release import pause, resume

from activities import recovery as recovery_activities
from activities import release as release_activities
from hookkeeper import ids
from hookkeeper.messages.bulk_work import ReleaseState
from hookkeeper.temporal.bulk.recoveries import Recoveries
from instances import Instance
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT
from workflows import recovery, release

EVENTS = 12


async def runs_of(instance: Instance, workflow_id: str) -> int:
    return (await instance.temporal.count_workflows(f"WorkflowId = '{workflow_id}'")).count


async def test_a_long_release(instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_activities, "PLAN_SIZE", 3)
    monkeypatch.setattr(release, "LONG_HISTORY", 10)
    webhook = (await instance.webhook(inbox.url))["id"]
    await pause(instance, webhook)
    sent = await send_many(instance, EVENTS)
    await until_held(instance, webhook, EVENTS)
    await resume(instance, webhook)
    await inbox.got(EVENTS)
    assert farthest(sent, event_ids(inbox)) <= release_activities.MAX_IN_FLIGHT
    assert await runs_of(instance, ids.release_id(webhook)) > 1
    walk = instance.temporal.get_workflow_handle(ids.release_id(webhook), result_type=ReleaseState)
    async with asyncio.timeout(WAIT_TIMEOUT):  # a pause ends it where it is: also before it has counted the last ones
        while (await walk.query(release.ReleaseWorkflow.state)).released < EVENTS:
            await asyncio.sleep(0.05)
    await pause(instance, webhook)
    done = await walk.result()
    assert done.released == EVENTS == len(inbox.requests)


async def test_a_long_recovery(instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_activities, "PLAN_SIZE", 3)
    monkeypatch.setattr(recovery, "LONG_HISTORY", 10)
    inbox.otherwise = Answer(503)
    webhook = (await instance.webhook(inbox.url, retry={"schedule": []}))["id"]
    await send_many(instance, EVENTS)
    await until_listed(instance, webhook, "failed", EVENTS)
    job = (await instance.http.post(f"/v1/webhooks/{webhook}/recover", json={"since": LONG_AGO, "rate": 100})).json()
    over = await until(instance, job, *OVER)
    assert counts(over) == (EVENTS, EVENTS, 0, 0)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while len(inbox.requests) < 2 * EVENTS:
            await asyncio.sleep(0.05)
    assert len(inbox.requests) == 2 * EVENTS
    assert await runs_of(instance, str(ids.recovery_workflow_id(job["id"]))) > 1
    listed = (await instance.http.get("/v1/recoveries", params={"webhook": webhook})).json()["items"]
    assert [item["id"] for item in listed] == [job["id"]]


async def test_a_release_that_starts_over_again_and_again(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: nothing is held. Timeline: the webhook is paused and resumed, thousands of times in real life. Proves: the
    release does not get too long a history."""
    monkeypatch.setattr(release, "MAX_HISTORY", 20)
    webhook = (await instance.webhook(inbox.url))["id"]
    for _ in range(6):
        await pause(instance, webhook)
        await resume(instance, webhook)
    walk = instance.temporal.get_workflow_handle(ids.release_id(webhook))
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await runs_of(instance, ids.release_id(webhook)) < 2:
            await resume(instance, webhook)
            await asyncio.sleep(0.05)
    assert (await walk.describe()).history_length < 60
    await pause(instance, webhook)


async def test_a_recovery_can_be_steered_however_often_it_was(
    idle_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporal accepts 10,000 signals of a run: a paused recovery with as many could not be cancelled any more."""
    assert recovery.MAX_HISTORY < 10_000, "a signal is one event or more"
    monkeypatch.setattr(recovery, "MAX_HISTORY", 20)
    inbox.fails(503)
    webhook = (await idle_instance.webhook(inbox.url, retry={"schedule": []}))["id"]
    async with idle_instance.working():
        await send_many(idle_instance, 1)
        await until_listed(idle_instance, webhook, "failed", 1)
    job = (await idle_instance.http.post(f"/v1/webhooks/{webhook}/recover", json={"since": LONG_AGO})).json()
    workflow_id = str(ids.recovery_workflow_id(job["id"]))
    await idle_instance.temporal.get_workflow_handle(workflow_id).signal("pause")
    first_run = await idle_instance.temporal.get_workflow_handle(workflow_id).describe()
    async with idle_instance.working():
        async with asyncio.timeout(WAIT_TIMEOUT):
            while await runs_of(idle_instance, workflow_id) < 2:
                assert (await idle_instance.http.post(f"/v1/recoveries/{job['id']}/pause")).status_code == 202
        assert counts(await until(idle_instance, job, "paused")) == (1, 0, 0, 0)
        present = await idle_instance.temporal.get_workflow_handle(workflow_id).describe()
        with monkeypatch.context() as stale:  # the run has continued as a new one after it was found
            stale.setattr(Recoveries, "_run_of", AsyncMock(side_effect=chain([first_run], repeat(present))))
            assert (await idle_instance.http.post(f"/v1/recoveries/{job['id']}/pause")).status_code == 202
        assert (await idle_instance.http.post(f"/v1/recoveries/{job['id']}/cancel")).status_code == 202
        await until(idle_instance, job, "cancelled")
    assert len(inbox.requests) == 1
