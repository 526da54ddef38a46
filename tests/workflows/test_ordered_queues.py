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

from conftest import binary
from hookkeeper import ids
from hookkeeper.crypto.keyring import new_key
from hookkeeper.messages.ordered_queue import QueueInput, QueuePosition
from hookkeeper.temporal.data_converter import data_converter
from hookkeeper.temporal.run_state import input_of
from hookkeeper.times import rfc3339, utc_now
from house import House, house
from ordered_queues import first_numbers, numbers, queue_of, send_numbered
from patience import PATIENCE
from receivers import Receiver
from workflows.ordered_queue import MAX_POSITIONS, OrderedQueueWorkflow

LATER = {"schedule": [3600]}


# A position without a run


async def test_a_position_without_a_run_is_dropped_after_the_start_timeout(
    home: House, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.ordered_queue.START_TIMEOUT", timedelta(seconds=0.5))
    webhook = await home.webhook(inbox.url, ordered=True)
    for n in range(3):
        await home.gateway.ordered_queues.enqueue(
            QueuePosition(webhook_id=webhook["id"], tenant=home.tenant, position=f"never-{n}")
        )
    sent = await send_numbered(home, 2)
    for event_id in sent:
        await home.until_final(event_id)
    assert numbers(inbox) == [0, 1]


async def test_a_run_that_is_started_late_keeps_its_position(home: House, inbox: Receiver) -> None:
    webhook = await home.webhook(inbox.url, ordered=True)
    await home.gateway.ordered_queues.enqueue(
        QueuePosition(webhook_id=webhook["id"], tenant=home.tenant, position="late")
    )
    behind = await send_numbered(home, 2)
    await asyncio.sleep(0.5)
    assert inbox.requests == []
    await home.send(id="late", data={"n": 99})
    for event_id in behind:
        await home.until_final(event_id)
    assert numbers(inbox) == [99, 0, 1]


async def test_a_run_that_was_missed_and_is_found_is_waited_for(
    home: House, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts in the last pause before its position would have been dropped; its grant is a whole one."""
    for name, seconds in (("FIRST_START_CHECK", 3), ("START_TIMEOUT", 2), ("FIRST_CHECK", 0.3)):
        monkeypatch.setattr(f"workflows.ordered_queue.{name}", timedelta(seconds=seconds))
    inbox.fails(500)
    webhook = await home.webhook(inbox.url, ordered=True, retry=LATER)
    await home.gateway.ordered_queues.enqueue(
        QueuePosition(webhook_id=webhook["id"], tenant=home.tenant, position="late")
    )
    (behind,) = await send_numbered(home, 1)
    await home.send(id="late", data={"n": 99})
    await inbox.got(1)
    await asyncio.sleep(1.5)
    assert numbers(inbox) == [99]
    await home.command("late", "retry")
    await home.until_final(behind)
    assert numbers(inbox) == [99, 99, 0]


async def test_an_event_whose_time_has_just_passed_stands_in_line(home: House, inbox: Receiver) -> None:
    """Whether its time has come is for its run to say: its clock, Temporal's, may be behind this machine's."""
    inbox.fails(500)
    webhook = await home.webhook(inbox.url, ordered=True, retry=LATER)
    (blocking,) = await send_numbered(home, 1)
    await home.until_delivery(blocking, "retrying")
    just_now = await home.send(data={"n": 1}, deliver_at=rfc3339(utc_now()))
    started = await input_of(home.temporal, home.run(just_now["id"]))
    assert not started.deliveries[0].enqueued
    async with asyncio.timeout(PATIENCE):
        while just_now["id"] not in await queue_of(home, webhook).query("positions"):
            await asyncio.sleep(0.05)
    (last,) = await send_numbered(home, 1)
    await home.command(blocking, "retry")
    await home.until_final(last)
    assert numbers(inbox) == [0, 0, 1, 0]


async def test_an_event_that_is_posted_again_and_again_is_delivered_once(home: House, inbox: Receiver) -> None:
    inbox.fails(500)
    webhook = await home.webhook(inbox.url, ordered=True, retry=LATER)
    blocking, waiting = await send_numbered(home, 2)
    await home.until_delivery(blocking, "retrying")
    again: dict[str, Any] = {"id": waiting, "data": {"n": 1}}
    assert all([(await home.send(**again))["duplicate"] for _ in range(3)])
    other = {"type": "order.paid", "tenant": home.tenant, "id": waiting, "data": "another"}
    assert (await home.http.post("/v1/events", json=other)).status_code == 409
    assert await queue_of(home, webhook).query("positions") == [blocking, waiting]
    await home.command(blocking, "retry")
    await home.until_closed(waiting)
    assert (await home.send(**again))["duplicate"]
    (last,) = await send_numbered(home, 1)
    await home.until_final(last)
    assert numbers(inbox) == [0, 0, 1, 0]


async def test_an_open_event_that_is_done_is_dropped_at_once(home: House, inbox: Receiver) -> None:
    """Its run is open for another webhook; posted again, it is enqueued again, and signals that it is done."""
    ordered = await home.webhook(inbox.url, ordered=True)
    await home.webhook("http://127.0.0.1:61999/closed", retry=LATER)
    await home.send(id="twice", data={"n": 0})
    await inbox.got(1)
    assert (await home.send(id="twice", data={"n": 0}))["duplicate"]
    await send_numbered(home, 2)
    await inbox.got(3)
    assert numbers(inbox) == [0, 0, 1]
    assert (await home.event("twice"))["status"] == "delivering"
    async with asyncio.timeout(PATIENCE):
        while await queue_of(home, ordered).query("positions"):  # the last one is about to say that it has passed
            await asyncio.sleep(0.05)


# A run that does not signal, or has no position


async def test_a_terminated_run_blocks_no_event(home: House, inbox: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflows.ordered_queue.FIRST_CHECK", timedelta(seconds=0.3))
    inbox.fails(500)
    await home.webhook(inbox.url, ordered=True, retry=LATER)
    first, second, third = await send_numbered(home, 3)
    await home.until_delivery(first, "retrying")
    await home.run(second).terminate()
    await home.run(first).terminate()
    assert (await home.until_final(third))["status"] == "succeeded"


async def test_runs_enqueue_again_after_a_queue_was_terminated(
    home: House, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them waits for another event to be posted; the first one still holds the others up."""
    monkeypatch.setattr("workflows.queue_positions.ENQUEUE_INTERVAL", timedelta(seconds=1))
    inbox.fails(500)
    webhook = await home.webhook(inbox.url, ordered=True, retry=LATER)
    sent = await send_numbered(home, 4)
    await home.until_delivery(sent[0], "retrying")
    await queue_of(home, webhook).terminate()
    async with asyncio.timeout(PATIENCE):
        while not await is_open(home, webhook) or await queue_of(home, webhook).query("positions") != sent:
            await asyncio.sleep(0.05)
    await home.command(sent[0], "retry")
    for event_id in sent:
        assert (await home.until_final(event_id))["status"] == "succeeded"
    assert numbers(inbox) == [0, 0, 1, 2, 3]


async def is_open(home: House, webhook: dict[str, Any]) -> bool:
    return (await queue_of(home, webhook).describe()).status == WorkflowExecutionStatus.RUNNING


# Queues that complete and continue


async def test_a_queue_goes_on_as_a_new_run_with_all_who_wait(
    home: House, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.ordered_queue.LONG_HISTORY", 40)
    inbox.fails(500)
    webhook = await home.webhook(inbox.url, ordered=True, retry=LATER)
    first, *_ = await send_numbered(home, 20)
    await home.until_delivery(first, "retrying")
    runs = {(await queue_of(home, webhook).describe()).run_id}
    await home.command(first, "retry")
    await inbox.got(21)
    runs.add((await queue_of(home, webhook).describe()).run_id)
    assert numbers(inbox) == [0, *range(20)]
    assert len(runs) == 2
    history = await queue_of(home, webhook).fetch_history()
    assert len(history.events) < 100


async def test_an_empty_queue_completes_and_loses_no_later_event(
    home: House, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.ordered_queue.IDLE_TIMEOUT", timedelta(seconds=0.1))
    webhook = await home.webhook(inbox.url, ordered=True)
    dice = random.Random(1)
    for n in range(15):
        await home.send(data={"n": n})
        await asyncio.sleep(dice.uniform(0.1, 0.2))  # about when the queue completes
    await inbox.got(15)
    assert numbers(inbox) == list(range(15))
    async with asyncio.timeout(PATIENCE):
        while (await queue_of(home, webhook).describe()).status != WorkflowExecutionStatus.COMPLETED:
            await asyncio.sleep(0.05)


# Queues that are full


async def test_a_full_queue_accepts_no_event_until_it_is_shorter(
    home: House, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.ordered_queue.QUEUE_LIMIT", 3)
    monkeypatch.setattr("workflows.ordered_queue.ACCEPT_AGAIN_BELOW", 2)
    monkeypatch.setattr("hookkeeper.temporal.ordered_queues.CAPACITY_CHECK_INTERVAL", 0)
    inbox.fails(500)
    webhook = await home.webhook(inbox.url, ordered=True, retry=LATER)
    first, second, third = await send_numbered(home, 3)
    refused = await until_refused(home, 429)
    assert refused.headers["retry-after"] == "5"
    assert webhook["id"] in refused.json()["detail"]
    assert (await home.send(id=third, data={"n": 2}))["duplicate"]  # it has been accepted
    await home.command(first, "retry")
    for event_id in (second, third):
        await home.until_final(event_id)
    await home.until_final(await until_accepted(home))
    assert first_numbers(inbox)[:3] == [0, 1, 2]


async def test_a_queue_that_no_worker_takes_note_of_is_full_too(
    idle_house: House, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookkeeper.temporal.ordered_queues.MAX_HISTORY", 10)
    monkeypatch.setattr("hookkeeper.temporal.ordered_queues.CAPACITY_CHECK_INTERVAL", 0)
    await idle_house.webhook(inbox.url, ordered=True)
    accepted = 0
    while (await post(idle_house, accepted)).status_code == 202:
        accepted += 1
    assert (await post(idle_house, accepted)).status_code == 429
    assert 5 < accepted < 12
    async with idle_house.working():
        await inbox.got(accepted)
    assert numbers(inbox) == list(range(accepted))


async def test_a_queue_is_kept_encrypted_too(
    temporal: Client, tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.ordered_queue.QUEUE_LIMIT", 3)
    monkeypatch.setattr("hookkeeper.temporal.ordered_queues.CAPACITY_CHECK_INTERVAL", 0)
    async with house(temporal, tmp_path, encryption_keys=SecretStr(new_key("k"))) as home, home.working():
        inbox.fails(500)
        await home.webhook(inbox.url, ordered=True, retry=LATER)
        first, *others = await send_numbered(home, 3)
        await until_refused(home, 429)
        await home.command(first, "retry")
        for event_id in others:
            await home.until_final(event_id)
    assert numbers(inbox) == [0, 0, 1, 2]


async def test_what_temporal_itself_refuses_is_not_promised(
    tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: a server that takes forty signals a run, and no worker. What this proves: an event that would need one
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
        search_attributes=[ids.TENANT, ids.EVENT_TYPE, ids.WEBHOOKS, ids.NEEDS_ATTENTION, ids.HELD],
        dev_server_extra_args=few_signals,
    )
    async with environment, house(environment.client, tmp_path) as home:
        webhook = await home.webhook(inbox.url, ordered=True)
        await send_numbered(home, 3)
        for _ in range(37):
            await queue_of(home, webhook).signal("check")
        for _ in range(2):
            refused = await post(home, 3)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        async with home.working():
            await inbox.got(3)
            await send_numbered(home, 1)
            await inbox.got(4)
        assert numbers(inbox) == [0, 1, 2, 0]
    await asyncio.sleep(0.05)


async def post(home: House, n: int) -> Any:
    return await home.http.post("/v1/events", json={"type": "order.paid", "tenant": home.tenant, "data": {"n": n}})


async def until_refused(home: House, status: int) -> Any:
    async with asyncio.timeout(PATIENCE):
        while (answer := await post(home, 1000)).status_code != status:
            await asyncio.sleep(0.03)
    return answer


async def until_accepted(home: House) -> str:
    async with asyncio.timeout(PATIENCE):
        while (answer := await post(home, 2000)).status_code != 202:
            await asyncio.sleep(0.03)
    accepted: str = answer.json()["id"]
    return accepted


async def test_a_queue_with_the_maximum_of_positions_continues_as_a_new_run(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it carries is close to the 2 MB that Temporal takes; who comes on top has to come again."""
    monkeypatch.setattr("workflows.ordered_queue.LONG_HISTORY", 20)
    webhook = await home.webhook("https://acme.example/hook", ordered=True)
    line = QueueInput(
        webhook_id=webhook["id"], tenant=home.tenant, positions=tuple(f"{n:0128}" for n in range(MAX_POSITIONS - 5))
    )
    first = await home.temporal.start_workflow(
        OrderedQueueWorkflow.run, line, id=queue_of(home, webhook).id, task_queue=home.settings.task_queue
    )
    for n in range(30):
        await queue_of(home, webhook).signal("enqueue", f"{n:0127}x")
    ordered_queue = queue_of(home, webhook)
    async with asyncio.timeout(PATIENCE):
        while (now := await ordered_queue.describe()).run_id == first.first_execution_run_id:
            await asyncio.sleep(0.1)
    assert await now.memo_value(ids.QUEUE_FULL)
    assert len(await ordered_queue.query("positions")) == MAX_POSITIONS
    assert (await post(home, 0)).status_code == 429
    await ordered_queue.terminate()
