"""An event is accepted once its row is committed. Its run is started afterwards, and from the row if that fails."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from problems import problem
from sqlalchemy import text
from temporalio.client import Client

from hookkeeper import ids
from hookkeeper.messages.event import EventInput
from hookkeeper.messages.rows import EventRow
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.events.writing import Name
from hookkeeper.services.starts.event_starts import EventStarts
from hookkeeper.services.starts.look_after import LookAfter
from hookkeeper.services.starts.queue import MAX_EVENT_BYTES
from hookkeeper.services.starts.shared_starts import MAX_CONCURRENT_GROUPS
from hookkeeper.temporal.server.error_translation import Unavailable
from hookkeeper.tenant_limits import STARTS
from hookkeeper.times import rfc3339, utc_now
from instances import Instance, another_process, running_instance
from receivers import Answer, Receiver, receiver
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
    """One tenant's starts hang, as many as it may have; all events are accepted, and the other is started. A look
    starts the rest.
    """
    start, go_on, hanging, started = idle_instance.gateway.runs.start, asyncio.Event(), list[str](), list[str]()

    async def hangs_for_one(event: EventInput) -> str:
        if event.tenant == idle_instance.tenant:
            hanging.append(event.id)
            await go_on.wait()
        started.append(event.id)
        return await start(event)

    monkeypatch.setattr(idle_instance.gateway.runs, "start", hangs_for_one)
    flood = [await post(idle_instance, f"e{n}", data=LARGE) for n in range(STARTS.total)]
    assert {answer.status_code for answer in flood} == {202}
    other = await post(idle_instance, "other", tenant=f"{idle_instance.tenant}-other", data=LARGE)
    assert other.json()["duplicate"] is False
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not started:
            await asyncio.sleep(0.01)
    assert (started, len(hanging)) == (["other"], STARTS.total // 2)
    go_on.set()
    await idle_instance.settled()
    await look_after(idle_instance).look(NOW)
    for n in range(STARTS.total):
        assert (await idle_instance.run(f"e{n}").describe()).run_id


async def test_a_tenant_posts_no_faster_than_its_runs_are_started(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporal is slow, and not away: the next event waits until one before it is started."""
    answered, started, waiting = list[str](), list[str](), list[int]()

    async def slow(event: EventInput) -> str:
        await asyncio.sleep(0.2)
        started.append(event.id)
        return "run"

    async def post_one(event_id: str) -> int:
        answer = await post(idle_instance, event_id, data=LARGE)
        answered.append(event_id)
        waiting.append(len(answered) - len(started))
        return answer.status_code

    monkeypatch.setattr(idle_instance.gateway.runs, "start", slow)
    answers = await asyncio.gather(*(post_one(f"e{n}") for n in range(STARTS.total)))
    await idle_instance.settled()
    assert (set(answers), len(started)) == ({202}, STARTS.total)
    assert 0 < max(waiting) <= STARTS.total // 2


async def test_while_a_run_is_being_started_as_many_events_as_can_share_the_next_one_wait_for_it(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves: a tenant with many clients has few runs under way, behind which others would wait in Temporal."""
    monkeypatch.setattr("hookkeeper.services.starts.shared_starts.PACE", WAIT_TIMEOUT)
    monkeypatch.setattr("hookkeeper.services.starts.starting.STUCK", WAIT_TIMEOUT)
    runs, go_on, groups = idle_instance.gateway.runs, asyncio.Event(), list[int]()
    start, start_shared = runs.start, runs.start_shared

    async def slow(event: EventInput) -> str:
        groups.append(1)
        await go_on.wait()
        return await start(event)

    async def shared(workflow: str, events: Sequence[EventInput]) -> str | None:
        groups.append(len(events))
        return await start_shared(workflow, events)

    monkeypatch.setattr(runs, "start", slow)
    monkeypatch.setattr(runs, "start_shared", shared)
    many = idle_instance.settings.max_events_per_run
    assert (await post(idle_instance, "first")).status_code == 202
    others = [asyncio.create_task(post(idle_instance, f"e{n}")) for n in range(many)]
    starts: EventStarts = idle_instance.app.state.api.ingest.starts
    async with asyncio.timeout(WAIT_TIMEOUT):
        while len(starts._shared._queue) < many:
            await asyncio.sleep(0.01)
    assert groups == [1]
    go_on.set()
    assert {(await other).status_code for other in others} == {202}
    await idle_instance.settled()
    assert groups == [1, many]


async def test_events_of_webhooks_that_hang_delay_no_acceptance_of_others(
    own_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The webhooks of some tenants have failed: as many groups of their events are under way as may be. An event to
    another webhook is accepted and delivered meanwhile.
    """
    rows, go_on, accepting = own_instance.store.rows, asyncio.Event(), set[str]()
    accept = rows.accept
    failing = [f"{own_instance.tenant}-{n}" for n in range(MAX_CONCURRENT_GROUPS)]

    async def slow(new: Sequence[RunReport]) -> dict[Name, EventRow]:
        tenants = {report.event.tenant for report in new}
        if tenants <= set(failing):
            accepting.update(tenants)
            await go_on.wait()
        return await accept(new)

    async with receiver() as broken:
        broken.otherwise = Answer(500)
        await own_instance.webhook(inbox.url)
        for tenant in failing:
            webhook = await own_instance.webhook(broken.url, tenant=tenant, retry={"schedule": []})
            await own_instance.send(id="first", tenant=tenant)
            async with asyncio.timeout(WAIT_TIMEOUT):
                while not (await own_instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()["health"]["failing"]:
                    await asyncio.sleep(0.05)
        monkeypatch.setattr(rows, "accept", slow)
        late = [asyncio.create_task(post(own_instance, "late", tenant=tenant)) for tenant in failing]
        async with asyncio.timeout(WAIT_TIMEOUT):
            while len(accepting) < MAX_CONCURRENT_GROUPS:
                await asyncio.sleep(0.01)
        async with asyncio.timeout(WAIT_TIMEOUT):
            assert (await post(own_instance, "quick")).status_code == 202
        await own_instance.until_final("quick")
        go_on.set()
        assert {(await answer).status_code for answer in late} == {202}


async def test_an_event_whose_row_lacks_its_data_can_be_posted_again_later(idle_instance: Instance) -> None:
    """The registry was restored, and a step of the run has written the row: `hookkeeper reindex` completes it."""
    assert (await post(idle_instance, "e")).status_code == 202
    async with idle_instance.store.database.write() as session:
        key = {"tenant": idle_instance.tenant}
        await session.execute(text("DELETE FROM event_inputs WHERE tenant = :tenant"), key)
    refused = problem(await post(idle_instance, "e"), 503)
    assert "hookkeeper reindex" in refused["detail"]


@pytest.mark.parametrize("data", [None, LARGE], ids=["small", "large"])
async def test_an_event_that_is_posted_again_while_its_start_hangs_is_one_event(
    own_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch, data: str | None
) -> None:
    await own_instance.webhook(inbox.url)
    gateway, go_on = own_instance.gateway, asyncio.Event()
    start, start_shared = gateway.runs.start, gateway.runs.start_shared

    async def slow(event: EventInput) -> str:
        await go_on.wait()
        return await start(event)

    async def slow_shared(shared_run: str, events: Sequence[EventInput]) -> str | None:
        await go_on.wait()
        return await start_shared(shared_run, events)

    monkeypatch.setattr(gateway.runs, "start", slow)
    monkeypatch.setattr(gateway.runs, "start_shared", slow_shared)
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
        outage.setattr(own_instance.gateway.runs, "start", fails)
        outage.setattr(own_instance.gateway.runs, "start_shared", fails)
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


async def test_overdue_events_are_not_read_while_temporal_is_away(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves: a long outage costs a count every two seconds, not the data of thousands of events."""
    monkeypatch.setattr("hookkeeper.services.starts.look_after.INTERVAL", 0.02)
    monkeypatch.setattr("hookkeeper.registry.events.event_inputs.OVERDUE", NOW)
    looking = look_after(idle_instance)
    away, reads = [True], list[str]()
    read = looking._inputs.overdue

    async def is_away() -> bool:
        reads.append("asked")
        return away[0]

    async def overdue(before: datetime, limit: int) -> list[EventRow]:
        reads.append("read")
        return await read(before, limit)

    with monkeypatch.context() as outage:
        outage.setattr(idle_instance.gateway.runs, "start", fails)
        assert (await post(idle_instance, "e", data=LARGE)).status_code == 202
        await idle_instance.settled()
    monkeypatch.setattr(looking._gateway.readiness, "is_away", is_away)
    monkeypatch.setattr(looking._inputs, "overdue", overdue)
    async with looking.running(), asyncio.timeout(WAIT_TIMEOUT):
        while len(reads) < 3:
            await asyncio.sleep(0.01)
        assert "read" not in reads
        away[0] = False
        while await looking.count():
            await asyncio.sleep(0.01)
    assert (await idle_instance.run("e").describe()).run_id


async def test_a_command_starts_the_run_of_an_event_that_has_none(
    own_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await own_instance.webhook(inbox.url)
    with monkeypatch.context() as outage:
        outage.setattr(own_instance.gateway.runs, "start", fails)
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
    row = await own_instance.store.rows.find(own_instance.tenant, "e")
    assert row
    apart = ids.run_apart(*row.name, row.accepted_at)
    assert (await own_instance.temporal.get_workflow_handle(apart).describe()).run_id == event["run_id"]
    listed = (await own_instance.http.get("/v1/events", params={"tenant": own_instance.tenant})).json()["items"]
    for shown in event, *listed:
        assert shown["workflow_id"] == apart
        assert f"/workflows/{apart}/{event['run_id']}" in shown["links"]["temporal"]


async def test_a_tenant_may_fill_half_of_what_waits_for_temporal(
    temporal: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookkeeper.registry.events.event_inputs.OVERDUE", NOW)
    async with running_instance(temporal, tmp_path, max_events_not_started=4) as instance:
        with monkeypatch.context() as outage:
            outage.setattr(instance.gateway.runs, "start", fails)
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
