"""The API shows and steers an event of a shared run as any other, and links to the run that has it."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus

from claimed_runs import share, until_listed
from hookkeeper import ids, temporal_names
from index_rows import until_indexed
from instances import Instance
from receivers import Answer, Receiver
from shared_runs import SharedRun, event_to
from timeouts import WAIT_TIMEOUT

PATIENT = {"schedule": [3600]}


async def answer_to(instance: Instance, event_id: str, command: str, delivery: str | None = None) -> tuple[int, str]:
    """Return the status and the details of the answer to a command."""
    answer = await instance.command(event_id, command, delivery)
    return answer.status_code, answer.json().get("detail", "")


def own_run(instance: Instance, event_id: str) -> str:
    return ids.workflow_id(instance.tenant, event_id)


async def until_started(run: SharedRun, inbox: Receiver) -> None:
    """Wait until the first attempts are in flight."""
    await inbox.got(1)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await run.handle.describe()).history_length < 5:
            await asyncio.sleep(0.02)


async def test_an_event_is_shown_before_a_worker_has_started_its_shared_run(
    instance: Instance, inbox: Receiver
) -> None:
    webhook = await instance.webhook(inbox.url)
    events = [event_to(webhook, id=f"e{n}", tenant=instance.tenant) for n in range(3)]
    run = await share(instance, events)
    shown = await instance.event("e1")
    assert (shown["status"], shown["data"], shown["workflow_id"]) == ("delivering", {"order": "e1"}, run.handle.id)
    assert [delivery["status"] for delivery in shown["deliveries"]] == ["pending"]


@pytest.mark.promise("docs/events.md")
async def test_an_event_of_a_shared_run_takes_commands_while_its_attempt_is_in_flight(
    instance: Instance, inbox: Receiver
) -> None:
    """Setup: the receiver does not answer yet. Timeline: read it, hold one event and cancel another one.
    Proves: the state is the present one, and commands go with the events into their own runs.
    """
    gate = asyncio.Event()
    inbox.otherwise = Answer(503, gate=gate)
    webhook = await instance.webhook(inbox.url, retry=PATIENT)
    run = await share(instance, [event_to(webhook, id=f"e{n}", tenant=instance.tenant) for n in range(3)])
    await until_started(run, inbox)
    assert (await instance.event("e0"))["deliveries"][0]["status"] == "pending"
    assert await answer_to(instance, "e0", "hold") == (202, "")
    assert await answer_to(instance, "e1", "cancel") == (202, "")
    assert await answer_to(instance, "e1", "retry", "wh_unknown") == (404, "This event has no delivery wh_unknown.")
    gate.set()
    await run.result()
    async with asyncio.timeout(WAIT_TIMEOUT):
        for event_id in ("e0", "e1", "e2"):
            while (await instance.event(event_id))["workflow_id"] != own_run(instance, event_id):
                await asyncio.sleep(0.02)
    await instance.until_delivery("e0", "held", attempts=1)
    await instance.until("e1", "cancelled")
    await instance.until_delivery("e2", "retrying", attempts=1)
    assert await answer_to(instance, "e0", "release") == (202, "")


async def test_an_event_is_shown_after_its_shared_run_has_ended(instance: Instance, inbox: Receiver) -> None:
    """No worker is necessary to read it, and lists link to the run."""
    webhook = await instance.webhook(inbox.url)
    run = await share(instance, [event_to(webhook, id=f"e{n}", tenant=instance.tenant) for n in range(3)])
    await run.result()
    shown = await instance.event("e2")
    assert (shown["status"], shown["data"], shown["workflow_id"]) == ("succeeded", {"order": "e2"}, run.handle.id)
    assert shown["links"]["temporal"].endswith(f"/workflows/{run.handle.id}/{shown['run_id']}/timeline")
    assert [attempt["number"] for attempt in shown["deliveries"][0]["attempts"]] == [1]
    await until_indexed(instance, "e2")
    path = f"/v1/webhooks/{webhook['id']}/deliveries"
    for list_ in (f"/v1/events?tenant={instance.tenant}", path):
        items = (await instance.http.get(list_)).json()["items"]
        assert {item["workflow_id"] for item in items} == {run.handle.id}


@pytest.mark.promise("docs/events.md")
async def test_a_redelivery_after_the_end_of_a_shared_run_starts_an_own_run(
    instance: Instance, inbox: Receiver
) -> None:
    """A redelivery is the second run of the event and the first of its own; attempt numbers continue."""
    webhook = await instance.webhook(inbox.url)
    run = await share(instance, [event_to(webhook, id=f"e{n}", tenant=instance.tenant) for n in range(2)])
    await run.result()
    assert await answer_to(instance, "e0", "cancel") == (409, "Cannot cancel: the event has already succeeded.")
    assert await answer_to(instance, "e0", "retry") == (
        409,
        "Nothing to retry: every delivery has the status succeeded.",
    )
    assert await answer_to(instance, "e0", "redeliver", "wh_1") == (404, "This event has no delivery wh_1.")
    answers = await asyncio.gather(*(answer_to(instance, "e0", "redeliver") for _ in range(3)))
    assert (202, "") in answers
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (shown := await instance.event("e0"))["workflow_id"] == run.handle.id or shown["status"] != "succeeded":
            await asyncio.sleep(0.05)
    assert shown["workflow_id"] == own_run(instance, "e0")
    numbers = [attempt["number"] for attempt in shown["deliveries"][0]["attempts"]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 1
    description = await instance.run("e0").describe()
    assert await description.memo_value(temporal_names.RUN_NUMBER) >= 2
    assert await description.memo_value("digest") == "digest of e0"
    assert (await instance.event("e1"))["workflow_id"] == run.handle.id


async def test_an_event_of_a_shared_run_cannot_be_rescheduled(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url)
    run = await share(instance, [event_to(webhook, id=f"e{n}", tenant=instance.tenant) for n in range(2)])
    await run.result()
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    path, params = "/v1/events/{}/reschedule", {"tenant": instance.tenant}
    answer = await instance.http.post(path.format("e0"), params=params, json={"deliver_at": later})
    assert answer.status_code == 409
    answer = await instance.http.post(path.format("unknown"), params=params, json={"deliver_at": later})
    assert answer.status_code == 404


async def test_the_unfinished_events_of_a_terminated_shared_run_are_cancelled(
    instance: Instance, inbox: Receiver
) -> None:
    """One that has finished keeps its end; the others are cancelled, and a redelivery delivers them."""
    gate = asyncio.Event()
    inbox.otherwise = Answer(200, gate=gate)
    webhook = await instance.webhook(inbox.url)
    silent = event_to(id="none", tenant=instance.tenant)
    run = await share(instance, [event_to(webhook, id="e0", tenant=instance.tenant), silent])
    await until_started(run, inbox)
    await run.handle.terminate()
    gate.set()
    assert await instance.gateway.runs.repair(instance.tenant, "e0")
    assert (await instance.event("e0"))["status"] == "cancelled"
    assert (await instance.event("none"))["status"] == "no_webhook"
    assert await answer_to(instance, "e0", "cancel") == (409, "Cannot cancel: the event has already been cancelled.")
    assert await answer_to(instance, "e0", "redeliver") == (202, "")
    assert (await instance.until("e0", "succeeded"))["workflow_id"] == own_run(instance, "e0")


async def test_a_recovery_redelivers_what_a_terminated_shared_run_has_cancelled(
    instance: Instance, inbox: Receiver
) -> None:
    gate = asyncio.Event()
    inbox.otherwise = Answer(200, gate=gate)
    webhook = await instance.webhook(inbox.url)
    run = await share(instance, [event_to(webhook, id=f"e{n}", tenant=instance.tenant) for n in range(2)])
    await until_started(run, inbox)
    await run.handle.terminate()
    gate.set()
    scope = {"since": (datetime.now(UTC) - timedelta(hours=1)).isoformat(), "status": "cancelled", "rate": 50}
    async with asyncio.timeout(WAIT_TIMEOUT):
        while [(await instance.event(f"e{n}"))["status"] for n in range(2)] != ["succeeded"] * 2:
            for n in range(2):
                await instance.gateway.runs.repair(instance.tenant, f"e{n}")
            await instance.http.post(f"/v1/webhooks/{webhook['id']}/recover", json=scope)
            await asyncio.sleep(0.5)
    assert (await instance.event("e1"))["workflow_id"] == own_run(instance, "e1")


async def test_the_events_of_a_run_that_was_terminated_before_its_start_are_cancelled(idle_instance: Instance) -> None:
    run = await share(idle_instance, [event_to(id="e0", tenant=idle_instance.tenant)])
    await run.handle.terminate()
    assert (await idle_instance.event("e0"))["workflow_id"] == run.handle.id


async def test_signals_before_its_start_do_not_hide_that_a_terminated_run_took_no_step(idle_instance: Instance) -> None:
    """With them, its history is as long as that of a run with a step; but it cannot be queried."""
    webhook = await idle_instance.webhook("https://acme.example/hook")
    run = await share(idle_instance, [event_to(webhook, id="e0", tenant=idle_instance.tenant)])
    for _ in range(3):
        await run.handle.signal("hold")
    await run.handle.terminate()
    await idle_instance.gateway.runs.repair(idle_instance.tenant, "e0")
    event = await idle_instance.event("e0")
    assert (event["status"], event["workflow_id"]) == ("cancelled", run.handle.id)


async def test_temporal_lists_the_events_the_tenant_and_a_summary_of_a_shared_run(instance: Instance) -> None:
    """The ids of its events, the tenant if it is the same for all, a summary that names them."""
    events = [event_to(id=f"e{n}", tenant=instance.tenant) for n in range(40)]
    run = await share(instance, events)
    await run.result()
    await until_listed(run)
    query = f"{temporal_names.EVENTS} = 'e17' AND {temporal_names.TENANT} = '{instance.tenant}'"
    (listed,) = [listed async for listed in instance.temporal.list_workflows(query)]
    assert (listed.id, listed.status) == (run.handle.id, WorkflowExecutionStatus.COMPLETED)
    summary = await (await run.handle.describe()).static_summary()
    assert summary
    assert summary.startswith("40 events: e0, e1, e2")
    assert summary.endswith(", …")
