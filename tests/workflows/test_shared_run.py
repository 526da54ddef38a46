"""Events that share a run: one activity makes their first attempts, and what has not succeeded gets its own run."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowQueryFailedError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from claimed_runs import share
from hookkeeper import ids, temporal_names
from hookkeeper.messages.event import Delivery
from hookkeeper.temporal.events.run_state import state_of
from instances import Instance, running_instance, without_registry
from receivers import Answer, Receiver, receiver
from shared_runs import SharedRun, event_to, start
from timeouts import WAIT_TIMEOUT
from worker_processes import worker_process
from workflows.shared_run import MAX_TRIES

PATIENT = {"schedule": [3600]}


@pytest.fixture
async def other() -> AsyncIterator[Receiver]:
    async with receiver() as serving:
        yield serving


def events_to(instance: Instance, webhook: dict[str, Any], *names: str) -> list[Any]:
    return [event_to(webhook, id=name, tenant=instance.tenant) for name in names]


def keys(instance: Instance, *names: str) -> tuple[str, ...]:
    return tuple(ids.workflow_id(instance.tenant, name) for name in names)


async def own_status(instance: Instance, name: str) -> WorkflowExecutionStatus | None:
    """Wait until the event's own run has started, and return its status."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            try:
                description = await instance.run(name).describe()
                return description.status
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
            await asyncio.sleep(0.05)


async def until_closed(instance: Instance, name: str) -> WorkflowExecutionStatus:
    """Wait until the event's own run has started and closed."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (status := await own_status(instance, name)) == WorkflowExecutionStatus.RUNNING:
            await asyncio.sleep(0.05)
    assert status is not None
    return status


async def own_delivery(instance: Instance, name: str) -> Delivery:
    """Return the delivery as the event's own run has it."""
    status = await own_status(instance, name)
    (delivery,) = (await state_of(instance.temporal, instance.run(name), status)).deliveries
    return delivery


async def attempts_of(instance: Instance, name: str, count: int) -> Delivery:
    """Wait until the event's own run has recorded this many attempts."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while len((delivery := await own_delivery(instance, name)).attempts) < count:
            await asyncio.sleep(0.05)
    return delivery


@pytest.mark.promise("docs/events.md")
async def test_events_that_succeed_need_one_activity(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url)
    names = [f"e{number}" for number in range(50)]
    run = await start(instance, events_to(instance, webhook, *names))
    result = await run.result()
    assert [state.id for state in result.finished] == names
    assert {state.status for state in result.finished} == {"succeeded"}
    assert all(state.finished_at and len(state.deliveries[0].attempts) == 1 for state in result.finished)
    assert result.continued == ()
    assert await run.activities() == ["deliver_webhooks"]
    assert sorted(request.webhook_id for request in inbox.requests) == sorted(names)
    history = await run.handle.fetch_history()
    assert len(history.events) == 12, "as many as the run of one event has"


async def test_events_without_deliveries_need_no_activity(instance: Instance) -> None:
    run = await start(instance, [event_to(id=name, tenant=instance.tenant) for name in ("e1", "e2")])
    assert [state.status for state in (await run.result()).finished] == ["no_webhook"] * 2
    assert await run.activities() == []


@pytest.mark.promise("docs/events.md")
async def test_an_event_that_has_not_succeeded_gets_its_own_run(
    instance: Instance, inbox: Receiver, other: Receiver
) -> None:
    gone = await instance.webhook(inbox.url)
    webhook = await instance.webhook(other.url, retry={"schedule": [0.1]})
    inbox.fails(410)
    other.fails(500)
    events = [*events_to(instance, gone, "e0"), *events_to(instance, webhook, "e1", "e2")]
    result = await (await start(instance, events)).result()
    (succeeded,) = result.finished
    (retried,) = {"e1", "e2"} - {succeeded.id}
    assert result.continued == keys(instance, "e0", retried)
    assert await until_closed(instance, "e0") == WorkflowExecutionStatus.FAILED
    assert await until_closed(instance, retried) == WorkflowExecutionStatus.COMPLETED
    assert (await own_delivery(instance, "e0")).reason == "gone"
    attempts = (await own_delivery(instance, retried)).attempts
    assert [(attempt.number, attempt.status_code) for attempt in attempts] == [(1, 500), (2, 200)]
    assert (len(inbox.requests), len(other.requests)) == (1, 3), "three first attempts, and a retry"


async def test_the_own_run_is_started_as_the_api_starts_one(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url, retry=PATIENT)
    inbox.fails(500)
    (event,) = events_to(instance, webhook, "e1")
    assert (await (await start(instance, [event])).result()).continued == keys(instance, "e1")
    described = await instance.run("e1").describe()
    assert described.workflow_type == temporal_names.EVENT
    memo = await described.memo()
    assert memo == {"digest": event.digest, "accepted_at": memo["accepted_at"]}
    assert datetime.fromisoformat(memo["accepted_at"]) == event.accepted_at
    attributes = {pair.key.name: pair.value for pair in described.typed_search_attributes}
    assert {name: value for name, value in attributes.items() if name.startswith("Hook")} == {
        "HookTenant": instance.tenant,
        "HookEventType": "order.paid",
        "HookNeedsAttention": [webhook["id"]],
    }
    assert await described.static_summary() == f"order.paid · {instance.tenant}"
    assert described.raw_description.workflow_execution_info.priority.fairness_key == instance.tenant
    shown = await own_delivery(instance, "e1")
    assert (shown.status, shown.steps_taken) == ("retrying", 1)


async def test_an_own_run_that_exists_already_is_not_replaced(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url, retry=PATIENT)
    inbox.otherwise = Answer(500)
    before = await instance.send(id="e1")
    await instance.until_delivery(before["id"], "retrying", 1)
    first_run = (await instance.run("e1").describe()).run_id
    result = await (await start(instance, events_to(instance, webhook, "e1", "e2"))).result()
    assert result.continued == keys(instance, "e2"), "the row of the other one names its own run"
    described = await instance.run("e1").describe()
    assert (described.run_id, described.status) == (first_run, WorkflowExecutionStatus.RUNNING)


async def test_deliveries_that_fail_together_have_one_alert(
    instance: Instance, inbox: Receiver, other: Receiver
) -> None:
    """Three events fail for good in one step: the alert names one of them, and lists the others."""
    body = '{"event": {{ event.id }}, "unreported": {{ alert.unreported }}, "others": {{ alert.also_failed }}}'
    on_failure = {"notifications": [{"http": {"url": other.url, "body": body}}]}
    webhook = await instance.webhook(inbox.url, retry={"schedule": []}, on_failure=on_failure)
    inbox.otherwise = Answer(500)
    names = "e1", "e2", "e3"
    result = await (await start(instance, events_to(instance, webhook, *names))).result()
    assert result.continued == keys(instance, *names)
    for name in names:
        assert await until_closed(instance, name) == WorkflowExecutionStatus.FAILED
    (request,) = await other.got(1)
    alert = json.loads(request.body)
    assert alert["unreported"] == 2
    assert {alert["event"], *(each["event"] for each in alert["others"])} == set(names)
    assert alert["others"][0] | {"event": ""} == {
        "event": "",
        "type": "order.paid",
        "delivery": webhook["id"],
        "target": inbox.url,
        "status_code": 500,
        "error": "http_500",
    }


async def test_a_delivery_held_by_a_paused_webhook_is_rechecked_in_its_own_run(
    instance: Instance, inbox: Receiver
) -> None:
    webhook = await instance.webhook(inbox.url)
    await instance.http.post(f"/v1/webhooks/{webhook['id']}/pause")
    result = await (await start(instance, events_to(instance, webhook, "e1", "e2"))).result()
    assert result.continued == keys(instance, "e1", "e2")
    held = await own_delivery(instance, "e1")
    assert (held.status, held.reason, held.rechecks) == ("held", "webhook_paused", 1)
    assert held.recheck_at is not None
    assert not inbox.requests


async def test_each_failure_counts_for_the_health_of_the_webhook(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url, retry=PATIENT)
    inbox.otherwise = Answer(500)
    await (await start(instance, events_to(instance, webhook, "e1", "e2", "e3"))).result()
    health = (await instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()["health"]
    assert (health["status"], health["failures"]) == ("degraded", 3)


async def test_events_of_several_tenants_share_a_run(instance: Instance, inbox: Receiver) -> None:
    """The same event id, webhooks of their own."""
    events = []
    for tenant in (instance.tenant, f"{instance.tenant}-b"):
        webhook = await instance.webhook(f"{inbox.url}/{tenant}", tenant=tenant)
        events.append(event_to(webhook, id="e1", tenant=tenant))
    result = await (await start(instance, events)).result()
    assert [(state.tenant, state.status) for state in result.finished] == [
        (event.tenant, "succeeded") for event in events
    ]
    assert {request.path.rsplit("/")[-1] for request in inbox.requests} == {event.tenant for event in events}


@pytest.mark.parametrize("has_to_wait_long", [False, True])
async def test_a_tenant_at_its_limit_delays_no_other(
    temporal: Client, tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch, has_to_wait_long: bool
) -> None:
    """Setup: a tenant may have one activity at a time, and its receiver hangs. Timeline: it shares a run with another.
    Proves: the other's event is delivered. Its own event waits for a slot, after a while in a run of its own; if it is
    cancelled meanwhile, it is not sent.
    """
    monkeypatch.setattr("workflows.shared_run.MAX_WAIT", timedelta(seconds=0.1 if has_to_wait_long else 2))
    async with running_instance(temporal, tmp_path, max_concurrent_per_tenant=1) as instance, receiver() as slow:
        slow.otherwise = Answer(gate=asyncio.Event())
        tenant = f"{instance.tenant}-busy"
        hangs = await instance.webhook(slow.url, tenant=tenant, timeout=30)
        quick = await instance.webhook(inbox.url)
        async with instance.working():
            await start(instance, [event_to(hangs, id="e0", tenant=tenant)])
            await slow.got(1)
            waiting = [event_to(hangs, id=name, tenant=tenant) for name in ("e1", "cancelled")]
            run = await start(instance, [*waiting, *events_to(instance, quick, "e2")])
            async with asyncio.timeout(WAIT_TIMEOUT):
                while (await run.state("e2")).status != "succeeded":
                    await asyncio.sleep(0.05)
            instance.tenant = tenant
            if has_to_wait_long:
                assert (await run.result()).continued == keys(instance, "e1", "cancelled")
                await instance.run("cancelled").signal("cancel")
                assert await until_closed(instance, "cancelled") == WorkflowExecutionStatus.CANCELED
            else:
                assert (await run.state("e1")).status == "delivering"
                await run.command("cancelled", "cancel")
            assert slow.otherwise.gate is not None
            slow.otherwise.gate.set()
            result = await run.result()
            if has_to_wait_long:
                assert len(await run.activities()) == MAX_TRIES
                assert await until_closed(instance, "e1") == WorkflowExecutionStatus.COMPLETED
                assert len((await own_delivery(instance, "e1")).attempts) == 1
            else:
                assert {state.id for state in result.finished} == {"e1", "e2"}
                assert result.continued == keys(instance, "cancelled")
            assert await until_closed(instance, "cancelled") == WorkflowExecutionStatus.CANCELED
        assert [request.webhook_id for request in slow.requests] == ["e0", "e1"]


async def test_a_settled_event_takes_no_command(
    temporal: Client, tmp_path: Path, inbox: Receiver, other: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Setup: as above. Proves: an event that has succeeded refuses commands until its run has closed, while another
    one of the run waits. That a third one fails in its own run meanwhile is no error of the shared run.
    """
    other.fails(500)
    async with running_instance(temporal, tmp_path, max_concurrent_per_tenant=1) as instance, receiver() as slow:
        slow.otherwise = Answer(gate=asyncio.Event())
        tenant = f"{instance.tenant}-busy"
        hangs = await instance.webhook(slow.url, tenant=tenant, timeout=30)
        quick = await instance.webhook(inbox.url)
        async with instance.working():
            await start(instance, [event_to(hangs, id="e0", tenant=tenant)])
            await slow.got(1)
            bad = await instance.webhook(other.url, retry={"schedule": []})
            waits = event_to(hangs, id="e1", tenant=tenant)
            settled = [*events_to(instance, quick, "succeeds"), *events_to(instance, bad, "fails")]
            run = await start(instance, [waits, *settled])
            async with asyncio.timeout(WAIT_TIMEOUT):
                while (await run.state("succeeds")).status != "succeeded":
                    await asyncio.sleep(0.05)
            assert await until_closed(instance, "fails") == WorkflowExecutionStatus.FAILED
            assert await refusal(run.command("succeeds", "redeliver")) == "RunIsClosing"
            gc.collect()
            assert slow.otherwise.gate is not None
            slow.otherwise.gate.set()
            assert len((await run.result()).finished) == 2
    assert "never retrieved" not in caplog.text


async def test_more_events_than_a_webhook_takes_at_once_wait_for_a_slot(
    temporal: Client, tmp_path: Path, inbox: Receiver
) -> None:
    async with running_instance(temporal, tmp_path, max_concurrent_per_webhook=2) as instance:
        webhook = await instance.webhook(inbox.url)
        inbox.otherwise = Answer(delay=0.05)
        async with instance.working():
            names = [f"e{number}" for number in range(30)]
            result = await (await start(instance, events_to(instance, webhook, *names))).result()
        assert (len(result.finished), result.continued) == (30, ())


# Commands, and what people do in Temporal


@pytest.mark.promise("docs/events.md")
async def test_commands_during_the_attempt_count_in_the_own_run(instance: Instance, inbox: Receiver) -> None:
    """Timeline: three attempts are in flight; one event is cancelled, one held, one is to be tried again; they fail.
    Proves: the own runs go on with what the commands have changed.
    """
    webhook = await instance.webhook(inbox.url, retry=PATIENT)
    gate = asyncio.Event()
    inbox.answers = [Answer(500, gate=gate)] * 3
    names = ("cancelled", "held", "retried")
    run = await start(instance, events_to(instance, webhook, *names))
    await inbox.got(3)
    await run.command("cancelled", "cancel")
    await run.command("held", "hold", webhook["id"])
    await run.command("retried", "retry")
    assert (await run.state("held")).deliveries[0].status == "held"
    assert await refusal(run.command("held", "hold", "wh_none")) == "UnknownDelivery"
    assert await refusal(run.command("retried", "release")) == "Refused"
    assert await refusal(run.command("none", "cancel")) == "UnknownDelivery"
    gate.set()
    assert (await run.result()).continued == keys(instance, *names)
    assert await until_closed(instance, "cancelled") == WorkflowExecutionStatus.CANCELED
    assert (await own_delivery(instance, "cancelled")).attempts[0].status_code == 500
    assert (await own_delivery(instance, "held")).status == "held"
    assert await until_closed(instance, "retried") == WorkflowExecutionStatus.COMPLETED
    retried = (await own_delivery(instance, "retried")).attempts
    assert [(attempt.trigger, attempt.status_code) for attempt in retried] == [("scheduled", 500), ("manual", 200)]


async def test_a_redelivery_during_the_attempt_follows_in_the_own_run(instance: Instance, inbox: Receiver) -> None:
    """Timeline: two attempts are in flight; one event is to be delivered again; both succeed."""
    webhook = await instance.webhook(inbox.url)
    gate = asyncio.Event()
    inbox.answers = [Answer(gate=gate)] * 2
    run = await share(instance, events_to(instance, webhook, "again", "once"))
    await inbox.got(2)
    assert (await instance.command("again", "redeliver")).status_code == 202
    gate.set()
    assert (await run.result()).continued == keys(instance, "again")
    assert await until_closed(instance, "again") == WorkflowExecutionStatus.COMPLETED
    assert [attempt.trigger for attempt in (await own_delivery(instance, "again")).attempts] == ["scheduled", "manual"]
    assert sorted(request.webhook_id for request in inbox.requests) == ["again", "again", "once"]


async def refusal(command: Awaitable[None]) -> str | None:
    """Return the type of the error with which a command is refused."""
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await command
    assert isinstance(refused.value.cause, ApplicationError)
    return refused.value.cause.type


async def test_commands_before_the_first_worker_count_before_any_attempt(
    idle_instance: Instance, inbox: Receiver
) -> None:
    """An update waits for a worker: it comes with the first step, and counts before any attempt."""
    instance = idle_instance
    webhook = await instance.webhook(inbox.url)
    run = await start(instance, events_to(instance, webhook, "cancelled", "held", "plain"))
    commands = (("cancelled", "cancel"), ("held", "hold"))
    sent = [asyncio.create_task(run.command(name, command)) for name, command in commands]
    await asyncio.sleep(0.5)
    async with instance.working():
        await asyncio.gather(*sent)
        result = await run.result()
        assert [state.id for state in result.finished] == ["plain"]
        assert result.continued == keys(instance, "cancelled", "held")
        assert await until_closed(instance, "cancelled") == WorkflowExecutionStatus.CANCELED
        assert (await own_delivery(instance, "held")).status == "held"
    assert [request.webhook_id for request in inbox.requests] == ["plain"]


async def test_a_closed_run_can_be_queried(instance: Instance, inbox: Receiver) -> None:
    """A query replays it. Each event has its final state, and an unknown event is an error."""
    webhook = await instance.webhook(inbox.url)
    run = await start(instance, events_to(instance, webhook, "e1"))
    await run.result()
    assert (await run.state("e1")).status == "succeeded"
    with pytest.raises(WorkflowQueryFailedError, match="no event"):
        await run.state("e2")


@pytest.mark.parametrize("is_started", [True, False], ids=["in flight", "before any worker"])
async def test_a_cancellation_in_temporal_is_ignored(
    idle_instance: Instance, inbox: Receiver, is_started: bool
) -> None:
    instance, gate = idle_instance, asyncio.Event()
    webhook = await instance.webhook(inbox.url, retry=PATIENT)
    inbox.answers = [Answer(gate=gate), Answer(500, gate=gate)]
    run = await start(instance, events_to(instance, webhook, "e1", "e2"))
    if not is_started:
        await run.handle.cancel()
    async with instance.working():
        await inbox.got(2)
        if is_started:
            await run.handle.cancel()
            await asyncio.sleep(0.3)
        gate.set()
        result = await run.result()
        assert (len(result.finished), len(result.continued)) == (1, 1)
        (name,) = {"e1", "e2"} - {result.finished[0].id}
        assert (await attempts_of(instance, name, 1)).status == "retrying"
    assert (await run.handle.describe()).status == WorkflowExecutionStatus.COMPLETED


async def test_a_cancellation_in_temporal_is_ignored_while_a_record_is_due(idle_instance: Instance) -> None:
    """The registry is away: a run that closed as cancelled would have no result."""
    instance = idle_instance
    cancelled, done = (
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
    )
    async with AsyncExitStack() as working:
        async with without_registry(instance):
            await working.enter_async_context(instance.working())
            run = await start(instance, [event_to(id="e1", tenant=instance.tenant)])
            async with asyncio.timeout(WAIT_TIMEOUT):
                while (await run.state("e1")).status != "no_webhook":
                    await asyncio.sleep(0.05)
                await run.handle.cancel()
                kinds: list[int] = []
                while cancelled not in kinds or done not in kinds[kinds.index(cancelled) :]:
                    await asyncio.sleep(0.05)
                    kinds = [event.event_type for event in (await run.handle.fetch_history()).events]
        assert [state.id for state in (await run.result()).finished] == ["e1"]


async def test_a_result_that_a_person_wrote_is_not_taken(
    idle_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.activities.RESCHEDULE_INTERVAL", timedelta(seconds=0.1))
    instance, gate = idle_instance, asyncio.Event()
    webhook = await instance.webhook(inbox.url)
    inbox.answers = [Answer(gate=gate)] * 2
    run = await start(instance, events_to(instance, webhook, "e1", "e2"))
    async with instance.working():
        await inbox.got(2)
        description = await run.handle.describe()
        (pending,) = description.raw_description.pending_activities
        handle = instance.temporal.get_async_activity_handle(
            workflow_id=run.handle.id, run_id=description.run_id, activity_id=pending.activity_id
        )
        await handle.complete({"results": [None]})
        gate.set()
        result = await run.result()
    assert len(result.finished) == 2
    assert await run.activities() == ["deliver_webhooks"] * 2


# Replacement, and runs that only take an id


async def test_a_run_that_replaces_another_one_sends_nothing(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url)
    events = events_to(instance, webhook, "e1", "e2")
    result = await (await start(instance, events)).result()
    replacement = await start(instance, events[:1], finished=result.finished[:1])
    assert await replacement.result() == result.model_copy(update={"finished": result.finished[:1]})
    assert await replacement.activities() == []
    assert len(inbox.requests) == 2


async def test_a_run_without_events_takes_its_id(instance: Instance) -> None:
    result = await (await start(instance, [])).result()
    assert (result.finished, result.continued) == ((), ())


# A worker that is killed


@pytest.mark.promise("docs/guarantees.md")
async def test_requests_sent_by_a_killed_worker_are_not_sent_again(
    idle_instance: Instance, inbox: Receiver, other: Receiver
) -> None:
    """Timeline: nine attempts have ended, one hangs; the worker is killed; another one continues."""
    instance = idle_instance
    quick = await instance.webhook(inbox.url)
    slow = await instance.webhook(other.url, timeout=30)
    other.answers = [Answer(delay=60)]
    names = [f"e{number}" for number in range(9)]
    run = await start(instance, [*events_to(instance, quick, *names), *events_to(instance, slow, "slow")])
    async with worker_process(instance) as process:
        await inbox.got(9)
        await other.got(1)
        await until_reported(run)
        process.kill()
    async with instance.working():
        result = await run.result()
    assert [state.id for state in result.finished] == [*names, "slow"]
    assert len(inbox.requests) == 9, "their outcomes were in a heartbeat"
    assert len(other.requests) == 2, "it was in flight: only such can arrive twice"
    assert all(len(state.deliveries[0].attempts) == 1 for state in result.finished)


async def until_reported(run: SharedRun) -> None:
    """Wait until a heartbeat has carried all outcomes there are."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            pending = (await run.handle.describe()).raw_description.pending_activities
            if any(activity.heartbeat_details.payloads for activity in pending):
                await asyncio.sleep(0.3)
                return
            await asyncio.sleep(0.05)
