"""Runs continue after operators have ended their activities with Temporal's own tools."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from conftest import binary
from hookkeeper import ids
from instances import Instance
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT

SLOW = Answer(200, "ok", delay=5)


def in_a_day() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).isoformat()


async def temporal_cli(instance: Instance, *arguments: str) -> None:
    """Run Temporal's command line against the server of this test."""
    address = instance.temporal.service_client.config.target_host
    process = await asyncio.create_subprocess_exec(
        binary("temporal"),
        *arguments,
        *("--address", address),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def pending(instance: Instance, event_id: str, type_: str) -> str:
    """Wait until an activity of this type is under way; return its id."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            description = await instance.run(event_id).describe()
            for activity in description.raw_description.pending_activities:
                if activity.activity_type.name == type_:
                    return activity.activity_id
            await asyncio.sleep(0.03)


async def end(instance: Instance, event_id: str, how: str, type_: str = "deliver_webhooks", *more: str) -> None:
    id_ = await pending(instance, event_id, type_)
    workflow_id = ids.workflow_id(instance.tenant, event_id)
    await temporal_cli(instance, "activity", how, "--activity-id", id_, "--workflow-id", workflow_id, *more)


async def waits_to_schedule_again(instance: Instance, event_id: str) -> None:
    """Wait until the run has noticed, and has started a timer."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            history = await instance.run(event_id).fetch_history()
            if any(event.HasField("timer_started_event_attributes") for event in history.events):
                return
            await asyncio.sleep(0.03)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The minute is over at once."""
    monkeypatch.setattr("workflows.activities.RESCHEDULE_INTERVAL", timedelta(seconds=0.1))


@pytest.mark.promise("docs/operations.md")
@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    "how",
    [
        ("fail",),
        ("complete", "--result", "{}"),
        ("complete", "--result", '{"outcomes": []}'),
        ("complete", "--result", '"done"'),
    ],
    ids=["fail", "complete-other", "complete-nothing", "complete-text"],
)
async def test_an_event_is_delivered_after_an_operator_ended_its_activity(
    instance: Instance, inbox: Receiver, how: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    inbox.answers.append(SLOW)
    await instance.webhook(inbox.url)
    event_id = (await instance.send())["id"]
    await inbox.got(1)
    with caplog.at_level(logging.WARNING):
        await end(instance, event_id, how[0], "deliver_webhooks", *how[1:])
        event = await instance.until_final(event_id)
    assert event["status"] == "succeeded"
    assert [attempt["number"] for attempt in event["deliveries"][0]["attempts"]] == [1]
    assert "deliver_webhooks ended in a way that was not requested" in caplog.text


@pytest.mark.usefixtures("soon")
async def test_an_event_is_delivered_after_a_limit_of_attempts(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: each attempt meets a registry that is down.
    Timeline: an operator sets maximum attempts of one in Temporal; the registry is back.
    """
    is_down = True
    original = instance.store.webhooks.many

    async def many(self: Any, *args: Any) -> Any:
        if is_down:
            raise ConnectionError("down")
        return await original(*args)

    monkeypatch.setattr("hookkeeper.registry.webhooks.webhooks.Webhooks.many", many)
    await instance.webhook(inbox.url)
    event_id = (await instance.send())["id"]
    await end(instance, event_id, "update-options", "deliver_webhooks", "--retry-maximum-attempts", "1")
    await waits_to_schedule_again(instance, event_id)
    is_down = False
    assert (await instance.until_final(event_id))["status"] == "succeeded"


async def test_an_event_can_be_read_and_cancelled_before_its_activity_is_scheduled_again(
    instance: Instance, inbox: Receiver
) -> None:
    inbox.answers.append(SLOW)
    await instance.webhook(inbox.url)
    event_id = (await instance.send())["id"]
    await inbox.got(1)
    await end(instance, event_id, "fail")
    await waits_to_schedule_again(instance, event_id)
    assert (await instance.event(event_id))["deliveries"][0]["status"] == "pending"
    assert (await instance.command(event_id, "cancel")).status_code == 202
    event = await instance.until_closed(event_id)
    assert (event["status"], len(inbox.requests)) == ("cancelled", 1)


@pytest.mark.usefixtures("soon")
async def test_a_run_is_cancelled_although_its_last_activity_was_failed(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: the activity that closes a cancelled run gets no answer from Temporal at first."""
    answers = asyncio.Event()
    original = WorkflowHandle.cancel

    async def cancel(self: WorkflowHandle[Any, Any], **options: Any) -> None:
        await answers.wait()
        await original(self, **options)

    monkeypatch.setattr(WorkflowHandle, "cancel", cancel)
    await instance.webhook(inbox.url)
    event_id = (await instance.send(deliver_at=in_a_day()))["id"]
    assert (await instance.command(event_id, "cancel")).status_code == 202
    await end(instance, event_id, "fail", "close_as_cancelled")
    answers.set()
    assert (await instance.until_closed(event_id))["status"] == "cancelled"
