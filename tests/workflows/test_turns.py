"""Runs in a line go on whatever happens to the runs ahead of them, and to the signals between them."""

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from structlog.testing import capture_logs
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from test_operators import end

from claimed_runs import acceptance
from hookkeeper import ids
from hookkeeper.command_rules import Command
from hookkeeper.crypto.keyring import new_key
from hookkeeper.messages.event import Delivery
from hookkeeper.messages.rows import DeliveryRow
from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.services.events.ingest import NO_KEY
from hookkeeper.services.events.reads import read_event
from hookkeeper.temporal.events import lines
from hookkeeper.temporal.events.erasure import delete_run
from hookkeeper.temporal.events.lines import LineCalls
from hookkeeper.temporal.events.reindex import Reindex
from hookkeeper.temporal.events.run_state import find_run
from hookkeeper.times import utc_now
from instances import Instance, running_instance
from numbered_events import first_numbers, numbers, queue, send_numbered
from receivers import Answer, Receiver
from reports import reported
from shared_runs import event_to
from timeouts import WAIT_TIMEOUT
from workflows.commands import Commands

LATER = {"schedule": [3600]}
TIMER_STARTED = EventType.EVENT_TYPE_TIMER_STARTED


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes minutes takes a moment."""
    monkeypatch.setattr("workflows.activities.RESCHEDULE_INTERVAL", timedelta(seconds=0.1))
    monkeypatch.setattr("workflows.turns.FIRST_INTERVAL", timedelta(seconds=0.3))
    monkeypatch.setattr("workflows.turns.MAX_INTERVAL", timedelta(seconds=0.5))
    monkeypatch.setattr("workflows.turns.RETURN_TIME", timedelta(seconds=5))
    monkeypatch.setattr("activities.turns.STARTED_AFTER", timedelta(seconds=0.5))
    monkeypatch.setattr("hookkeeper.temporal.events.lines.STUCK_AFTER", timedelta(seconds=1))


@pytest.fixture
def breakable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs fail: the signal `hold` of a delivery `bug` fails each workflow task from then on."""
    original = Commands.signal

    async def signal(self: Commands, command: Command, delivery: str | None) -> None:
        if delivery == "bug":
            raise RuntimeError("a bug")
        await original(self, command, delivery)

    monkeypatch.setattr(Commands, "signal", signal)


async def test_an_event_that_is_posted_again_and_again_is_delivered_once(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    blocking, waiting = await send_numbered(instance, 2)
    await instance.until_delivery(blocking, "retrying")
    again: dict[str, Any] = {"id": waiting, "data": {"n": 1}}
    assert all([(await instance.send(**again))["duplicate"] for _ in range(3)])
    other = {"type": "order.paid", "tenant": instance.tenant, "id": waiting, "data": "another"}
    assert (await instance.http.post("/v1/events", json=other)).status_code == 409
    assert (await queue(instance, webhook))["waiting"] == 2
    await instance.command(blocking, "retry")
    await instance.until_closed(waiting)
    assert (await instance.send(**again))["duplicate"]
    (last,) = await send_numbered(instance, 1)
    await instance.until_final(last)
    assert numbers(inbox) == [0, 0, 1, 0]


@pytest.mark.usefixtures("soon")
async def test_lost_signals_cost_some_time_only(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[DeliveryRow] = []

    async def lose(_: LineCalls, waiting: list[DeliveryRow]) -> None:
        lost.extend(waiting)

    monkeypatch.setattr(LineCalls, "call", lose)
    inbox.otherwise = Answer(delay=0.1)
    await instance.webhook(inbox.url, ordered=True)
    sent = await send_numbered(instance, 3)
    for event_id in sent:
        await instance.until_final(event_id)
    assert numbers(inbox) == [0, 1, 2]
    assert lost


async def test_a_call_that_temporal_is_too_busy_for_is_repeated(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: no call is answered in time when the first event is delivered; then calls are answered again.
    Proves: the next event does not wait for its timer, which takes an hour here.
    """
    monkeypatch.setattr("workflows.turns.FIRST_INTERVAL", timedelta(hours=1))
    monkeypatch.setattr(lines, "CALL_TIMEOUT", timedelta(microseconds=1))
    inbox.otherwise = Answer(delay=0.5)
    await instance.webhook(inbox.url, ordered=True)
    first, second = await send_numbered(instance, 2)
    with capture_logs() as logs:
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not any(line["event"] == "a run could not be called" for line in logs):
                await asyncio.sleep(0.05)
    assert numbers(inbox) == [0]
    monkeypatch.undo()
    for event_id in (first, second):
        await instance.until_final(event_id)
    assert numbers(inbox) == [0, 1]


@pytest.mark.promise("docs/ordering.md")
@pytest.mark.usefixtures("soon")
async def test_terminated_runs_block_no_event(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    first, second, third = await send_numbered(instance, 3)
    await instance.until_delivery(first, "retrying")
    await instance.run(second).terminate()
    await instance.run(first).terminate()
    assert (await instance.until_final(third))["status"] == "succeeded"
    assert (await queue(instance, webhook))["waiting"] == 0


@pytest.mark.promise("docs/guarantees.md")
@pytest.mark.usefixtures("soon")
async def test_an_event_whose_run_is_lost_keeps_its_place(instance: Instance, inbox: Receiver) -> None:
    """Proves: the run behind it starts it again from its row, and waits for it."""
    inbox.fails(500)
    await instance.webhook(inbox.url, ordered=True, retry=LATER)
    (first,) = await send_numbered(instance, 1)
    await instance.until_delivery(first, "retrying")
    run = await instance.run(first).describe()
    await delete_run(instance.temporal, run.id, run.run_id)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await find_run(instance.temporal, run.id):
            await asyncio.sleep(0.1)
    second = (await instance.send(data={"n": 1}))["id"]
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not await find_run(instance.temporal, run.id):
            await asyncio.sleep(0.1)
    assert numbers(inbox) == [0]
    assert (await instance.command(first, "retry")).status_code == 202
    assert (await instance.until_final(second))["status"] == "succeeded"
    assert numbers(inbox) == [0, 0, 1]


@pytest.mark.usefixtures("soon")
async def test_an_event_whose_run_was_never_started_blocks_no_event(instance: Instance, inbox: Receiver) -> None:
    """The process that accepted it died before it started the run, and the client does not repeat the request."""
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    inbox.fails(500)
    (blocking,) = await send_numbered(instance, 1)
    (line,) = [delivery.line for delivery in await deliveries_of(instance, blocking)]
    lost = Delivery(id=webhook["id"], webhook_id=webhook["id"], ordered="block", line=line, enqueued=True)
    await instance.store.rows.accept([reported(instance.tenant, "lost", utc_now(), BEGINNING, [lost], run_id="")])
    (last,) = await send_numbered(instance, 1)
    await instance.until_delivery(blocking, "retrying")
    await instance.command(blocking, "cancel")
    assert (await instance.until_final(last))["status"] == "succeeded"


@pytest.mark.usefixtures("soon")
async def test_dead_places_are_passed_together(instance: Instance, inbox: Receiver) -> None:
    """Setup: Temporal stood still while events came, and none of them was started. Proves: the next one waits for its
    first timer only, however many they are.
    """
    webhook = await instance.webhook(inbox.url, ordered=True)
    lost, earlier = in_line_of(webhook), utc_now() - timedelta(minutes=1)
    for n in range(4):
        report = reported(instance.tenant, f"lost{n}", earlier, BEGINNING, [lost], run_id="")
        await instance.store.rows.accept([report])
    (last,) = await send_numbered(instance, 1)
    assert (await instance.until_final(last))["status"] == "succeeded"
    assert await waits(instance, last) == [0.3]


async def test_a_run_behind_dead_places_is_called(instance: Instance, inbox: Receiver) -> None:
    """Timeline: an event is retried; two that come then are not started, a third one is; the first one is cancelled."""
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    (first,) = await send_numbered(instance, 1)
    await instance.until_delivery(first, "retrying")
    for n in range(2):
        lost = event_to(id=f"lost{n}", tenant=instance.tenant, deliveries=(in_line_of(webhook),))
        await instance.store.rows.accept([acceptance(lost, None)])
    (last,) = await send_numbered(instance, 1)
    await instance.command(first, "cancel")
    await instance.until_in_history(last, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)


async def test_the_first_question_of_a_run_that_waits_is_not_the_later_the_more_are_ahead(
    instance: Instance, inbox: Receiver
) -> None:
    inbox.fails(500)
    await instance.webhook(inbox.url, ordered=True, retry=LATER)
    sent = await send_numbered(instance, 4)
    await instance.until_delivery(sent[0], "retrying")
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await waits(instance, sent[3]) != [30]:
            await asyncio.sleep(0.05)


def in_line_of(webhook: dict[str, Any]) -> Delivery:
    """Return a delivery in the line of an ordered webhook."""
    line = ids.line_of(webhook["id"], NO_KEY)
    return Delivery(id=webhook["id"], webhook_id=webhook["id"], ordered="block", line=line, enqueued=True)


async def waits(instance: Instance, event_id: str) -> list[float]:
    """Return the seconds of the timers that the run of an event has started."""
    history = await instance.run(event_id).fetch_history()
    started = [event.timer_started_event_attributes for event in history.events if event.event_type == TIMER_STARTED]
    return [timer.start_to_fire_timeout.ToTimedelta().total_seconds() for timer in started]


async def listen(instance: Instance, webhook: dict[str, Any], event_type: str) -> None:
    answer = await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"events": [event_type]})
    assert answer.status_code == 200, answer.text


async def deliveries_of(instance: Instance, event_id: str) -> tuple[Delivery, ...]:
    return (await read_event(instance.store.rows, instance.tenant, event_id)).state.deliveries


@pytest.mark.usefixtures("soon")
async def test_runs_whose_rows_were_lost_return_to_their_places(instance: Instance, inbox: Receiver) -> None:
    """Setup: the first event waits for its retry, and others for it. Timeline: the registry is restored to a state
    before them, and an event is accepted; the first one is retried.
    """
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered=True, retry=LATER)
    sent = await send_numbered(instance, 3)
    await instance.until_delivery(sent[0], "retrying")
    async with instance.store.database.write() as session:
        for table in ("deliveries", "events"):
            await session.execute(text(f"DELETE FROM {table} WHERE tenant = :tenant"), {"tenant": instance.tenant})
    await instance.run(sent[0]).signal("hold")  # it records this, and so returns to its place
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await queue(instance, webhook))["waiting"] != 3:
            await asyncio.sleep(0.05)
    assert (await instance.http.get(f"/v1/events/{sent[0]}", params={"tenant": instance.tenant})).status_code == 404
    month = timedelta(days=30)
    reindex = Reindex(instance.temporal, instance.store, instance.settings.task_queue, month, lambda *_: None)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await reindex.run(utc_now() - month) < 2:  # the list of Temporal is late
            await asyncio.sleep(0.1)
    await instance.command(sent[0], "release")
    await instance.command(sent[0], "retry")
    for event_id in sent:
        assert (await instance.until_final(event_id))["status"] == "succeeded"
    assert numbers(inbox) == [0, 0, 1, 2]


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


@pytest.mark.usefixtures("soon", "breakable")
async def test_with_policy_skip_later_events_pass_a_run_whose_code_fails(instance: Instance, inbox: Receiver) -> None:
    inbox.answers.append(Answer(200, delay=3))
    await instance.webhook(inbox.url, ordered=True, order_policy="skip")
    first, *others = await send_numbered(instance, 3)
    await inbox.got(1)
    await instance.run(first).signal("hold", "bug")
    for event_id in others:
        assert (await instance.until_final(event_id))["status"] == "succeeded"
    assert first_numbers(inbox) == [0, 1, 2]
    await instance.run(first).terminate()


@pytest.mark.usefixtures("soon", "breakable")
async def test_with_policy_block_a_run_whose_code_fails_is_reported(
    instance: Instance, inbox: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Timeline: the first run breaks, and the queue says so; an operator terminates it, and the others follow."""
    inbox.answers.append(Answer(200, delay=3))
    webhook = await instance.webhook(inbox.url, ordered=True)
    first, *others = await send_numbered(instance, 3)
    await inbox.got(1)
    shown = {"webhook_id": webhook["id"], "waiting": 3, "head": first, "stuck_since": None}
    assert await queue(instance, webhook) == shown
    with caplog.at_level(logging.WARNING):
        await instance.run(first).signal("hold", "bug")
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not (await queue(instance, webhook))["stuck_since"]:
                await asyncio.sleep(0.1)
    assert first_numbers(inbox) == [0]
    await instance.run(first).terminate()
    for event_id in others:
        assert (await instance.until_final(event_id))["status"] == "succeeded"
    shown = {"webhook_id": webhook["id"], "waiting": 0, "head": None, "stuck_since": None}
    assert await queue(instance, webhook) == shown


@pytest.mark.usefixtures("soon")
async def test_without_workers_a_queue_is_stuck_and_nothing_overtakes(idle_instance: Instance, inbox: Receiver) -> None:
    webhook = await idle_instance.webhook(inbox.url, ordered=True, order_policy="skip")
    await send_numbered(idle_instance, 3)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not (await queue(idle_instance, webhook))["stuck_since"]:
            await asyncio.sleep(0.1)
    async with idle_instance.working():
        await inbox.got(3)
    assert numbers(inbox) == [0, 1, 2]


async def test_encrypted_events_keep_the_order(temporal: Client, tmp_path: Path, inbox: Receiver) -> None:
    async with (
        running_instance(temporal, tmp_path, encryption_keys=SecretStr(new_key("k"))) as instance,
        instance.working(),
    ):
        inbox.fails(500)
        await instance.webhook(inbox.url, ordered={"key": "event.data.k"}, retry={"schedule": [0.05]})
        for n in range(4):
            await instance.send(data={"n": n, "k": "secret"})
        await inbox.got(5)
    assert numbers(inbox) == [0, 0, 1, 2, 3]


# Keys


@pytest.mark.promise("docs/ordering.md")
async def test_events_of_one_key_wait_for_each_other_and_others_do_not(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, ordered={"key": "event.data.k"}, retry=LATER)
    keys = ["a", 1, "a", 1.0, "b", "a"]
    sent = []
    for n, key in enumerate(keys):
        sent.append((await instance.send(data={"n": n, "k": key}))["id"])
        if n == 0:
            await inbox.got(1)
    await inbox.got(4)
    assert sorted(numbers(inbox)) == [0, 1, 3, 4]
    assert numbers(inbox).index(1) < numbers(inbox).index(3)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await queue(instance, webhook))["waiting"] != 3:
            await asyncio.sleep(0.05)
    assert (await instance.event(sent[2]))["deliveries"][0]["reason"] == "queued"
    await instance.command(sent[0], "retry")
    await instance.until_final(sent[5])
    assert numbers(inbox)[4:] == [0, 2, 5]


async def test_events_without_a_key_are_in_one_order(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    await instance.webhook(inbox.url, ordered={"key": "event.data.k"}, retry=LATER)
    data: list[Any] = [{"n": 0, "k": None}, {"n": 1}, {"n": 2, "k": ""}, {"n": 3, "k": "other"}]
    sent = [(await instance.send(data=each))["id"] for each in data]
    await instance.until_final(sent[3])
    await instance.until_delivery(sent[0], "retrying")
    assert sorted(numbers(inbox)) == [0, 3]
    await instance.command(sent[0], "retry")
    await instance.until_final(sent[2])
    assert numbers(inbox)[2:] == [0, 1, 2]


async def test_a_batch_is_in_order_within_each_key(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url, ordered={"key": "string(event.data.n % 3)"})
    events = [{"type": "order.paid", "tenant": instance.tenant, "data": {"n": n}} for n in range(30)]
    answer = await instance.http.post("/v1/events/batch", json={"events": events})
    assert {item["status"] for item in answer.json()["items"]} == {202}
    await inbox.got(30)
    for key in range(3):
        of_key = [n for n in numbers(inbox) if n % 3 == key]
        assert of_key == sorted(of_key)
