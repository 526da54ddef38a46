"""Bulk work on very many events continues as a new run now and then, and keeps its state."""

import asyncio

import pytest
from holding import event_ids, farthest, send_many, until_held, until_listed
from test_recovery import LONG_AGO, OVER, counts, until
from test_release import pause, resume

from activities import recovery as recovery_activities
from activities import release as release_activities
from hookkeeper import ids
from hookkeeper.messages.release import ReleaseState
from house import House
from patience import PATIENCE
from receivers import Answer, Receiver
from workflows import recovery, release

EVENTS = 12


async def runs_of(home: House, workflow_id: str) -> int:
    return (await home.temporal.count_workflows(f"WorkflowId = '{workflow_id}'")).count


async def test_a_long_release(home: House, inbox: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_activities, "PLAN_SIZE", 3)
    monkeypatch.setattr(release, "LONG_HISTORY", 10)
    webhook = (await home.webhook(inbox.url))["id"]
    await pause(home, webhook)
    sent = await send_many(home, EVENTS)
    await until_held(home, webhook, EVENTS)
    await resume(home, webhook)
    await inbox.got(EVENTS)
    assert farthest(sent, event_ids(inbox)) <= release_activities.MAX_IN_FLIGHT
    assert await runs_of(home, ids.release_id(webhook)) > 1
    walk = home.temporal.get_workflow_handle(ids.release_id(webhook), result_type=ReleaseState)
    async with asyncio.timeout(PATIENCE):  # a pause ends it where it is: also before it has counted the last ones
        while (await walk.query(release.ReleaseWorkflow.state)).released < EVENTS:
            await asyncio.sleep(0.05)
    await pause(home, webhook)
    done = await walk.result()
    assert done.released == EVENTS == len(inbox.requests)


async def test_a_long_recovery(home: House, inbox: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_activities, "PLAN_SIZE", 3)
    monkeypatch.setattr(recovery, "LONG_HISTORY", 10)
    inbox.otherwise = Answer(503)
    webhook = (await home.webhook(inbox.url, retry={"schedule": []}))["id"]
    await send_many(home, EVENTS)
    await until_listed(home, webhook, "failed", EVENTS)
    job = (await home.http.post(f"/v1/webhooks/{webhook}/recover", json={"since": LONG_AGO, "rate": 100})).json()
    over = await until(home, job, *OVER)
    assert counts(over) == (EVENTS, EVENTS, 0, 0)
    async with asyncio.timeout(PATIENCE):
        while len(inbox.requests) < 2 * EVENTS:
            await asyncio.sleep(0.05)
    assert len(inbox.requests) == 2 * EVENTS
    assert await runs_of(home, str(ids.recovery_workflow_id(job["id"]))) > 1
    listed = (await home.http.get("/v1/recoveries", params={"webhook": webhook})).json()["items"]
    assert [item["id"] for item in listed] == [job["id"]]
