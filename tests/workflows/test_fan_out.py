"""How an event with more than a hundred targets behaves: as one with fewer, in several runs."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowHandle

from crowds import crowd, statuses
from hookkeeper import ids, temporal_names
from hookkeeper.content.notifications import Notification
from hookkeeper.crypto.keyring import new_key
from hookkeeper.messages.event import Receipt
from hookkeeper.policy import RetryPolicy
from hookkeeper.registry.numbering import first
from hookkeeper.search_attributes import DELIVER_AT_KEY, NEEDS_ATTENTION_KEY
from hookkeeper.temporal.events.run_state import find_run, number_of
from hookkeeper.temporal.run_repair import RunRepair
from index_rows import derived, indexed, until_indexed
from instances import Instance, running_instance
from mail_servers import KEY, sendgrid_server
from receivers import Answer, Receiver, receiver
from timeouts import WAIT_TIMEOUT

PATIENT = RetryPolicy(schedule=(3600,))
NOTE = Notification.model_validate({"http": {"url": "https://acme.example/note"}})


async def runs_of(instance: Instance, event_id: str) -> list[WorkflowExecutionDescription]:
    """Return the latest run of each sibling."""
    found: list[WorkflowExecutionDescription] = []
    while run := await find_run(instance.temporal, ids.run_of(instance.tenant, event_id, len(found) + 1)):
        found.append(run)
    return found


def sibling(instance: Instance, event_id: str, part: int) -> WorkflowHandle[Any, Any]:
    return instance.temporal.get_workflow_handle(ids.run_of(instance.tenant, event_id, part))


async def until(
    instance: Instance, event_id: str, wanted: dict[str, int], seconds: float = WAIT_TIMEOUT
) -> dict[str, Any]:
    """Wait until the deliveries of the event have these statuses."""
    event: dict[str, Any] = {}
    try:
        async with asyncio.timeout(seconds):
            while not event or statuses(event) != wanted:
                await asyncio.sleep(0.1)
                event = await instance.event(event_id)
    except TimeoutError:
        assert statuses(event) == wanted
    return event


def attributes(run: WorkflowExecutionDescription, key: Any) -> list[str]:
    return list(run.typed_search_attributes.get(key, ()))


async def until_attention(instance: Instance, event_id: str, expected: bool) -> None:
    """Wait until the list of events with a failed or retrying delivery has the event, or has not."""
    query = {"tenant": instance.tenant, "delivery_status": ["failed", "retrying"]}
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            listed = (await instance.http.get("/v1/events", params=query)).json()["items"]
            if (event_id in {event["id"] for event in listed}) == expected:
                return
            await asyncio.sleep(0.05)


def attempts(event: dict[str, Any], n: int) -> int:
    """Count the attempts of a delivery, shown or not."""
    delivery = event["deliveries"][n]
    return len(delivery["attempts"]) + int(delivery["attempts_omitted"])


@pytest.mark.promise("docs/events.md")
async def test_each_of_250_targets_gets_the_event_once(instance: Instance, inbox: Receiver) -> None:
    """Setup: 250 webhooks. Timeline: an event.
    Proves: three runs of a hundred targets at most deliver it to all, once; the event is shown as one.
    """
    webhooks = await crowd(instance, inbox.url, 250)
    accepted = await instance.send(data={"a": 1})
    assert [delivery["id"] for delivery in accepted["deliveries"]] == webhooks
    event = await instance.until_closed(accepted["id"])
    assert (event["status"], event["data"], statuses(event)) == ("succeeded", {"a": 1}, {"succeeded": 250})
    assert [delivery["id"] for delivery in event["deliveries"]] == webhooks
    assert event["finished_at"] is not None
    assert len(inbox.requests) == 250
    assert {request.webhook_id for request in inbox.requests} == {event["id"]}

    runs = await runs_of(instance, event["id"])
    assert [run.workflow_type for run in runs] == ["EventWorkflow"] * 3
    assert [await number_of(run) for run in runs] == [1] * 3
    assert len({await run.memo_value("digest") for run in runs}) == 1
    ended = [await instance.temporal.get_workflow_handle(run.id).result() for run in runs]
    assert [(state["status"], len(state["deliveries"])) for state in ended] == [
        ("succeeded", n) for n in (100, 100, 50)
    ]


async def test_a_hundred_targets_are_one_run(instance: Instance, inbox: Receiver) -> None:
    await crowd(instance, inbox.url, 100)
    event = await instance.until_closed((await instance.send())["id"])
    assert statuses(event) == {"succeeded": 100}
    assert len(await runs_of(instance, event["id"])) == 1


async def test_a_failed_delivery_of_a_large_event_is_redelivered_alone(instance: Instance, inbox: Receiver) -> None:
    """Setup: 110 webhooks, the last fails. Timeline: the event fails; it is retried, fails; redelivered whole."""
    webhooks = await crowd(instance, inbox.url, 109)
    async with receiver() as last:
        last.fails(500, 500)
        webhooks.append((await instance.webhook(last.url, retry={"schedule": []}))["id"])
        event_id = (await instance.send())["id"]
        event = await instance.until_closed(event_id)
        assert (event["status"], statuses(event)) == ("failed", {"failed": 1, "succeeded": 109})
        before = await runs_of(instance, event_id)
        assert [run.status for run in before] == [WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.FAILED]
        await until_attention(instance, event_id, True)

        assert (await instance.command(event_id, "hold")).status_code == 409
        for _ in range(2):
            assert (await instance.command(event_id, "retry")).status_code == 202
            event = await instance.until_closed(event_id)
        assert event["status"] == "succeeded"
        assert [attempt["trigger"] for attempt in event["deliveries"][-1]["attempts"]] == [
            "scheduled",
            "manual",
            "manual",
        ]
        assert (len(inbox.requests), len(last.requests)) == (109, 3)
        after = await runs_of(instance, event_id)
        assert after[0].run_id == before[0].run_id, "nothing of the first run was open"
        assert [await number_of(run) for run in after] == [1, 3]
        await until_attention(instance, event_id, False)

        assert (await instance.command(event_id, "retry")).status_code == 409
        assert (await instance.command(event_id, "redeliver")).status_code == 202
        await inbox.got(218)
        event = await instance.until_closed(event_id)
        assert (event["status"], len(inbox.requests), len(last.requests)) == ("succeeded", 218, 4)


async def test_a_closed_sibling_can_be_redelivered_while_another_is_open(instance: Instance, inbox: Receiver) -> None:
    """Proves: each run is started again by itself, as often as requested."""
    webhooks = await crowd(instance, inbox.url, 101)
    async with receiver() as stubborn:
        stubborn.otherwise = Answer(500)
        await instance.webhook(stubborn.url, retry={"schedule": [3600]})
        event_id = (await instance.send())["id"]
        await until(instance, event_id, {"retrying": 1, "succeeded": 101})
        inbox.fails(500)
        first = webhooks[0]
        assert (await instance.command(event_id, "retry", first)).status_code == 409
        answers = await asyncio.gather(*(instance.command(event_id, "redeliver", first) for _ in range(3)))
        assert [answer.status_code for answer in answers] == [202] * 3
        event = await until(instance, event_id, {"retrying": 1, "succeeded": 101})
        codes = [attempt["status_code"] for attempt in event["deliveries"][0]["attempts"]]
        assert 3 <= len(codes) <= 4
        assert sorted(codes)[-1] == 500
        assert event["status"] == "delivering"
        assert not await instance.gateway.is_closed_within(instance.tenant, event_id, 0.1), "schedules wait for all"
        assert attempts(event, 0) == len(codes)
        sent = len(inbox.requests)
        assert (await instance.command(event_id, "redeliver")).status_code == 202, "to both runs, each in its own way"
        await inbox.got(sent + 101)
        await stubborn.got(2)
        event = await until(instance, event_id, {"retrying": 1, "succeeded": 101})
        assert (attempts(event, 0), attempts(event, 101)) == (len(codes) + 1, 2)
        assert (await instance.command(event_id, "cancel")).status_code == 202
        event = await instance.until_closed(event_id)
        assert (event["status"], statuses(event)) == ("cancelled", {"cancelled": 1, "succeeded": 101})
        assert await instance.gateway.is_closed_within(instance.tenant, event_id, WAIT_TIMEOUT)
        assert (await instance.command(event_id, "redeliver", first)).status_code == 202
        event = await instance.until_closed(event_id)
        assert event["status"] == "cancelled"
        assert attempts(event, 0) == len(codes) + 2


@pytest.mark.promise("docs/events.md")
async def test_a_command_reaches_only_the_deliveries_that_it_names(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    webhooks = await crowd(instance, inbox.url, 102, retry=PATIENT)
    event_id = (await instance.send())["id"]
    await until(instance, event_id, {"retrying": 102})
    last = webhooks[-1]
    assert (await instance.command(event_id, "cancel", "wh_unknown")).status_code == 404
    assert (await instance.command(event_id, "cancel", last)).status_code == 202
    assert (await instance.command(event_id, "cancel", last)).status_code == 409
    await until(instance, event_id, {"cancelled": 1, "retrying": 101})
    assert (await instance.command(event_id, "hold")).status_code == 202
    await until(instance, event_id, {"cancelled": 1, "held": 101})
    assert (await instance.command(event_id, "hold")).status_code == 409
    assert (await instance.command(event_id, "release", webhooks[0])).status_code == 202
    await until(instance, event_id, {"cancelled": 1, "held": 100, "retrying": 1})
    inbox.otherwise = Answer(200)
    assert (await instance.command(event_id, "retry")).status_code == 202
    await until(instance, event_id, {"cancelled": 1, "held": 100, "succeeded": 1})
    assert (await instance.command(event_id, "retry", webhooks[1])).status_code == 202
    await until(instance, event_id, {"cancelled": 1, "held": 99, "succeeded": 2})
    assert (await instance.command(event_id, "cancel")).status_code == 202
    event = await instance.until_closed(event_id)
    assert (event["status"], statuses(event)) == ("cancelled", {"cancelled": 100, "succeeded": 2})


async def test_signals_reach_the_run_that_they_are_sent_to(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    webhooks = await crowd(instance, inbox.url, 102, retry=PATIENT)
    event_id = (await instance.send())["id"]
    await until(instance, event_id, {"retrying": 102})
    first, second = (sibling(instance, event_id, part) for part in (1, 2))
    await first.signal("hold")
    await second.signal("hold", webhooks[0])  # it has no such delivery: ignored
    await until(instance, event_id, {"held": 100, "retrying": 2})
    await first.signal("release")
    inbox.otherwise = Answer(200)
    await second.signal("retry", webhooks[-1])
    await until(instance, event_id, {"retrying": 101, "succeeded": 1})
    for run in (first, second):
        await run.signal("cancel")
    event = await instance.until_closed(event_id)
    assert (event["status"], statuses(event)) == ("cancelled", {"cancelled": 101, "succeeded": 1})


@pytest.mark.parametrize("begun", [True, False], ids=["delivering", "no worker yet"])
async def test_cancelling_a_run_in_temporal_leaves_its_siblings_alone(
    idle_instance: Instance, inbox: Receiver, begun: bool
) -> None:
    inbox.otherwise = Answer(500)
    await crowd(idle_instance, inbox.url, 101, retry=PATIENT)
    event_id = (await idle_instance.send())["id"]
    if not begun:
        await idle_instance.run(event_id).cancel()
    async with idle_instance.working():
        if begun:
            await until(idle_instance, event_id, {"retrying": 101})
            await idle_instance.run(event_id).cancel()
        await idle_instance.until_cancelled(event_id)
        event = await until(idle_instance, event_id, {"cancelled": 100, "retrying": 1})
        assert event["status"] == "delivering"
        await sibling(idle_instance, event_id, 2).cancel()
        await idle_instance.until_closed(event_id)
    event = await idle_instance.event(event_id)  # without a worker
    assert (event["status"], statuses(event)) == ("cancelled", {"cancelled": 101})
    assert len(inbox.requests) == (101 if begun else 1)


async def test_a_terminated_run_is_redelivered_from_what_was_known(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    await crowd(instance, inbox.url, 101, retry=PATIENT)
    event_id = (await instance.send())["id"]
    await until(instance, event_id, {"retrying": 101})
    await instance.run(event_id).terminate()
    event = await until(instance, event_id, {"cancelled": 100, "retrying": 1})
    assert event["status"] == "delivering"
    inbox.otherwise = Answer(200)
    assert (await instance.command(event_id, "redeliver")).status_code == 202
    event = await instance.until_closed(event_id)
    assert (event["status"], statuses(event)) == ("succeeded", {"succeeded": 101})


async def test_siblings_that_were_never_started_are_started_from_rows(idle_instance: Instance, inbox: Receiver) -> None:
    """Setup: the first run is terminated before a worker has taken its first step. Proves: that cancels its part."""
    await crowd(idle_instance, inbox.url, 201)
    event_id = (await idle_instance.send())["id"]
    await idle_instance.run(event_id).terminate()
    assert (
        await RunRepair(idle_instance.temporal, idle_instance.gateway, idle_instance.store).repair(
            timedelta(seconds=-1)
        )
        == 1
    )
    async with idle_instance.working():
        event = await until(idle_instance, event_id, {"cancelled": 100, "succeeded": 101})
        assert event["status"] == "cancelled"
        await until_indexed(idle_instance, event_id)
        assert await indexed(idle_instance, event_id) == derived(event)
        assert (await idle_instance.command(event_id, "cancel")).status_code == 409
        assert (await idle_instance.command(event_id, "redeliver")).status_code == 202
        event = await idle_instance.until_closed(event_id)
    assert (event["status"], statuses(event), len(inbox.requests)) == ("succeeded", {"succeeded": 201}, 302)


async def test_a_large_event_continues_after_its_worker_is_restarted(idle_instance: Instance, inbox: Receiver) -> None:
    """Setup: ten deliveries of the first run and that of the second fail once."""
    webhooks = await crowd(idle_instance, inbox.url, 101, retry=RetryPolicy(schedule=(1.0,)))
    async with receiver() as last:
        inbox.fails(*[500] * 10)
        last.fails(500)
        await idle_instance.store.webhooks.update(webhooks[-1], None, {"url": last.url})
        event_id = (await idle_instance.send())["id"]
        shown = await idle_instance.event(event_id)
        assert statuses(shown) == {"pending": 101}, "accepted, and shown, without a worker"
        async with idle_instance.working():
            await inbox.got(40)
        async with idle_instance.working():
            event = await idle_instance.until_closed(event_id)
        assert (event["status"], statuses(event)) == ("succeeded", {"succeeded": 101})
        assert (len(inbox.requests), len(last.requests)) == (110, 2)


async def test_no_payload_of_a_large_event_is_readable_in_temporal(
    temporal: Client, tmp_path: Path, inbox: Receiver
) -> None:
    """Setup: keys. Proves: siblings are started, answer and fail, and the server can read none of it."""
    data = {"word": "customer-word" * 5000}  # more than travels in a round's input
    async with (
        running_instance(temporal, tmp_path, encryption_keys=SecretStr(new_key("k"))) as instance,
        instance.working(),
    ):
        await crowd(instance, inbox.url, 100)
        async with receiver() as failing:
            failing.fails(500)
            await instance.webhook(failing.url, retry={"schedule": []})
            event_id = (await instance.send(data=data))["id"]
            event = await instance.until_closed(event_id)
            assert (event["status"], event["data"], statuses(event)) == (
                "failed",
                data,
                {"failed": 1, "succeeded": 100},
            )
            assert (await instance.command(event_id, "retry")).status_code == 202
            assert (await instance.until_closed(event_id))["status"] == "succeeded"
            assert {len(request.body) for request in failing.requests} == {len(inbox.requests[0].body)}
        for part in (1, 2):
            text = (await sibling(instance, event_id, part).fetch_history()).to_json()
            assert "customer-word" not in text
            assert "deliveries failed" not in text
            assert "127.0.0.1" not in text


async def test_a_sibling_that_continues_as_a_new_run_stays_a_sibling(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.event.MAX_HISTORY_EVENTS", 40)
    await crowd(instance, inbox.url, 100)
    async with receiver() as slow:
        slow.fails(*[500] * 15)
        await instance.webhook(slow.url, retry={"schedule": [0.01] * 20})
        event_id = (await instance.send())["id"]
        event = await instance.until_closed(event_id)
    assert (event["status"], statuses(event)) == ("succeeded", {"succeeded": 101})
    assert attempts(event, 100) == len(slow.requests) == 16
    second = ids.run_of(instance.tenant, event_id, 2)
    runs = [run async for run in instance.temporal.list_workflows(f"WorkflowId = '{second}'")]
    assert len(runs) > 1
    await until_attention(instance, event_id, False)


# Scheduled


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def reschedule(instance: Instance, event_id: str, deliver_at: str) -> int:
    answer = await instance.http.post(
        f"/v1/events/{event_id}/reschedule", params={"tenant": instance.tenant}, json={"deliver_at": deliver_at}
    )
    return answer.status_code


async def until_begun(instance: Instance, event_id: str) -> None:
    """Wait until the event's run knows that it is delivered."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.run(event_id).query(temporal_names.STATE))["status"] == "scheduled":
            await asyncio.sleep(0.03)


async def times_of_runs(instance: Instance, event_id: str) -> set[datetime | None]:
    """Return the times at which the runs deliver, as the Temporal web UI lists them."""
    return {run.typed_search_attributes.get(DELIVER_AT_KEY) for run in await runs_of(instance, event_id)}


async def test_a_scheduled_large_event_can_be_rescheduled_and_is_delivered_in_time(
    instance: Instance, inbox: Receiver
) -> None:
    webhooks = await crowd(instance, inbox.url, 103)
    event_id = (await instance.send(deliver_at=in_seconds(86400)))["id"]  # it will be moved: no run waits for this time
    assert (await instance.command(event_id, "retry")).status_code == 409
    assert (await instance.command(event_id, "cancel", webhooks[0])).status_code == 202
    assert (await instance.command(event_id, "hold", webhooks[-1])).status_code == 202
    event = await until(instance, event_id, {"cancelled": 1, "held": 1, "pending": 101})
    assert event["status"] == "scheduled"
    tomorrow = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1, seconds=7)
    assert await reschedule(instance, event_id, tomorrow.isoformat()) == 202
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await times_of_runs(instance, event_id) != {tomorrow}:
            await asyncio.sleep(0.03)
    soon = in_seconds(1.5)
    assert await reschedule(instance, event_id, soon) == 202
    event = await instance.event(event_id)
    assert abs(datetime.fromisoformat(event["deliver_at"]) - datetime.fromisoformat(soon)) < timedelta(milliseconds=1)
    assert inbox.requests == []
    await until_begun(instance, event_id)
    event = await until(instance, event_id, {"cancelled": 1, "held": 1, "succeeded": 101})
    assert event["status"] == "delivering"
    first = min(delivery["attempts"][0]["started_at"] for delivery in event["deliveries"] if delivery["attempts"])
    assert datetime.fromisoformat(first) >= datetime.fromisoformat(soon) - timedelta(milliseconds=1)
    assert await reschedule(instance, event_id, in_seconds(60)) == 409
    assert (await instance.command(event_id, "redeliver", webhooks[0])).status_code == 202
    await until(instance, event_id, {"held": 1, "succeeded": 102})
    assert (await instance.command(event_id, "release", webhooks[-1])).status_code == 202
    assert (await instance.until_closed(event_id))["status"] == "succeeded"
    assert await reschedule(instance, event_id, in_seconds(60)) == 409


async def test_a_scheduled_large_event_can_be_released_or_cancelled(instance: Instance, inbox: Receiver) -> None:
    await crowd(instance, inbox.url, 101)
    released, cancelled = [(await instance.send(deliver_at=in_seconds(86400)))["id"] for _ in range(2)]
    assert (await instance.command(released, "release")).status_code == 202
    assert (await instance.command(cancelled, "cancel")).status_code == 202
    assert (await instance.until_closed(released))["status"] == "succeeded"
    assert await times_of_runs(instance, released) == {None}
    assert (await instance.until_closed(cancelled))["status"] == "cancelled"
    assert len(inbox.requests) == 101
    assert (await instance.command(cancelled, "redeliver")).status_code == 202
    assert (await instance.until_closed(cancelled))["status"] == "succeeded", "it waits for nothing"
    assert len(inbox.requests) == 202


# What siblings leave behind


async def test_a_run_that_the_server_has_deleted_is_shown_by_its_rows(instance: Instance, inbox: Receiver) -> None:
    """Setup: a run has ended, another is open for months. Timeline: the server deletes the first; then all ends."""
    webhooks = await crowd(instance, inbox.url, 101)
    async with receiver() as failing:
        failing.fails(500)
        await instance.webhook(failing.url, retry={"schedule": [3600]})
        event_id = (await instance.send(data={"n": 1}))["id"]
        await until(instance, event_id, {"retrying": 1, "succeeded": 101})
        (first, *_) = await runs_of(instance, event_id)
        request = DeleteWorkflowExecutionRequest(
            namespace=instance.temporal.namespace,
            workflow_execution=WorkflowExecution(workflow_id=first.id, run_id=first.run_id),
        )
        await instance.temporal.workflow_service.delete_workflow_execution(request)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while await find_run(instance.temporal, first.id):
                await asyncio.sleep(0.1)
        event = await until(instance, event_id, {"retrying": 1, "succeeded": 101})
        assert (event["status"], attempts(event, 0), event["data"]) == ("delivering", 1, {"n": 1})
        assert (await instance.command(event_id, "cancel", webhooks[0])).status_code == 409
        assert (await instance.command(event_id, "redeliver", webhooks[0])).status_code == 202
        await inbox.got(102)
        await until(instance, event_id, {"retrying": 1, "succeeded": 101})
        assert (await instance.command(event_id, "retry")).status_code == 202
        event = await instance.until_closed(event_id)
    assert (event["status"], attempts(event, 0)) == ("succeeded", 2)


async def test_a_deleted_run_is_redelivered_while_the_first_one_is_open(instance: Instance, inbox: Receiver) -> None:
    webhooks = await crowd(instance, inbox.url, 101)
    event_id = (await instance.send(deliver_at=in_seconds(86400)))["id"]
    await until(instance, event_id, {"pending": 101})
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.command(event_id, "hold", webhooks[0])).status_code != 202:
            await asyncio.sleep(0.1)
        while await reschedule(instance, event_id, in_seconds(0.2)) != 202:
            await asyncio.sleep(0.1)
    await until(instance, event_id, {"held": 1, "succeeded": 100})
    second = await sibling(instance, event_id, 2).describe()
    request = DeleteWorkflowExecutionRequest(
        namespace=instance.temporal.namespace, workflow_execution=WorkflowExecution(workflow_id=second.id)
    )
    await instance.temporal.workflow_service.delete_workflow_execution(request)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await find_run(instance.temporal, second.id):
            await asyncio.sleep(0.1)
    assert (await instance.command(event_id, "cancel", webhooks[-1])).status_code == 409
    assert (await instance.command(event_id, "redeliver", webhooks[-1])).status_code == 202
    event = await until(instance, event_id, {"held": 1, "succeeded": 100})
    assert (event["status"], attempts(event, 100)) == ("delivering", 2)
    assert (await instance.command(event_id, "release")).status_code == 202
    assert (await instance.until_closed(event_id))["status"] == "succeeded"


async def test_a_receipt_reaches_the_run_that_has_the_email(temporal: Client, tmp_path: Path, inbox: Receiver) -> None:
    async with sendgrid_server() as sendgrid:
        settings: dict[str, Any] = {
            "sendgrid_api_key": SecretStr(KEY),
            "sendgrid_host": sendgrid.host,
            "sendgrid_verification_key": "unused: the test records the receipt itself",
        }
        async with running_instance(temporal, tmp_path, **settings) as instance, instance.working():
            await crowd(instance, inbox.url, 100)
            webhook = await instance.webhook(None, emails=[{"to": ["ann@acme.example"], "tracking": True}])
            event_id, delivery = (await instance.send())["id"], f"{webhook['id']}.email.1"
            await until(instance, event_id, {"sent": 1, "succeeded": 100})
            about = {"attempt": 1, "address": "ann@acme.example", "at": datetime.now(UTC)}
            deferred, delivered = (Receipt(id=kind, kind=kind, **about) for kind in ("deferred", "delivered"))
            assert await instance.gateway.record_receipt(instance.tenant, event_id, delivery, deferred)
            assert await instance.gateway.record_receipt(instance.tenant, event_id, delivery, delivered)
            event = await instance.until_closed(event_id)
            assert [receipt["kind"] for receipt in event["deliveries"][-1]["receipts"]] == ["deferred", "delivered"]
            assert event["status"] == "succeeded"
            assert not await instance.gateway.record_receipt(instance.tenant, event_id, delivery, delivered)
            assert not await instance.gateway.record_receipt(instance.tenant, event_id, "wh_unknown", delivered)


async def test_lists_show_which_runs_need_attention(instance: Instance, inbox: Receiver) -> None:
    """Setup: ten deliveries of the first run fail, and that of the second."""
    webhooks = await crowd(instance, inbox.url, 101, retry=PATIENT)
    failing = [*webhooks[:10], webhooks[-1]]

    async def until_runs_need(*expected: list[str]) -> None:
        async with asyncio.timeout(WAIT_TIMEOUT):
            while [attributes(run, NEEDS_ATTENTION_KEY) for run in await runs_of(instance, event_id)] != [*expected]:
                await asyncio.sleep(0.05)

    async with receiver() as bad:
        bad.otherwise = Answer(500)
        for webhook in failing:
            await instance.store.webhooks.update(webhook, None, {"url": bad.url})
        event_id = (await instance.send())["id"]
        await until_runs_need(webhooks[:10], webhooks[100:])
        await until_attention(instance, event_id, True)
        bad.otherwise = Answer(200)
        assert (await instance.command(event_id, "retry", webhooks[0])).status_code == 202
        await until_runs_need(webhooks[1:10], webhooks[100:])
        assert (await instance.command(event_id, "retry")).status_code == 202
        event = await instance.until_closed(event_id)
    assert event["status"] == "succeeded"
    await until_attention(instance, event_id, False)


async def test_the_largest_event_is_delivered_by_siblings(temporal: Client, tmp_path: Path) -> None:
    """Proves: a megabyte for each run is not too much for any step."""
    data = {"text": "x" * 1_000_000}
    async with running_instance(temporal, tmp_path, max_event_bytes=1024 * 1024) as instance, instance.working():
        await crowd(instance, "https://acme.example/hook", 20, targets={"notification": first([NOTE] * 20)})
        event_id = (await instance.send(data=data, deliver_at=in_seconds(86400)))["id"]
        async with asyncio.timeout(WAIT_TIMEOUT):
            while (await instance.command(event_id, "hold")).status_code == 503:  # not all runs are started yet
                await asyncio.sleep(0.1)
        event = await instance.event(event_id)
        assert (event["status"], statuses(event), event["data"] == data) == ("scheduled", {"held": 420}, True)
        assert (await instance.command(event_id, "cancel")).status_code == 202
        assert statuses(await instance.until_closed(event_id)) == {"cancelled": 420}
