"""An event is accepted once its row is committed. Its run is started afterwards, and from the row if that fails."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from problems import problem
from temporalio.client import Client

from hookkeeper import ids
from hookkeeper.messages.event import EventInput
from hookkeeper.services.event_starts import MAX_CONCURRENT_STARTS
from hookkeeper.services.look_after import LookAfter
from hookkeeper.services.start_queue import MAX_EVENT_BYTES
from hookkeeper.temporal.server.error_translation import Unavailable
from hookkeeper.times import rfc3339, utc_now
from instances import Instance, another_process, running_instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT, pauses

LARGE = "x" * MAX_EVENT_BYTES
"""Data of an event that has a run of its own."""
NOW = timedelta(0)


async def post(instance: Instance, event_id: str, **fields: Any) -> httpx.Response:
    event = {"type": "order.paid", "tenant": instance.tenant, "id": event_id, **fields}
    return await instance.http.post("/v1/events", json=event)


def look_after(instance: Instance) -> LookAfter:
    looking: LookAfter = instance.app.state.api.look_after
    return looking


async def fails(*_: Any) -> str:
    raise Unavailable("Temporal is away")


async def test_a_flood_of_one_tenant_delays_no_start_of_another(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tenant's starts hang, as many as it may have; all events are accepted, and the other is started."""
    start, go_on, hanging, started = idle_instance.gateway.start, asyncio.Event(), list[str](), list[str]()

    async def hangs_for_one(event: EventInput) -> str:
        if event.tenant == idle_instance.tenant:
            hanging.append(event.id)
            await go_on.wait()
        started.append(event.id)
        return await start(event)

    monkeypatch.setattr(idle_instance.gateway, "start", hangs_for_one)
    flood = [await post(idle_instance, f"e{n}", data=LARGE) for n in range(MAX_CONCURRENT_STARTS)]
    assert {answer.status_code for answer in flood} == {202}
    other = await post(idle_instance, "other", tenant=f"{idle_instance.tenant}-other", data=LARGE)
    assert other.json()["duplicate"] is False
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not started:
            await asyncio.sleep(0.01)
    assert (started, len(hanging)) == (["other"], MAX_CONCURRENT_STARTS // 2)
    go_on.set()
    await idle_instance.settled()
    for n in range(MAX_CONCURRENT_STARTS):
        assert (await idle_instance.run(f"e{n}").describe()).run_id


@pytest.mark.parametrize("data", [None, LARGE], ids=["small", "large"])
async def test_an_event_that_is_posted_again_while_its_start_hangs_is_one_event(
    own_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch, data: str | None
) -> None:
    await own_instance.webhook(inbox.url)
    gateway, go_on = own_instance.gateway, asyncio.Event()
    start, start_shared = gateway.start, gateway.start_shared

    async def slow(event: EventInput) -> str:
        await go_on.wait()
        return await start(event)

    async def slow_shared(shared_run: str, events: Sequence[EventInput]) -> str | None:
        await go_on.wait()
        return await start_shared(shared_run, events)

    monkeypatch.setattr(gateway, "start", slow)
    monkeypatch.setattr(gateway, "start_shared", slow_shared)
    first = await asyncio.gather(*(post(own_instance, f"e{n}", data=data) for n in range(6)))
    async with another_process(own_instance) as other:
        again = [await post(process, f"e{n}", data=data) for n in range(6) for process in (own_instance, other)]
    assert {answer.status_code for answer in first} == {202}
    assert {(answer.status_code, answer.json()["status"]) for answer in again} == {(200, "delivering")}
    assert (await post(own_instance, "e0", data="other")).status_code == 409
    go_on.set()
    for n in range(6):
        await own_instance.until_final(f"e{n}")
    assert sorted(request.webhook_id for request in inbox.requests) == [f"e{n}" for n in range(6)]


async def test_events_are_accepted_and_read_while_temporal_is_away_and_sent_once_when_it_is_back(
    own_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: alone, together, large, ordered and scheduled events. Timeline: all starts fail; two processes look after
    them, twice. Proves: each is delivered once, the ordered ones in order.
    """
    await own_instance.webhook(inbox.url, events=["order.*"])
    await own_instance.webhook(f"{inbox.url}/line", events=["line.*"], ordered=True)
    with monkeypatch.context() as outage:
        outage.setattr(own_instance.gateway, "start", fails)
        outage.setattr(own_instance.gateway, "start_shared", fails)
        answers = await asyncio.gather(*(post(own_instance, f"small-{n}") for n in range(9)))
        answers += [await post(own_instance, "large", data=LARGE)]
        answers += [await post(own_instance, f"line-{n}", type="line.n") for n in range(4)]
        later = rfc3339(utc_now() + timedelta(seconds=1))
        answers += [await post(own_instance, "later", deliver_at=later)]
        assert {answer.status_code for answer in answers} == {202}
        await own_instance.settled()
        assert (await own_instance.event("large"))["deliveries"][0]["status"] == "pending"
        assert (await own_instance.event("small-1"))["data"] == {}
    async with another_process(own_instance) as other:
        for _ in range(2):
            await asyncio.gather(*(look_after(process).look(NOW) for process in (own_instance, other)))
    for answer in answers:
        await own_instance.until_final(answer.json()["id"])
    sent = [request.webhook_id for request in inbox.requests]
    assert sorted(sent) == sorted(answer.json()["id"] for answer in answers)
    assert [id_ for id_ in sent if id_.startswith("line")] == [f"line-{n}" for n in range(4)]


async def test_a_command_starts_the_run_of_an_event_that_has_none(
    own_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await own_instance.webhook(inbox.url)
    with monkeypatch.context() as outage:
        outage.setattr(own_instance.gateway, "start", fails)
        later = rfc3339(utc_now() + timedelta(hours=1))
        assert (await post(own_instance, "e", deliver_at=later)).status_code == 202
        await own_instance.settled()
    assert (await own_instance.command("e", "cancel")).status_code == 202
    assert (await own_instance.until_final("e"))["status"] == "cancelled"
    assert inbox.requests == []


async def test_an_event_whose_id_an_older_run_has_gets_a_run_apart(own_instance: Instance, inbox: Receiver) -> None:
    """The row of the older event is gone, as after the loss of the registry."""
    await own_instance.webhook(inbox.url)
    await own_instance.send(id="e", data=LARGE)
    await own_instance.until_closed("e")
    await own_instance.store.rows.remove(own_instance.tenant, "e")
    assert (await post(own_instance, "e", data=LARGE + "other")).status_code == 202
    event = await own_instance.until_final("e")
    async with asyncio.timeout(WAIT_TIMEOUT):
        async for _ in pauses():
            if len(inbox.requests) == 2:
                break
    assert event["status"] == "succeeded"
    assert ids.workflow_id(own_instance.tenant, "e") == event["workflow_id"].partition(".")[0]


async def test_a_tenant_may_fill_half_of_what_waits_for_temporal(
    temporal: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookkeeper.registry.index.event_inputs.OVERDUE", NOW)
    async with running_instance(temporal, tmp_path, max_events_not_started=4) as instance:
        with monkeypatch.context() as outage:
            outage.setattr(instance.gateway, "start", fails)
            first, second = instance.tenant, f"{instance.tenant}-other"
            assert [(await post(instance, f"e{n}")).status_code for n in range(3)] == [202] * 3
            await instance.settled()
            assert await look_after(instance).count() == 3
            refused = problem(await post(instance, "more"), 429)
            assert "Too many events of this tenant wait for Temporal" in refused["detail"]
            batch = await instance.http.post("/v1/events/batch", json={"events": [{"type": "a.b", "tenant": first}]})
            assert [item["status"] for item in batch.json()["items"]] == [429]
            assert [(await post(instance, f"e{n}", tenant=second)).status_code for n in range(2)] == [202] * 2
            await instance.settled()
            assert await look_after(instance).count() == 5
            refused = problem(await post(instance, "more", tenant="third"), 503)
            assert "Too many events wait for Temporal" in refused["detail"]
        assert await look_after(instance).look(NOW) == 5
        assert await look_after(instance).count() == 0
        assert (await post(instance, "more")).status_code == 202
