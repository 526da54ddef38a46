"""Ids that were used before: an accepted event is delivered, whatever Temporal has of an earlier one with its id."""

import asyncio
import json
from collections.abc import Collection
from datetime import timedelta

import httpx
import pytest
from problems import problem
from sqlalchemy import delete
from temporalio.client import WorkflowExecutionStatus

from hookkeeper import ids, metrics
from hookkeeper.registry.events.tables import deliveries, events
from hookkeeper.registry.storage.database import open_engine
from hookkeeper.temporal.events.erasure import delete_run
from hookkeeper.temporal.events.run_state import find_run
from hookkeeper.times import rfc3339, utc_now
from instances import Instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT

IDS = [f"e{n}" for n in range(8)]
QUICK, PATIENT = {"schedule": [0.1] * 20}, {"schedule": [3600]}


async def post(instance: Instance, event_id: str, data: str) -> httpx.Response:
    event = {"type": "order.paid", "tenant": instance.tenant, "id": event_id, "data": data}
    return await instance.http.post("/v1/events", json=event)


async def accepted_together(instance: Instance, data: str) -> list[str]:
    """Post the events at once, after another one which has its own run; return the ids of those that share a run."""
    _, *answers = await asyncio.gather(post(instance, "alone", data), *(post(instance, id_, data) for id_ in IDS))
    assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers]
    shared = [event["id"] for answer in answers if ids.is_shared_run((event := answer.json())["workflow_id"])]
    assert len(shared) >= 3
    return shared


async def forget(instance: Instance, event_ids: Collection[str]) -> None:
    """Remove the rows of events from the registry."""
    engine = open_engine(instance.settings.database_url)
    async with engine.begin() as connection:
        for table, column in ((events, "id"), (deliveries, "event_id")):
            await connection.execute(delete(table).where(table.c[column].in_(event_ids)))
    await engine.dispose()


async def until_arrived(inbox: Receiver, event_ids: Collection[str], data: str = "new", times: int = 2) -> None:
    """Wait until the receiver has got each of the events with this data this many times."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            got = [request.webhook_id for request in inbox.requests if json.loads(request.body)["data"] == data]
            if all(got.count(event_id) >= times for event_id in event_ids):
                return
            await asyncio.sleep(0.05)


async def deleted(instance: Instance, workflow_id: str) -> None:
    """Delete a run as Temporal's own tools do, and as its retention does."""
    if run := await find_run(instance.temporal, workflow_id):
        await delete_run(instance.temporal, run.id, run.run_id)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await find_run(instance.temporal, workflow_id):
            await asyncio.sleep(0.05)


async def until_own(instance: Instance, event_id: str) -> None:
    """Wait until the row of an event names its own run, which writes that first."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (row := await instance.store.rows.find(instance.tenant, event_id)) and row.shared_run:
            await asyncio.sleep(0.05)
    assert row


def clashes() -> float:
    """Return how often two open events have had one id."""
    (metric,) = metrics.ID_CLASHES.collect()
    return metric.samples[0].value


@pytest.mark.promise("docs/guarantees.md")
async def test_each_accepted_event_arrives_although_its_id_has_an_older_run(
    instance: Instance, inbox: Receiver
) -> None:
    await instance.webhook(inbox.url, retry=QUICK)
    for event_id in IDS:
        assert (await post(instance, event_id, "old")).status_code == 202
        await instance.until_closed(event_id)
    await forget(instance, IDS)
    inbox.fails(*[500] * (len(IDS) + 1))
    shared = await accepted_together(instance, "new")
    await until_arrived(inbox, shared)
    for event_id in shared:
        assert (await instance.until_final(event_id))["data"] == "new"


async def test_each_accepted_event_arrives_although_an_older_one_with_its_id_is_open(
    instance: Instance, inbox: Receiver
) -> None:
    """The newer event has the id from then on. The older one is delivered as well, and the clash is counted."""
    await instance.webhook(inbox.url, retry=QUICK)
    for event_id in IDS:
        await instance.send(id=event_id, data="old", deliver_at=rfc3339(utc_now() + timedelta(hours=1)))
    await forget(instance, IDS)
    inbox.fails(*[500] * (len(IDS) + 1))
    before = clashes()
    shared = await accepted_together(instance, "new")
    await until_arrived(inbox, shared)
    assert clashes() - before >= len(shared)
    for event_id in shared:
        shown = await instance.until_final(event_id)
        assert (shown["data"], shown["status"]) == ("new", "succeeded")
        assert (await instance.run(event_id).describe()).status == WorkflowExecutionStatus.RUNNING
        problem(await instance.command(event_id, "redeliver"), 409)
        await instance.run(event_id).execute_update("reschedule", utc_now())
        await instance.run(event_id).result()
    await until_arrived(inbox, shared, "old", 1)
    row = await instance.store.rows.find(instance.tenant, shared[1])
    assert row
    apart = ids.run_apart(*row.name, row.accepted_at)
    assert await find_run(instance.temporal, apart)
    problem(await post(instance, shared[0], "old"), 409)
    assert (await post(instance, shared[0], "new")).status_code == 200
    assert (await instance.command(shared[0], "redeliver")).status_code == 202
    await until_arrived(inbox, shared[:1], "new", 3)
    path = f"/v1/events/{shared[1]}/data"
    assert (await instance.http.delete(path, params={"tenant": instance.tenant})).is_success
    async with asyncio.timeout(WAIT_TIMEOUT):
        for workflow_id in (instance.run(shared[1]).id, apart):
            while await find_run(instance.temporal, workflow_id):
                await asyncio.sleep(0.05)


async def test_an_event_that_succeeds_at_once_is_shown_in_place_of_an_older_one(
    instance: Instance, inbox: Receiver
) -> None:
    await instance.webhook(inbox.url, retry=QUICK)
    for event_id in IDS:
        await post(instance, event_id, "old")
        await instance.until_closed(event_id)
    await forget(instance, IDS)
    shared = await accepted_together(instance, "new")
    await until_arrived(inbox, shared, "new", 1)
    for event_id in shared:
        shown = await instance.until_final(event_id)
        assert (shown["data"], shown["status"]) == ("new", "succeeded")
    assert (await post(instance, shared[0], "new")).status_code == 200
    problem(await post(instance, shared[0], "old"), 409)
    assert (await instance.command(shared[0], "redeliver")).status_code == 202
    await until_arrived(inbox, shared[:1], "new", 2)
    assert (await instance.http.delete(f"/v1/events/{shared[1]}/data", params={"tenant": instance.tenant})).is_success


async def test_an_open_event_is_recognised_after_the_retention_of_the_run_that_it_has_left(
    instance: Instance, inbox: Receiver
) -> None:
    await instance.webhook(inbox.url, retry=PATIENT)
    inbox.fails(*[500] * (len(IDS) + 1))
    shared = await accepted_together(instance, "same")
    for event_id in shared:
        await instance.until_delivery(event_id, "retrying", 1)
        await until_own(instance, event_id)
    for event_id in shared:  # none is in the shared run any more
        left = (await instance.run(event_id).describe()).parent_id
        assert left
        assert ids.is_shared_run(left)
        await deleted(instance, left)
    requests = len(inbox.requests)
    for data, status in ("same", 200), ("other", 409):
        for answer in await asyncio.gather(*(post(instance, event_id, data) for event_id in shared)):
            assert answer.status_code == status, answer.text
    assert len(inbox.requests) == requests
