"""The order of events: positions without runs, runs without positions, queues that complete, continue, or are full."""

import asyncio
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from conftest import SEARCH_ATTRIBUTES, binary
from hookkeeper import temporal_names
from hookkeeper.crypto.keyring import new_key
from hookkeeper.messages.event import EventInput
from hookkeeper.messages.ordered_queue import QueueInput, QueuePosition
from hookkeeper.temporal.data_converter import data_converter
from hookkeeper.temporal.erasure import delete_run
from hookkeeper.temporal.run_state import find_run, input_of
from hookkeeper.times import rfc3339, utc_now
from instances import Instance, running_instance
from ordered_queues import first_numbers, numbers, queue_of, send_numbered
from receivers import Receiver
from timeouts import WAIT_TIMEOUT
from workflows.ordered_queue import MAX_POSITIONS, OrderedQueueWorkflow

LATER = {"schedule": [3600]}


# A position without a run


async def test_a_position_without_a_run_is_dropped_after_the_start_timeout(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.ordered_queue.START_TIMEOUT", timedelta(seconds=0.5))
    webhook = await instance.webhook(inbox.url, ordered=True)
    for n in range(3):
        await instance.gateway.ordered_queues.enqueue(
            QueuePosition(webhook_id=webhook["id"], tenant=instance.tenant, position=f"never-{n}")
        )
    sent = await send_numbered(instance, 2)
    for event_id in sent:
        await instance.until_final(event_id)
    assert numbers(inbox) == [0, 1]


async def test_a_run_that_is_started_late_keeps_its_position(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url, ordered=True)
    await instance.gateway.ordered_queues.enqueue(
        QueuePosition(webhook_id=webhook["id"], tenant=instance.tenant, position="late")
    )
    behind = await send_numbered(instance, 2)
    await asyncio.sleep(0.5)
    assert inbox.requests == []
    await instance.send(id="late", data={"n": 99})
    for event_id in behind:
        await instance.until_final(event_id)
    assert numbers(inbox) == [99, 0, 1]


async def test_a_run_that_was_missed_and_is_found_is_waited_for(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts after checks that have found none; its grant is a whole one."""
    monkeypatch.setattr("workflows.ordered_queue.START_TIMEOUT", timedelta(seconds=5))
    monkeypatch.setattr("workflows.queue_head.FIRST_CHECK", timedelta(seconds=0.3))
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    await instance.gateway.ordered_queues.enqueue(
        QueuePosition(webhook_id=webhook["id"], tenant=instance.tenant, position="late")
    )
    (behind,) = await send_numbered(instance, 1)
    await instance.send(id="late", data={"n": 99})
    await inbox.got(1)
    await asyncio.sleep(1.5)
    assert numbers(inbox) == [99]
    await instance.command("late", "retry")
    await instance.until_final(behind)
    assert numbers(inbox) == [99, 99, 0]


async def test_an_event_whose_time_has_just_passed_is_enqueued(instance: Instance, inbox: Receiver) -> None:
    """Whether its time has come is for its run to say: its clock, Temporal's, may be behind this machine's."""
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    (blocking,) = await send_numbered(instance, 1)
    await instance.until_delivery(blocking, "retrying")
    just_now = await instance.send(data={"n": 1}, deliver_at=rfc3339(utc_now()))
    started = await input_of(instance.temporal, instance.run(just_now["id"]), EventInput)
    assert not started.deliveries[0].enqueued
    async with asyncio.timeout(WAIT_TIMEOUT):
        while just_now["id"] not in await queue_of(instance, webhook).query("positions"):
            await asyncio.sleep(0.05)
    (last,) = await send_numbered(instance, 1)
    await instance.command(blocking, "retry")
    await instance.until_final(last)
    assert numbers(inbox) == [0, 0, 1, 0]


async def test_an_event_that_is_posted_again_and_again_is_delivered_once(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    blocking, waiting = await send_numbered(instance, 2)
    await instance.until_delivery(blocking, "retrying")
    again: dict[str, Any] = {"id": waiting, "data": {"n": 1}}
    assert all([(await instance.send(**again))["duplicate"] for _ in range(3)])
    other = {"type": "order.paid", "tenant": instance.tenant, "id": waiting, "data": "another"}
    assert (await instance.http.post("/v1/events", json=other)).status_code == 409
    assert await queue_of(instance, webhook).query("positions") == [blocking, waiting]
    await instance.command(blocking, "retry")
    await instance.until_closed(waiting)
    assert (await instance.send(**again))["duplicate"]
    (last,) = await send_numbered(instance, 1)
    await instance.until_final(last)
    assert numbers(inbox) == [0, 0, 1, 0]


async def test_an_open_event_that_is_done_is_dropped_at_once(instance: Instance, inbox: Receiver) -> None:
    """Its run is open for another webhook; posted again, it is enqueued again, and signals that it is done."""
    ordered = await instance.webhook(inbox.url, ordered=True)
    await instance.webhook("http://127.0.0.1:61999/closed", retry=LATER)
    await instance.send(id="twice", data={"n": 0})
    await inbox.got(1)
    assert (await instance.send(id="twice", data={"n": 0}))["duplicate"]
    await send_numbered(instance, 2)
    await inbox.got(3)
    assert numbers(inbox) == [0, 0, 1]
    assert (await instance.event("twice"))["status"] == "delivering"
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await queue_of(instance, ordered).query("positions"):  # the last one is about to say that it has passed
            await asyncio.sleep(0.05)


# A run that does not signal, or has no position


async def test_a_terminated_run_blocks_no_event(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.queue_head.FIRST_CHECK", timedelta(seconds=0.3))
    inbox.fails(500)
    await instance.webhook(inbox.url, ordered=True, retry=LATER)
    first, second, third = await send_numbered(instance, 3)
    await instance.until_delivery(first, "retrying")
    await instance.run(second).terminate()
    await instance.run(first).terminate()
    assert (await instance.until_final(third))["status"] == "succeeded"


async def test_a_granted_run_that_was_deleted_blocks_no_event(instance: Instance, inbox: Receiver) -> None:
    """Setup: the first event waits for its retry. Timeline: its run is terminated and deleted; a check.
    Proves: a run that had its grant and is gone counts as closed: the queue does not wait for its start.
    """
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    first, second = await send_numbered(instance, 2)
    await instance.until_delivery(first, "retrying")
    run = await instance.run(first).describe()
    await instance.run(first).terminate()
    await delete_run(instance.temporal, run.id, run.run_id)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await find_run(instance.temporal, run.id):
            await asyncio.sleep(0.1)
    await instance.gateway.ordered_queues.request_check(webhook["id"])
    assert (await instance.until_final(second))["status"] == "succeeded"
    assert numbers(inbox) == [0, 1]


async def test_runs_enqueue_again_after_a_queue_was_terminated(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them waits for another event to be posted; the first one still holds the others up."""
    monkeypatch.setattr("workflows.queue_positions.ENQUEUE_INTERVAL", timedelta(seconds=1))
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    sent = await send_numbered(instance, 4)
    await instance.until_delivery(sent[0], "retrying")
    await queue_of(instance, webhook).terminate()
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not await is_open(instance, webhook) or await queue_of(instance, webhook).query("positions") != sent:
            await asyncio.sleep(0.05)
    await instance.command(sent[0], "retry")
    for event_id in sent:
        assert (await instance.until_final(event_id))["status"] == "succeeded"
    assert numbers(inbox) == [0, 0, 1, 2, 3]


async def is_open(instance: Instance, webhook: dict[str, Any]) -> bool:
    return (await queue_of(instance, webhook).describe()).status == WorkflowExecutionStatus.RUNNING


# Queues that complete and continue


async def test_a_queue_continues_as_a_new_run_with_all_its_positions(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.ordered_queue.LONG_HISTORY", 40)
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    first, *_ = await send_numbered(instance, 20)
    await instance.until_delivery(first, "retrying")
    runs = {(await queue_of(instance, webhook).describe()).run_id}
    await instance.command(first, "retry")
    await inbox.got(21)
    runs.add((await queue_of(instance, webhook).describe()).run_id)
    assert numbers(inbox) == [0, *range(20)]
    assert len(runs) == 2
    history = await queue_of(instance, webhook).fetch_history()
    assert len(history.events) < 100


async def test_a_position_without_a_run_is_dropped_by_a_queue_that_often_continues(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of the queue's runs lasts as long as the start timeout; a run enqueues again, and changes nothing."""
    monkeypatch.setattr("workflows.ordered_queue.LONG_HISTORY", 80)
    monkeypatch.setattr("workflows.ordered_queue.START_TIMEOUT", timedelta(seconds=0.6))
    webhook = await instance.webhook("https://acme.example/hook", ordered=True)
    await instance.gateway.ordered_queues.enqueue(
        QueuePosition(webhook_id=webhook["id"], tenant=instance.tenant, position="never")
    )
    ordered_queue = queue_of(instance, webhook)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while "never" in await ordered_queue.query("positions"):
            await ordered_queue.signal("enqueue", "behind")
            await asyncio.sleep(0.02)
    await ordered_queue.terminate()


async def test_an_empty_queue_completes_and_loses_no_later_event(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.ordered_queue.IDLE_TIMEOUT", timedelta(seconds=0.1))
    webhook = await instance.webhook(inbox.url, ordered=True)
    dice = random.Random(1)
    for n in range(15):
        await instance.send(data={"n": n})
        await asyncio.sleep(dice.uniform(0.1, 0.2))  # about when the queue completes
    await inbox.got(15)
    assert numbers(inbox) == list(range(15))
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await queue_of(instance, webhook).describe()).status != WorkflowExecutionStatus.COMPLETED:
            await asyncio.sleep(0.05)


# Queues that are full


async def test_a_full_queue_accepts_no_event_until_it_is_shorter(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.ordered_queue.QUEUE_LIMIT", 3)
    monkeypatch.setattr("workflows.ordered_queue.ACCEPT_AGAIN_BELOW", 2)
    monkeypatch.setattr("hookkeeper.temporal.ordered_queues.CAPACITY_CHECK_INTERVAL", 0)
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    first, second, third = await send_numbered(instance, 3)
    refused = await until_refused(instance, 429)
    assert refused.headers["retry-after"] == "5"
    assert webhook["id"] in refused.json()["detail"]
    assert (await instance.send(id=third, data={"n": 2}))["duplicate"]  # it has been accepted
    await instance.command(first, "retry")
    for event_id in (second, third):
        await instance.until_final(event_id)
    await instance.until_final(await until_accepted(instance))
    assert first_numbers(inbox)[:3] == [0, 1, 2]


async def test_a_queue_without_workers_becomes_full_too(
    idle_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookkeeper.temporal.ordered_queues.MAX_HISTORY", 10)
    monkeypatch.setattr("hookkeeper.temporal.ordered_queues.CAPACITY_CHECK_INTERVAL", 0)
    await idle_instance.webhook(inbox.url, ordered=True)
    accepted = 0
    while (await post(idle_instance, accepted)).status_code == 202:
        accepted += 1
    assert (await post(idle_instance, accepted)).status_code == 429
    assert 5 < accepted < 12
    async with idle_instance.working():
        await inbox.got(accepted)
    assert numbers(inbox) == list(range(accepted))


async def test_an_encrypted_queue_keeps_the_order_and_its_limit(
    temporal: Client, tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.ordered_queue.QUEUE_LIMIT", 3)
    monkeypatch.setattr("hookkeeper.temporal.ordered_queues.CAPACITY_CHECK_INTERVAL", 0)
    async with (
        running_instance(temporal, tmp_path, encryption_keys=SecretStr(new_key("k"))) as instance,
        instance.working(),
    ):
        inbox.fails(500)
        await instance.webhook(inbox.url, ordered=True, retry=LATER)
        first, *others = await send_numbered(instance, 3)
        await until_refused(instance, 429)
        await instance.command(first, "retry")
        for event_id in others:
            await instance.until_final(event_id)
    assert numbers(inbox)[:4] == [0, 0, 1, 2]  # one that was sent before the queue was full may follow


async def test_an_event_that_temporal_cannot_enqueue_is_answered_with_503(
    tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: a server that takes forty signals a run, and no worker. Proves: an event that would need one
    more is answered 503; those that were accepted arrive, in order.
    """
    monkeypatch.setattr("workflows.ordered_queue.LONG_HISTORY", 30)
    few_signals = (
        *("--dynamic-config-value", "history.maximumSignalsPerExecution=40"),
        *("--dynamic-config-value", "history.transferProcessorMaxPollRPS=1000"),
    )
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=binary("temporal"),
        dev_server_log_level="error",
        data_converter=data_converter(),
        search_attributes=SEARCH_ATTRIBUTES,
        dev_server_extra_args=few_signals,
    )
    async with environment, running_instance(environment.client, tmp_path) as instance:
        webhook = await instance.webhook(inbox.url, ordered=True)
        await send_numbered(instance, 3)
        for _ in range(37):
            await queue_of(instance, webhook).signal("check")
        for _ in range(2):
            refused = await post(instance, 3)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        async with instance.working():
            await inbox.got(3)
            await send_numbered(instance, 1)
            await inbox.got(4)
        assert numbers(inbox) == [0, 1, 2, 0]
    await asyncio.sleep(0.05)


async def post(instance: Instance, n: int) -> Any:
    return await instance.http.post(
        "/v1/events", json={"type": "order.paid", "tenant": instance.tenant, "data": {"n": n}}
    )


async def until_refused(instance: Instance, status: int) -> Any:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (answer := await post(instance, 1000)).status_code != status:
            await asyncio.sleep(0.03)
    return answer


async def until_accepted(instance: Instance) -> str:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (answer := await post(instance, 2000)).status_code != 202:
            await asyncio.sleep(0.03)
    accepted: str = answer.json()["id"]
    return accepted


async def test_a_queue_with_the_maximum_of_positions_continues_as_a_new_run(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it carries is close to the 2 MB that Temporal takes; who comes on top has to come again."""
    monkeypatch.setattr("workflows.ordered_queue.LONG_HISTORY", 20)
    webhook = await instance.webhook("https://acme.example/hook", ordered=True)
    line = QueueInput(
        webhook_id=webhook["id"], tenant=instance.tenant, positions=tuple(f"{n:0128}" for n in range(MAX_POSITIONS - 5))
    )
    first = await instance.temporal.start_workflow(
        OrderedQueueWorkflow.run, line, id=queue_of(instance, webhook).id, task_queue=instance.settings.task_queue
    )
    for n in range(30):
        await queue_of(instance, webhook).signal("enqueue", f"{n:0127}x")
    ordered_queue = queue_of(instance, webhook)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (now := await ordered_queue.describe()).run_id == first.first_execution_run_id:
            await asyncio.sleep(0.1)
    assert await now.memo_value(temporal_names.QUEUE_FULL)
    assert len(await ordered_queue.query("positions")) == MAX_POSITIONS
    assert (await post(instance, 0)).status_code == 429
    await ordered_queue.terminate()
