"""The table of docs/temporal-cloud.md has the actions that are counted here.

Nothing is counted by time: each shape ends, and has as many actions as the table says, or the test fails.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from cloud_actions import Actions, counting
from instances import Instance, running_instance
from receivers import Answer, Receiver, receiver
from shared_runs import event_to, start
from test_docs import ROOT
from timeouts import WAIT_TIMEOUT, pauses

TABLE = (ROOT / "docs/temporal-cloud.md").read_text().split("\n## Actions\n")[1].split("\n## ")[0]
ROWS = re.findall(r"^\| (.+?) \| (\d+)(?: or (\d+))? \| ([\d.]+)(?: or ([\d.]+))? \|", TABLE, re.MULTILINE)
DOCUMENTED = {shape: range(int(least), int(most or least) + 1) for shape, least, most, *_ in ROWS}
MILLION_ACTIONS = 50.0
"""Dollars, as the page says."""
EVENTS = {"fifty": 50, "two": 2}
"""By the first word of a shape; one for others."""


@dataclass
class Cloud:
    """An instance whose actions are counted."""

    actions: Actions
    instance: Instance
    inbox: Receiver

    async def send(self, **fields: Any) -> str:
        event_id: str = (await self.instance.send(**fields))["id"]
        return event_id

    async def until_closed(self, event_id: str) -> None:
        """Wait for the end of the event's run, without a query."""
        async for _ in pauses():
            if (await self.instance.run(event_id).describe()).status != WorkflowExecutionStatus.RUNNING:
                return

    async def until_attempted(self, event_id: str) -> None:
        """Wait until the event's run waits for its next attempt, without a query."""
        async for _ in pauses():
            history = await self.instance.run(event_id).fetch_history()
            if any(event.HasField("timer_started_event_attributes") for event in history.events):
                return

    async def count(self) -> Counter[str]:
        """Return the actions by their kinds, without heartbeats: on a busy machine, an activity takes long enough for
        one.
        """
        counted = await self.actions.of(self.instance.settings.task_queue)
        del counted["heartbeat"]
        return counted


async def one_url(cloud: Cloud) -> None:
    await cloud.instance.webhook(cloud.inbox.url)
    await cloud.until_closed(await cloud.send())


async def ten_urls(cloud: Cloud) -> None:
    for _ in range(10):
        await cloud.instance.webhook(cloud.inbox.url)
    await cloud.until_closed(await cloud.send())


async def fifty_together(cloud: Cloud) -> None:
    webhook = await cloud.instance.webhook(cloud.inbox.url)
    tenant = cloud.instance.tenant
    run = await start(cloud.instance, [event_to(webhook, id=f"e{n}", tenant=tenant) for n in range(50)])
    assert (await run.result()).continued == ()


async def two_together_of_which_one_is_retried(cloud: Cloud) -> None:
    webhook = await cloud.instance.webhook(cloud.inbox.url, retry={"schedule": [0.1]})
    tenant = cloud.instance.tenant
    cloud.inbox.fails(500)
    run = await start(cloud.instance, [event_to(webhook, id=f"e{n}", tenant=tenant) for n in range(2)])
    (own,) = (await run.result()).continued
    await cloud.instance.temporal.get_workflow_handle(own).result()


async def a_retry(cloud: Cloud) -> None:
    cloud.inbox.fails(500)
    await cloud.instance.webhook(cloud.inbox.url, retry={"schedule": [0.1]})
    await cloud.until_closed(await cloud.send())


async def two_retries(cloud: Cloud) -> None:
    cloud.inbox.fails(500, 500)
    await cloud.instance.webhook(cloud.inbox.url, retry={"schedule": [0.1, 0.1]})
    await cloud.until_closed(await cloud.send())


async def a_scheduled_event(cloud: Cloud) -> None:
    await cloud.instance.webhook(cloud.inbox.url)
    daily = {"tenant": cloud.instance.tenant, "event": {"type": "order.paid"}, "every": 86400}
    schedule = (await cloud.instance.http.post("/v1/schedules", json=daily)).json()["id"]
    query = {"tenant": cloud.instance.tenant}
    answer = await cloud.instance.http.post(f"/v1/schedules/{schedule}/trigger", params=query)
    async for _ in pauses():
        if cloud.inbox.requests:
            break
    await cloud.until_closed(answer.headers["hookkeeper-event-id"])
    await cloud.instance.http.delete(f"/v1/schedules/{schedule}", params=query)


async def an_email(cloud: Cloud) -> None:
    await cloud.instance.webhook(None, emails=[{"to": ["ann@a.example"], "subject": "Hi", "text": "."}])
    await cloud.until_closed(await cloud.send())


async def url_and_email(cloud: Cloud) -> None:
    await cloud.instance.webhook(cloud.inbox.url, emails=[{"to": ["ann@a.example"], "subject": "Hi", "text": "."}])
    await cloud.until_closed(await cloud.send())


async def deliver_at(cloud: Cloud) -> None:
    await cloud.instance.webhook(cloud.inbox.url)
    soon = datetime.now(UTC) + timedelta(seconds=2)
    await cloud.until_closed(await cloud.send(deliver_at=soon.isoformat()))


async def ordered(cloud: Cloud) -> None:
    await cloud.instance.webhook(cloud.inbox.url, ordered=True)
    await cloud.until_closed(await cloud.send())


async def two_ordered(cloud: Cloud) -> None:
    cloud.inbox.answers.append(Answer(delay=1))
    await cloud.instance.webhook(cloud.inbox.url, ordered=True)
    sent = [await cloud.send() for _ in range(2)]
    for event_id in sent:
        await cloud.until_closed(event_id)


async def an_open_event(cloud: Cloud) -> str:
    cloud.inbox.fails(500)
    await cloud.instance.webhook(cloud.inbox.url, retry={"schedule": [3600]})
    event_id = await cloud.send()
    await cloud.until_attempted(event_id)
    return event_id


async def get_open(cloud: Cloud) -> None:
    assert (await cloud.instance.event(await an_open_event(cloud)))["status"] == "delivering"


async def get_closed(cloud: Cloud) -> None:
    await cloud.instance.webhook(cloud.inbox.url)
    event_id = await cloud.send()
    await cloud.until_closed(event_id)
    assert (await cloud.instance.event(event_id))["status"] == "succeeded"


async def retried_by_command(cloud: Cloud) -> None:
    event_id = await an_open_event(cloud)
    assert (await cloud.instance.command(event_id, "retry")).status_code == 202
    await cloud.until_closed(event_id)


async def cancelled(cloud: Cloud) -> None:
    event_id = await an_open_event(cloud)
    assert (await cloud.instance.command(event_id, "cancel")).status_code == 202
    await cloud.until_closed(event_id)


SHAPES: dict[str, Callable[[Cloud], Awaitable[object]]] = {
    "an event with a URL": one_url,
    "an event with ten URLs that answer at once": ten_urls,
    "fifty events that share a run": fifty_together,
    "two events that share a run, one of which succeeds at its second attempt": two_together_of_which_one_is_retried,
    "an event that succeeds at its second attempt": a_retry,
    "an event that succeeds at its third attempt": two_retries,
    "an event of a schedule": a_scheduled_event,
    "an event with an email": an_email,
    "an event with a URL and an email": url_and_email,
    "an event with `deliver_at`": deliver_at,
    "an event to an ordered webhook, with none before it": ordered,
    "two events to an ordered webhook, of which one waits for the other": two_ordered,
    "an event whose first attempt has failed, until its second one is due": an_open_event,
    "the same, read once with `GET`": get_open,
    "an event with a URL, read when it has succeeded": get_closed,
    "an event whose first attempt has failed, retried by a command": retried_by_command,
    "an event whose first attempt has failed, cancelled by a command": cancelled,
}


@pytest.fixture
async def actions(temporal: Client) -> Actions:
    return await counting(temporal)


@pytest.fixture
async def cloud(actions: Actions, tmp_path: Path, inbox: Receiver) -> AsyncIterator[Cloud]:
    """A worker that sends no heartbeats for outcomes: on a busy machine, any attempt could have one."""
    settings = {"heartbeat_delay": timedelta(seconds=10), "email_capture_dir": tmp_path / "emails"}
    async with running_instance(actions.client, tmp_path, **settings) as instance, instance.working():
        yield Cloud(actions, instance, inbox)


def test_the_table_has_all_shapes_with_their_prices() -> None:
    assert {*DOCUMENTED} == {*SHAPES}
    for shape, least, most, price, highest in ROWS:
        events = EVENTS.get(shape.split()[0], 1)
        for actions, dollars in ((least, price), (most, highest)):
            assert float(dollars or 0) == int(actions or 0) * MILLION_ACTIONS / events, shape


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_shape_has_as_many_actions_as_the_table_says(cloud: Cloud, shape: str) -> None:
    expected, counted = DOCUMENTED[shape], Counter[str]()
    async with asyncio.timeout(WAIT_TIMEOUT):
        await SHAPES[shape](cloud)
        async for _ in pauses():  # visibility lists runs with a delay
            before, counted = counted, await cloud.count()
            assert counted.total() < expected.stop, counted
            if counted == before and counted.total() in expected:
                break


async def test_outcomes_that_come_one_after_the_other_have_heartbeats(
    actions: Actions, tmp_path: Path, inbox: Receiver
) -> None:
    """With the default delay, the first of two outcomes is reported before the second, which ends the activity."""
    async with running_instance(actions.client, tmp_path) as instance, receiver() as slow, instance.working():
        slow.otherwise = Answer(gate=asyncio.Event())
        for each in (inbox, slow):
            await instance.webhook(each.url)
        cloud = Cloud(actions, instance, inbox)
        event_id = await cloud.send()
        async with asyncio.timeout(WAIT_TIMEOUT):
            await actions.until_heartbeats(1)
            assert slow.otherwise.gate is not None
            slow.otherwise.gate.set()
            await cloud.until_closed(event_id)
            async for _ in pauses():
                if (await cloud.count()).total() >= 3:
                    break
        counted = await actions.of(instance.settings.task_queue)
        assert (counted["run"], counted["activity"]) == (1, 1)
        assert counted["heartbeat"] >= 1
