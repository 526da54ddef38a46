"""First attempts of webhooks that answer quickly: they are made within the workflow task, as a local activity."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowExecutionStatus

from hookkeeper.temporal.server.connection import LateClient
from instances import Instance, without_registry
from receivers import Answer, Receiver, receiver
from timeouts import WAIT_TIMEOUT
from worker_processes import SOON_UNSTUCK, worker_process

SOON_LOST = SOON_UNSTUCK | {"workflows.dispatch.FIRST_HEARTBEAT_TIMEOUT": 3}
PATIENT = {"schedule": [3600]}


async def quick_webhook(instance: Instance, url: str, **fields: Any) -> dict[str, Any]:
    """Register a webhook, and let it succeed once."""
    webhook = await instance.webhook(url, **fields)
    await instance.until_closed((await instance.send())["id"])
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not all(
            one.last_success_at for one in await instance.store.webhooks.matching(instance.tenant, "order.paid")
        ):
            await asyncio.sleep(0.05)
    return webhook


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give attempts within the workflow task five seconds: on a busy machine, half a second is little."""
    monkeypatch.setattr("activities.delivery_batch.AT_ONCE", 5.0)


async def activities(instance: Instance, event_id: str) -> list[HistoryEvent]:
    """Return what the run has scheduled as ordinary activities."""
    history = await instance.run(event_id).fetch_history()
    return [event for event in history.events if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED]


@pytest.mark.usefixtures("unhurried")
async def test_a_quick_attempt_is_made_within_the_workflow_task(instance: Instance, inbox: Receiver) -> None:
    await quick_webhook(instance, inbox.url)
    accepted = await instance.send()
    event = await instance.until_closed(accepted["id"])
    assert (event["status"], len(event["deliveries"][0]["attempts"])) == ("succeeded", 1)
    assert len(inbox.requests) == 2
    assert await activities(instance, accepted["id"]) == []


@pytest.mark.usefixtures("unhurried")
async def test_a_quick_attempt_that_fails_is_retried(instance: Instance, inbox: Receiver) -> None:
    await quick_webhook(instance, inbox.url, retry={"schedule": [1]})
    inbox.answers = [Answer(500)]
    accepted = await instance.send()
    event = await instance.until_closed(accepted["id"])
    attempts = event["deliveries"][0]["attempts"]
    assert [attempt["status_code"] for attempt in attempts] == [500, 200]
    assert len(await activities(instance, accepted["id"])) == 1, "the retry"


@pytest.mark.usefixtures("unhurried")
async def test_webhooks_with_a_rate_or_an_order_have_activities(instance: Instance, inbox: Receiver) -> None:
    """What waits for its rate or its turn is not quick. Beside them, a plain webhook is."""
    await quick_webhook(instance, inbox.url, rate_limit=1000)
    await quick_webhook(instance, inbox.url, ordered=True)
    await quick_webhook(instance, inbox.url)
    accepted = await instance.send()
    event = await instance.until_closed(accepted["id"])
    assert [len(delivery["attempts"]) for delivery in event["deliveries"]] == [1, 1, 1]
    scheduled = await activities(instance, accepted["id"])
    names = [each.activity_task_scheduled_event_attributes.activity_type.name for each in scheduled]
    assert names.count("deliver_webhooks") == 2


async def test_an_attempt_that_lasts_goes_on_in_its_process(instance: Instance, inbox: Receiver) -> None:
    """Commands are answered meanwhile."""
    await quick_webhook(instance, inbox.url)
    gate = asyncio.Event()
    inbox.answers = [Answer(gate=gate)]
    accepted = await instance.send()
    await inbox.got(2)
    async with asyncio.timeout(5):
        assert (await instance.command(accepted["id"], "hold")).status_code == 202
        assert (await instance.command(accepted["id"], "release")).status_code == 202
    gate.set()
    event = await instance.until_closed(accepted["id"])
    assert (event["status"], len(event["deliveries"][0]["attempts"])) == ("succeeded", 1)
    assert len(inbox.requests) == 2
    (scheduled,) = await activities(instance, accepted["id"])
    queue = scheduled.activity_task_scheduled_event_attributes.task_queue.name
    assert queue.startswith(f"{instance.settings.task_queue}-process-")


async def test_a_quick_attempt_that_lasts_can_be_cancelled(instance: Instance, inbox: Receiver) -> None:
    """Its outcome is recorded."""
    await quick_webhook(instance, inbox.url)
    gate = asyncio.Event()
    inbox.answers = [Answer(500, gate=gate)]
    accepted = await instance.send()
    await inbox.got(2)
    await asyncio.sleep(1)
    assert (await instance.command(accepted["id"], "cancel")).status_code == 202
    gate.set()
    event = await instance.until_closed(accepted["id"])
    assert event["status"] == "cancelled"
    assert [attempt["status_code"] for attempt in event["deliveries"][0]["attempts"]] == [500]
    assert len(inbox.requests) == 2


async def test_a_quick_attempt_of_a_killed_process_is_made_again(idle_instance: Instance, inbox: Receiver) -> None:
    async with idle_instance.working():
        await quick_webhook(idle_instance, inbox.url)
    inbox.answers = [Answer(delay=60)]
    async with worker_process(idle_instance, timeouts=SOON_LOST) as process:
        accepted = await idle_instance.send()
        await inbox.got(2)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not await activities(idle_instance, accepted["id"]):
                await asyncio.sleep(0.1)
        process.kill()
    async with idle_instance.working():
        event = await idle_instance.until_final(accepted["id"])
    assert (event["status"], len(event["deliveries"][0]["attempts"])) == ("succeeded", 1)
    assert len(inbox.requests) == 3
    assert {request.webhook_id for request in inbox.requests[1:]} == {accepted["id"]}


@pytest.mark.promise("docs/guarantees.md")
async def test_quick_attempts_without_a_registry_are_made_later(own_instance: Instance, inbox: Receiver) -> None:
    await quick_webhook(own_instance, inbox.url)
    inbox.answers = [Answer(gate=(gate := asyncio.Event()))]
    first = await own_instance.send()
    await inbox.got(2)
    async with without_registry(own_instance):
        gate.set()
        await asyncio.sleep(1)
    await own_instance.until_closed(first["id"])
    assert len(inbox.requests) == 2


async def test_quick_events_share_a_workflow_task_until_one_lasts(instance: Instance, inbox: Receiver) -> None:
    """Ten events with two webhooks; one of the answers lasts."""
    async with receiver() as other:
        await quick_webhook(instance, inbox.url)
        await quick_webhook(instance, other.url, retry=PATIENT)
        gate = asyncio.Event()
        other.answers = [Answer(), Answer(gate=gate)]
        names = [f"e{n}" for n in range(10)]
        bodies = [{"id": name, "type": "order.paid", "tenant": instance.tenant} for name in names]
        answer = await instance.http.post("/v1/events/batch", json={"events": bodies})
        assert answer.status_code in (200, 202, 207), answer.text
        await other.got(11)
        await asyncio.sleep(1)
        gate.set()
        for name in names:
            assert (await instance.until_final(name))["status"] == "succeeded"
        counts = [len(inbox.requests), len(other.requests)]
    assert counts == [12, 11]


@pytest.mark.promise("docs/guarantees.md")
async def test_what_rows_know_is_not_sent_again(idle_instance: Instance, inbox: Receiver) -> None:
    """Setup: a worker loses its way to Temporal during an attempt. It records the outcome, but cannot tell Temporal.
    Proves: the next worker, which has the workflow task when that has timed out, does not send the event again.
    """
    async with idle_instance.working():
        await quick_webhook(idle_instance, inbox.url)
    inbox.answers = [Answer(delay=0.2)]
    async with cut_off(idle_instance) as (cut, beyond), worker_process(beyond):
        accepted = await idle_instance.send()
        await inbox.got(2)
        cut()
        await idle_instance.until(accepted["id"], "succeeded")
        assert (await idle_instance.run(accepted["id"]).describe()).status is WorkflowExecutionStatus.RUNNING
        async with idle_instance.working():
            event = await idle_instance.until_closed(accepted["id"])
    assert (event["status"], len(event["deliveries"][0]["attempts"])) == ("succeeded", 1)
    assert len(inbox.requests) == 2


@asynccontextmanager
async def cut_off(instance: Instance) -> AsyncIterator[tuple[Callable[[], None], Instance]]:
    """Yield the instance as it is reached through a line, and what cuts that."""
    host, port = instance.temporal.service_client.config.target_host.split(":")
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = await asyncio.open_connection(host, int(port))
        writers.extend((writer, to_server[1]))
        await asyncio.gather(pump(reader, to_server[1]), pump(to_server[0], writer))

    line = await asyncio.start_server(serve, "127.0.0.1")

    def cut() -> None:
        line.close()
        for writer in writers:
            writer.transport.abort()

    client = LateClient(address=f"127.0.0.1:{line.sockets[0].getsockname()[1]}")
    try:
        yield cut, replace(instance, temporal=client)
    finally:
        cut()
