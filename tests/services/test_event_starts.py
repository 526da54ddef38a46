"""Tenants take turns in starting runs. An event that is posted again waits for the start of its run, or replaces it."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest

from hookkeeper.messages.event import EventInput
from hookkeeper.services import event_starts
from hookkeeper.services.event_starts import MAX_CONCURRENT_STARTS
from hookkeeper.services.start_queue import MAX_EVENT_BYTES
from hookkeeper.temporal.events.own_runs import EventSnapshot
from hookkeeper.temporal.server.error_translation import Unavailable
from instances import Instance, another_process
from receivers import Receiver


async def test_a_flood_of_one_tenant_delays_no_start_of_another(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tenant's starts hang, as many as it may have; another's event is accepted all the same. None shares a run."""
    start, go_on, hanging = idle_instance.gateway.start, asyncio.Event(), list[str]()

    async def hangs_for_one(event: EventInput) -> EventSnapshot:
        if event.tenant == idle_instance.tenant:
            hanging.append(event.id)
            await go_on.wait()
        return await start(event)

    monkeypatch.setattr(idle_instance.gateway, "start", hangs_for_one)
    large = "x" * MAX_EVENT_BYTES
    flood = [asyncio.create_task(idle_instance.send(data=large)) for _ in range(MAX_CONCURRENT_STARTS)]
    while len(hanging) < MAX_CONCURRENT_STARTS // 2:
        await asyncio.sleep(0.01)
    other = await idle_instance.send(tenant=f"{idle_instance.tenant}-other", data=large)
    assert other["duplicate"] is False
    assert len(hanging) == MAX_CONCURRENT_STARTS // 2
    go_on.set()
    accepted = await asyncio.gather(*flood)
    assert len({event["run_id"] for event in accepted}) == MAX_CONCURRENT_STARTS


async def test_an_event_that_is_posted_again_waits_for_the_start_of_its_shared_run_however_long_it_takes(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: the start of a shared run takes longer than a start of another process is waited for.
    Timeline: the request of one of its events breaks off; the event is posted again. Proves: it is not moved to
    another run.
    """
    start, go_on, starting = idle_instance.gateway.start_shared, asyncio.Event(), list[str]()

    async def slow(shared_run: str, events: Sequence[EventInput]) -> str | None:
        starting.extend(event.id for event in events)
        await go_on.wait()
        return await start(shared_run, events)

    monkeypatch.setattr(idle_instance.gateway, "start_shared", slow)
    monkeypatch.setattr(event_starts, "START_TIME", timedelta(0))
    requests = {f"e{n}": asyncio.create_task(idle_instance.send(id=f"e{n}")) for n in range(6)}
    while len(starting) < 2:
        await asyncio.sleep(0.01)
    broken_off = starting[0]
    requests.pop(broken_off).cancel()
    again = asyncio.create_task(idle_instance.send(id=broken_off))
    await asyncio.sleep(0.3)
    assert not again.done()
    go_on.set()
    accepted = {event["id"]: event for event in await asyncio.gather(*requests.values())}
    assert (await again)["run_id"] == accepted[starting[1]]["run_id"]


class HangingStart:
    """The starts of an instance's shared runs, which hang until they may go on, and the requests that wait for them."""

    def __init__(self, instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = asyncio.Event()
        self.events: list[str] = []
        self.requests: list[asyncio.Task[dict[str, Any]]] = []
        self._instance = instance
        self._start = instance.gateway.start_shared
        monkeypatch.setattr(instance.gateway, "start_shared", self._hang)

    async def _hang(self, shared_run: str, events: Sequence[EventInput]) -> str | None:
        if events:
            self.events.extend(event.id for event in events)
            await self.go_on.wait()
        return await self._start(shared_run, events)

    async def begin(self) -> None:
        """Post events; return when all but those that are alone are in starts that hang."""
        names = [f"e{n}" for n in range(6)]
        self.requests = [asyncio.create_task(self._instance.send(id=name)) for name in names]
        while len(self.events) + sum(request.done() for request in self.requests) < len(names):
            await asyncio.sleep(0.01)
        assert len(self.events) > 1

    async def end(self) -> list[dict[str, Any]]:
        """Let the starts go on; return what the requests are answered."""
        self.go_on.set()
        return await asyncio.gather(*self.requests)


async def post(instance: Instance, event_id: str) -> httpx.Response:
    event = {"type": "order.paid", "tenant": instance.tenant, "id": event_id}
    return await instance.http.post("/v1/events", json=event)


async def all_delivered_once(instance: Instance, inbox: Receiver) -> None:
    for n in range(6):
        await instance.until_final(f"e{n}")
    assert sorted(request.webhook_id for request in inbox.requests) == [f"e{n}" for n in range(6)]


@pytest.mark.parametrize("is_cut", [True, False], ids=["cut", "slow"])
async def test_events_whose_start_is_taken_over_are_delivered_once(
    own_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch, is_cut: bool
) -> None:
    """Setup: the start of a shared run hangs in one process. Timeline: its events are posted to another process, whose
    starts fail, or hang longer than those of the first.
    """
    monkeypatch.setattr(event_starts, "START_TIME", timedelta(0))
    await own_instance.webhook(inbox.url)
    first, go_on = HangingStart(own_instance, monkeypatch), asyncio.Event()
    await first.begin()
    async with another_process(own_instance) as other:
        start, start_shared, reached = other.gateway.start, other.gateway.start_shared, list[Any]()

        async def hangs(begin: Any, *arguments: Any) -> Any:
            if arguments[-1]:  # events, not a block
                reached.append(arguments)
                await go_on.wait()
                if is_cut:
                    raise Unavailable("this process is cut off")
            return await begin(*arguments)

        monkeypatch.setattr(other.gateway, "start", lambda event: hangs(start, event))
        monkeypatch.setattr(other.gateway, "start_shared", lambda *arguments: hangs(start_shared, *arguments))
        again = [asyncio.create_task(post(other, event_id)) for event_id in first.events]
        while not reached:
            await asyncio.sleep(0.01)
        if is_cut:
            go_on.set()
            assert {answer.status_code for answer in await asyncio.gather(*again)} == {503}
        await first.end()
        for event_id in first.events:
            await own_instance.until_final(event_id)
        go_on.set()
        await asyncio.gather(*again)
    await all_delivered_once(own_instance, inbox)


async def test_a_start_that_is_ahead_of_its_replacement_is_the_answer(
    own_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: another process finds no run for the events of a start that hangs; then the run is started."""
    monkeypatch.setattr(event_starts, "START_TIME", timedelta(0))
    await own_instance.webhook(inbox.url)
    first = HangingStart(own_instance, monkeypatch)
    await first.begin()
    async with another_process(own_instance) as other:
        known = other.gateway.known

        async def looks_too_early(*event: str) -> EventSnapshot | None:
            found = await known(*event)
            await first.end()
            return found

        monkeypatch.setattr(other.gateway, "known", looks_too_early)
        again = await asyncio.gather(*(other.send(id=event_id) for event_id in first.events))
    runs = {event["id"]: event["run_id"] for event in await first.end()}
    assert [event["run_id"] for event in again] == [runs[event_id] for event_id in first.events]
    await all_delivered_once(own_instance, inbox)
