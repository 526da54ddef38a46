"""Firings of schedules, on a real server with a real worker and a real receiver."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer

from hookkeeper import ids, temporal_names
from hookkeeper.crypto.keyring import new_key
from hookkeeper.temporal.server.data_converter import data_converter
from hookkeeper.temporal.workers.serve import WORKFLOW_RUNNER
from hookkeeper.times import rfc3339, utc_now
from instances import Instance, running_instance
from receivers import Answer, Receiver
from schedules import forgotten_at_last, next_second
from timeouts import WAIT_TIMEOUT
from workflows.scheduled_event import ScheduledEventWorkflow

HISTORIES = sorted((Path(__file__).parent / "histories" / "firings").glob("*.json"))
EVENT = {"type": "report.due", "data": {"report": "orders"}}
SELDOM = 86400 * 300
"""Seconds: a schedule that fires on request only."""


async def make(instance: Instance, **fields: Any) -> dict[str, Any]:
    answer = await instance.http.post(
        "/v1/schedules", json={"tenant": instance.tenant, "id": "s", "event": EVENT, **fields}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def post(instance: Instance, command: str, **body: Any) -> dict[str, Any]:
    answer = await instance.http.post(f"/v1/schedules/s/{command}", params={"tenant": instance.tenant}, json=body)
    assert answer.is_success, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def show(instance: Instance) -> dict[str, Any]:
    answer = await instance.http.get("/v1/schedules/s", params={"tenant": instance.tenant})
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def until(instance: Instance, count: int, *statuses: str) -> list[dict[str, Any]]:
    """Wait until this many of the latest firings have one of the statuses; give those, the oldest first."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            found = [firing for firing in (await show(instance))["recent"] if firing["status"] in statuses]
            if len(found) >= count:
                return found[::-1]
            await asyncio.sleep(0.05)


async def event_ids(instance: Instance) -> set[str]:
    answer = await instance.http.get("/v1/events", params={"tenant": instance.tenant, "limit": "100"})
    return {item["id"] for item in answer.json()["items"]}


@pytest.fixture(autouse=True)
async def no_schedule_is_left(temporal: Client) -> AsyncIterator[None]:
    async with forgotten_at_last(temporal):
        yield


@pytest.mark.promise("docs/schedules.md")
async def test_an_interval_makes_events_that_are_delivered(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    await make(instance, every=1)
    requests = await inbox.got(3)
    await post(instance, "pause")
    bodies = [json.loads(request.body) for request in requests[:3]]
    assert [body["id"] for body in bodies] == [request.webhook_id for request in requests[:3]]
    times = [datetime.fromisoformat(body["timestamp"]) for body in bodies]
    assert [ids.scheduled_event_id("s", time) for time in times] == [body["id"] for body in bodies]
    assert len(set(times)) == 3
    assert all((body["type"], body["data"]) == ("report.due", {"report": "orders"}) for body in bodies)

    await instance.until_final(bodies[0]["id"])
    firing = next(fired for fired in await until(instance, 3, "done") if fired["event_id"] == bodies[0]["id"])
    assert (firing["time"], firing["reason"]) == (bodies[0]["timestamp"], None)
    assert (
        firing["links"]["event"]
        == f"{instance.settings.public_url}/v1/events/{firing['event_id']}?tenant={instance.tenant}"
    )
    assert "/workflows/firing-" in firing["links"]["temporal"]
    async with asyncio.timeout(WAIT_TIMEOUT):
        while bodies[0]["id"] not in (listed := await event_ids(instance)):
            await asyncio.sleep(0.05)
    assert all(item.startswith("s-20") for item in listed), "the firings are no events"


async def test_events_of_a_schedule_go_to_webhooks_of_its_channels(instance: Instance, inbox: Receiver) -> None:
    """Timeline: an event in one channel; the schedule is changed to another one."""
    for channel in ("eu", "us"):
        await instance.webhook(f"{inbox.url}/{channel}", channels=[channel])
    made = await make(instance, every=SELDOM, event=EVENT | {"channels": ["eu"]})
    assert made["event"] == EVENT | {"channels": ["eu"]}
    await post(instance, "trigger")
    await inbox.got(1)
    await next_second()
    changed = {"event": EVENT | {"channels": ["us"]}}
    await instance.http.patch("/v1/schedules/s", params={"tenant": instance.tenant}, json=changed)
    await post(instance, "trigger")
    assert [request.path for request in await inbox.got(2)] == ["/hook/eu", "/hook/us"]


async def test_a_paused_schedule_makes_nothing_until_it_is_resumed(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    await make(instance, every=1)
    await inbox.got(1)
    await post(instance, "pause")
    paused = rfc3339(utc_now())
    await asyncio.sleep(2.2)
    assert (await show(instance))["recent"][0]["time"] < paused
    await post(instance, "resume")
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await show(instance))["recent"][0]["time"] < paused:
            await asyncio.sleep(0.05)


@pytest.mark.promise("docs/schedules.md")
async def test_a_backfill_makes_each_event_once(instance: Instance, inbox: Receiver) -> None:
    """Setup: a paused schedule. Timeline: the same hour is made up for, twice, and then a longer one.
    Proves: since is included, until is not, and a time has one event however often it is fired.
    """
    await instance.webhook(inbox.url)
    await make(instance, every=1200, paused=True)
    hour = datetime(2026, 1, 1, 9, tzinfo=UTC)
    period = {"since": hour.isoformat(), "until": (hour + timedelta(hours=1)).isoformat()}
    wanted = ["s-20260101T090000Z", "s-20260101T092000Z", "s-20260101T094000Z"]
    assert (await post(instance, "backfill", **period))["events"] == wanted
    assert sorted(firing["event_id"] for firing in await until(instance, 3, "done")) == wanted
    assert (await post(instance, "backfill", **period, overlap="buffer_all"))["events"] == wanted
    await until(instance, 6, "done")
    period["until"] = (hour + timedelta(hours=1, seconds=1)).isoformat()
    wanted.append("s-20260101T100000Z")
    assert (await post(instance, "backfill", **period))["events"] == wanted
    await until(instance, 10, "done")
    assert sorted(request.webhook_id for request in inbox.requests) == wanted


@pytest.mark.promise("docs/schedules.md")
async def test_a_trigger_makes_an_event_also_while_paused(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    await make(instance, every=SELDOM, paused=True)
    accepted = await post(instance, "trigger")
    (request,) = await inbox.got(1)
    (firing,) = await until(instance, 1, "done")
    assert firing["event_id"] == request.webhook_id
    assert accepted == {"id": "s", "command": "trigger", "events": [request.webhook_id]}


async def test_skip_means_not_while_the_last_is_being_delivered(instance: Instance, inbox: Receiver) -> None:
    """Setup: a receiver that fails, so that the first event waits for its retry.
    Timeline: times pass; a person has the event attempted again, and it succeeds.
    Proves: no event is made meanwhile, and one is afterwards.
    """
    inbox.fails(503)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    await make(instance, every=1)
    await inbox.got(1)
    first = inbox.requests[0].webhook_id
    await instance.until_delivery(first, "retrying", 1)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (shown := await show(instance))["skipped"] < 2:
            await asyncio.sleep(0.05)
    assert [(firing["event_id"], firing["status"]) for firing in shown["recent"]] == [(first, "running")]
    assert len(inbox.requests) == 1
    await instance.command(first, "retry")
    assert (await inbox.got(3))[2].webhook_id != first
    await post(instance, "pause")


async def test_a_buffered_time_comes_after_the_delivery(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(503)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    await make(instance, every=SELDOM)
    await post(instance, "trigger", overlap="buffer_one")
    first = (await inbox.got(1))[0].webhook_id
    await instance.until_delivery(first, "retrying", 1)
    await next_second()
    await post(instance, "trigger", overlap="buffer_one")
    schedule = instance.temporal.get_schedule_handle(ids.schedule_id(instance.tenant, "s"))
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await schedule.describe()).raw_description.info.buffer_size == 0:
            await asyncio.sleep(0.05)
    assert len(inbox.requests) == 1
    await instance.command(first, "cancel")
    (_, second) = await inbox.got(2)
    assert second.webhook_id != first
    assert [firing["status"] for firing in await until(instance, 2, "done")] == ["done", "done"]


@pytest.mark.promise("docs/schedules.md")
async def test_the_one_before_can_be_cancelled(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(503)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    await make(instance, every=SELDOM)
    await post(instance, "trigger", overlap="skip")
    first = (await inbox.got(1))[0].webhook_id
    await instance.until_delivery(first, "retrying", 1)
    await next_second()
    await post(instance, "trigger", overlap="cancel_other")
    await inbox.got(2)
    assert (await instance.until_final(first))["status"] == "cancelled"
    assert [firing["status"] for firing in await until(instance, 2, "done", "cancelled")] == ["cancelled", "done"]


async def test_all_may_overlap(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(503)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    await make(instance, every=1, overlap="allow_all")
    requests = await inbox.got(3)
    await post(instance, "pause")
    assert len({request.webhook_id for request in requests}) == len(requests)
    await until(instance, 3, "done")
    assert (await instance.event(requests[0].webhook_id))["status"] == "delivering"


async def test_what_is_refused_says_why(instance: Instance, inbox: Receiver) -> None:
    type_ = f"t{instance.tenant}"
    await instance.webhook(inbox.url)
    await instance.http.post("/v1/event-types", json={"name": type_})
    await make(instance, every=SELDOM, event={"type": type_, "data": {"n": 1}})
    await instance.http.patch(f"/v1/event-types/{type_}", json={"archived": True})
    await post(instance, "trigger")
    (firing,) = await until(instance, 1, "refused")
    assert firing["reason"] == "type is archived: new events are refused"
    assert (firing["event_id"], firing["links"]["event"]) == (None, None)
    runs = [run async for run in instance.temporal.list_workflows(f"{temporal_names.TENANT} = '{instance.tenant}'")]
    assert {run.workflow_type for run in runs} <= {"ScheduledEventWorkflow"}
    schema = {"properties": {"n": {"type": "string"}}}
    await instance.http.patch(f"/v1/event-types/{type_}", json={"archived": False, "schema": schema})
    await next_second()
    await post(instance, "trigger")
    assert (await until(instance, 2, "refused"))[1]["reason"].startswith('data/n this is not of type "string"')
    assert inbox.requests == []


async def test_a_firing_survives_its_workers(idle_instance: Instance, inbox: Receiver) -> None:
    """Setup: no worker. Timeline: a schedule fires; a worker comes, and goes while the event waits for its retry;
    another one comes. Proves: the event is made once, and the firing ends when it is delivered.
    """
    inbox.fails(503)
    await idle_instance.webhook(inbox.url, retry={"schedule": [3600]})
    await make(idle_instance, every=SELDOM)
    await post(idle_instance, "trigger")
    (firing,) = await until(idle_instance, 1, "running")
    async with idle_instance.working():
        await inbox.got(1)
        await idle_instance.until_delivery(firing["event_id"], "retrying", 1)
    assert (await until(idle_instance, 1, "running"))[0] == firing
    async with idle_instance.working():
        await idle_instance.until(firing["event_id"], "delivering")
        await idle_instance.command(firing["event_id"], "retry")
        (done,) = await until(idle_instance, 1, "done")
    assert done["event_id"] == firing["event_id"]
    assert [request.webhook_id for request in inbox.requests] == [firing["event_id"]] * 2


async def test_a_firing_goes_on_after_an_operator_failed_its_activity(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is still open, and the next time still has to wait for the event of this one."""
    monkeypatch.setattr("activities.scheduled_event.FIRST_CHECK_TIMEOUT", 15.0)
    monkeypatch.setattr("workflows.activities.RESCHEDULE_INTERVAL", timedelta(seconds=0.1))
    inbox.fails(503)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    await make(instance, every=SELDOM)
    await post(instance, "trigger")
    event_id = (await inbox.got(1))[0].webhook_id
    firing = instance.temporal.get_workflow_handle(ids.firing_of(instance.tenant, event_id) or "")
    look = await pending_activity(firing, "await_delivery")
    await instance.temporal.get_async_activity_handle(workflow_id=firing.id, run_id=None, activity_id=look).fail(
        ApplicationError("an operator", non_retryable=True)
    )
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await pending_activity(firing, "await_delivery") == look:
            await asyncio.sleep(0.05)
    await instance.until_delivery(event_id, "retrying", 1)
    await instance.command(event_id, "retry")
    (done,) = await until(instance, 1, "done")
    assert done["event_id"] == event_id


async def pending_activity(firing: WorkflowHandle[Any, Any], type_: str) -> str:
    """Wait until a run has an activity of this type, and give its id."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            raw = (await firing.describe()).raw_description
            for activity in raw.pending_activities:
                if activity.activity_type.name == type_:
                    return activity.activity_id
            assert raw.workflow_execution_info.status == 1, "it is open"
            await asyncio.sleep(0.05)


async def test_nothing_of_the_event_is_readable_in_temporal(temporal: Client, tmp_path: Path, inbox: Receiver) -> None:
    secret = {"type": "report.due", "channels": ["channel-word"], "data": {"name": "customer-word"}}
    keys = SecretStr(new_key("k"))
    async with running_instance(temporal, tmp_path, encryption_keys=keys) as instance, instance.working():
        await instance.webhook(inbox.url)
        made = await make(instance, every=SELDOM, event=secret, name="name-word", note="seen by all")
        assert (made["event"], made["name"]) == (secret, "name-word")
        await post(instance, "trigger")
        (request,) = await inbox.got(1)
        assert json.loads(request.body)["data"] == {"name": "customer-word"}
        await until(instance, 1, "done")
        described = await temporal.get_schedule_handle(ids.schedule_id(instance.tenant, "s")).describe()
        seen = [str(described.raw_description)]
        async for run in temporal.list_workflows(f"{temporal_names.TENANT} = '{instance.tenant}'"):
            history = await temporal.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
            seen += [str(run.raw_info), *map(str, history.events)]
    assert len(seen) > 10
    assert not [text for text in seen if "-word" in text]
    assert "seen by all" in seen[0], "a note is Temporal's own: documented"


async def test_an_event_is_erased_with_its_firing(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    await make(instance, every=SELDOM)
    await post(instance, "trigger")
    (firing,) = await until(instance, 1, "done")
    await instance.until_closed(firing["event_id"])
    answer = await instance.http.delete(f"/v1/events/{firing['event_id']}/data", params={"tenant": instance.tenant})
    assert (answer.status_code, answer.json()["runs"]) == (202, 1)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await show(instance))["recent"]:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_a_saved_firing_replays(path: Path) -> None:
    replayer = Replayer(
        workflows=[ScheduledEventWorkflow], data_converter=data_converter(), workflow_runner=WORKFLOW_RUNNER
    )
    history = WorkflowHistory.from_json(f"firing-{path.stem}", path.read_text())
    assert len(history.events) > 3
    await replayer.replay_workflow(history)


def test_every_story_of_a_firing_is_there() -> None:
    assert {path.stem for path in HISTORIES} >= {"waited_for", "not_waited_for", "refused", "cancelled"}
