"""Ordered queues continue when operators end their activities or terminate them, and when runs do not answer."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from test_operators import end, temporal_cli

from hookkeeper import ids
from hookkeeper.command_rules import Command
from hookkeeper.messages.ordered_queue import QueuedRun, QueuePosition
from hookkeeper.temporal.ordered_queues import OrderedQueues
from hookkeeper.temporal.run_state import find_run
from hookkeeper.times import rfc3339, utc_now
from instances import Instance
from ordered_queues import first_numbers, numbers, queue_of, send_numbered
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT
from workflows.commands import Commands

LATER = {"schedule": [3600]}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes minutes takes a moment."""
    monkeypatch.setattr("workflows.activities.RESCHEDULE_INTERVAL", timedelta(seconds=0.1))
    monkeypatch.setattr("workflows.queue_head.FIRST_CHECK", timedelta(seconds=0.3))
    monkeypatch.setattr("workflows.queue_head.STUCK_AFTER", timedelta(seconds=0.5))
    monkeypatch.setattr("workflows.queue_head.SILENT_CHECK_INTERVAL", timedelta(seconds=0.3))
    monkeypatch.setattr("workflows.queue_head.MAX_CHECK_INTERVAL", timedelta(seconds=0.5))
    monkeypatch.setattr("hookkeeper.temporal.ordered_queues.ANSWER_TIMEOUT", timedelta(seconds=2))


async def queue(instance: Instance, webhook_id: str) -> dict[str, object]:
    answer = await instance.http.get(f"/v1/webhooks/{webhook_id}/queue")
    assert answer.status_code == 200, answer.text
    shown: dict[str, object] = answer.json()
    return shown


@pytest.fixture
def breakable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs fail: the signal `hold` of a delivery `bug` fails each workflow task from then on."""
    original = Commands.signal

    async def signal(self: Commands, command: Command, delivery: str | None) -> None:
        if delivery == "bug":
            raise RuntimeError("a bug")
        await original(self, command, delivery)

    monkeypatch.setattr(Commands, "signal", signal)


async def break_run(instance: Instance, event_id: str) -> None:
    await instance.run(event_id).signal("hold", "bug")


# Activities that an operator ends


@pytest.mark.usefixtures("soon")
async def test_later_events_are_delivered_after_an_operator_failed_the_activity_of_the_first(
    instance: Instance, inbox: Receiver
) -> None:
    inbox.answers.append(Answer(200, delay=5))
    await instance.webhook(inbox.url, ordered=True)
    sent = await send_numbered(instance, 3)
    await inbox.got(1)
    await end(instance, sent[0], "fail")
    for event_id in sent:
        assert (await instance.until_final(event_id))["status"] == "succeeded"
    assert first_numbers(inbox) == [0, 1, 2]


@pytest.mark.usefixtures("soon")
async def test_a_queue_goes_on_after_an_operator_failed_its_own_activity(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Setup: the check of the event at the head takes long, and is failed. Then that event is terminated: only a
    later look can find that.
    """
    looks, original = 0, OrderedQueues.check_run

    async def check_run(self: OrderedQueues, position: QueuePosition) -> QueuedRun:
        nonlocal looks
        looks += 1
        if looks == 1:
            await asyncio.sleep(15)
        return await original(self, position)

    monkeypatch.setattr("hookkeeper.temporal.ordered_queues.OrderedQueues.check_run", check_run)
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    first, second = await send_numbered(instance, 2)
    await instance.until_delivery(first, "retrying")
    ordered_queue = queue_of(instance, webhook)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not (pending := (await ordered_queue.describe()).raw_description.pending_activities):
            await asyncio.sleep(0.05)
    with caplog.at_level(logging.WARNING):
        await temporal_cli(
            instance, "activity", "fail", "--activity-id", pending[0].activity_id, "--workflow-id", ordered_queue.id
        )
        await instance.run(first).terminate()
        assert (await instance.until_final(second))["status"] == "succeeded"
    assert "check_queued_run ended in a way that was not requested" in caplog.text


@pytest.mark.usefixtures("soon")
async def test_an_event_is_enqueued_although_an_operator_failed_the_activity(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    joins, original = 0, OrderedQueues.enqueue

    async def enqueue(self: OrderedQueues, position: QueuePosition) -> None:
        nonlocal joins
        joins += 1
        if joins == 1:
            await asyncio.sleep(8)
        await original(self, position)

    monkeypatch.setattr("hookkeeper.temporal.ordered_queues.OrderedQueues.enqueue", enqueue)
    await instance.webhook(inbox.url, ordered=True)
    event_id = (await instance.send(data={"n": 0}, deliver_at=rfc3339(utc_now())))["id"]
    await end(instance, event_id, "fail", "enqueue")
    assert (await instance.until_final(event_id))["status"] == "succeeded"
    assert joins > 1


# Runs that do not answer


@pytest.mark.usefixtures("soon", "breakable")
async def test_with_policy_skip_later_events_pass_a_run_that_does_not_answer(
    instance: Instance, inbox: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    inbox.answers.append(Answer(200, delay=3))
    await instance.webhook(inbox.url, ordered=True, order_policy="skip")
    first, *others = await send_numbered(instance, 3)
    await inbox.got(1)
    with caplog.at_level(logging.WARNING):
        await break_run(instance, first)
        for event_id in others:
            assert (await instance.until_final(event_id))["status"] == "succeeded"
    assert first_numbers(inbox) == [0, 1, 2]
    assert f"{first} does not answer: the events behind it go on" in caplog.text
    await instance.run(first).terminate()


@pytest.mark.usefixtures("soon", "breakable")
async def test_with_policy_block_a_run_that_does_not_answer_is_reported(
    instance: Instance, inbox: Receiver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: the first run breaks and the queue says so, also after it continues as a new run; an operator
    terminates the first run, and the others are delivered.
    """
    monkeypatch.setattr("workflows.ordered_queue.LONG_HISTORY", 100)
    inbox.answers.append(Answer(200, delay=3))
    webhook = await instance.webhook(inbox.url, ordered=True)
    first, *others = await send_numbered(instance, 3)
    await inbox.got(1)
    assert await queue(instance, webhook["id"]) == {
        "webhook_id": webhook["id"],
        "waiting": 3,
        "head": first,
        "stuck_since": None,
    }
    with caplog.at_level(logging.WARNING):
        await break_run(instance, first)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not (shown := await queue(instance, webhook["id"]))["stuck_since"]:
                await asyncio.sleep(0.1)
    assert (shown["head"], shown["waiting"]) == (first, 3)
    assert f"the queue of {webhook['id']} is stuck: the run of {first} does not answer, and 2 wait" in caplog.text
    assert first_numbers(inbox) == [0]
    run_id = (await queue_of(instance, webhook).describe()).run_id
    while (await queue_of(instance, webhook).describe()).run_id == run_id:
        await queue_of(instance, webhook).signal("enqueue", others[0])
    assert await queue(instance, webhook["id"]) == shown
    await instance.run(first).terminate()
    for event_id in others:
        assert (await instance.until_final(event_id))["status"] == "succeeded"
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (shown := await queue(instance, webhook["id"]))["waiting"]:
            await asyncio.sleep(0.1)
    assert (shown["head"], shown["stuck_since"]) == (None, None)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("status", [RPCStatusCode.CANCELLED, RPCStatusCode.FAILED_PRECONDITION])
async def test_with_policy_skip_no_event_overtakes_one_that_a_slow_worker_delivers(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch, status: RPCStatusCode
) -> None:
    """Setup: the first event is being delivered. No worker answers for its run in time, or Temporal knows of none.
    Proves: the queue says that it is stuck, however long that lasts, and keeps the order.
    """
    asked, original = 0, WorkflowHandle.query

    async def query(handle: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal asked
        if handle.id == ids.workflow_id(instance.tenant, first):
            asked += 1
            raise RPCError("Timeout expired", status, b"")
        return await original(handle, *args, **kwargs)

    answered = asyncio.Event()
    inbox.answers.append(Answer(200, gate=answered))
    webhook = await instance.webhook(inbox.url, ordered=True, order_policy="skip", timeout=30)
    first, *others = await send_numbered(instance, 3)
    await inbox.got(1)
    monkeypatch.setattr(WorkflowHandle, "query", query)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while asked < 8:
            await asyncio.sleep(0.05)
    assert (await queue(instance, webhook["id"]))["stuck_since"]
    assert numbers(inbox) == [0]
    monkeypatch.setattr(WorkflowHandle, "query", original)
    answered.set()
    for event_id in others:
        assert (await instance.until_final(event_id))["status"] == "succeeded"
    assert numbers(inbox) == [0, 1, 2]


async def test_a_webhook_without_an_order_has_no_queue(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url)
    assert await queue(instance, webhook["id"]) == {
        "webhook_id": webhook["id"],
        "waiting": 0,
        "head": None,
        "stuck_since": None,
    }


# Queues that an operator ends


@pytest.mark.parametrize("how", ["terminate", "cancel", "delete --yes"])
async def test_all_are_delivered_in_order_after_an_operator_ended_the_queue(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Setup: the first event waits for its retry, and others for it; those that wait for their time are no part of it.
    Timeline: an operator ends the queue; another event is posted; the first is retried.
    Proves: no event waits for an hour to be enqueued again, and the order stays that of acceptance.
    """
    monkeypatch.setattr("hookkeeper.temporal.ordered_queues.CAPACITY_CHECK_INTERVAL", 0)
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    sent = await send_numbered(instance, 4)
    scheduled = (await instance.send(data={"n": 99}, deliver_at=rfc3339(utc_now() + timedelta(days=1))))["id"]
    await instance.until_delivery(sent[0], "retrying")
    await temporal_cli(instance, "workflow", *how.split(), "--workflow-id", queue_of(instance, webhook).id)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (run := await find_run(instance.temporal, queue_of(instance, webhook).id)) and (
            how == "delete --yes" or run.status == WorkflowExecutionStatus.RUNNING
        ):
            await asyncio.sleep(0.05)
    sent.append((await instance.send(data={"n": 4}))["id"])
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await queue_of(instance, webhook).query("positions") != sent:
            await asyncio.sleep(0.05)
    await instance.command(sent[0], "retry")
    for event_id in sent:
        assert (await instance.until_final(event_id))["status"] == "succeeded"
    assert numbers(inbox) == [0, 0, 1, 2, 3, 4]
    await instance.command(scheduled, "cancel")


async def test_a_queue_that_ended_by_itself_looks_for_nothing(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.ordered_queue.IDLE_TIMEOUT", timedelta(seconds=0.1))
    monkeypatch.setattr("hookkeeper.temporal.ordered_queues.CAPACITY_CHECK_INTERVAL", 0)
    webhook = await instance.webhook(inbox.url, ordered=True)
    for n in range(2):
        await instance.send(data={"n": n})
        await inbox.got(n + 1)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while (await queue_of(instance, webhook).describe()).status != WorkflowExecutionStatus.COMPLETED:
                await asyncio.sleep(0.05)
        history = await queue_of(instance, webhook).fetch_history()
        scheduled = [event.activity_task_scheduled_event_attributes.activity_type.name for event in history.events]
        assert "find_waiting_events" not in scheduled
