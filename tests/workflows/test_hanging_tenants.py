"""A tenant with many webhooks that hang does not delay another tenant, whose webhook answers.

What is proved is order: the other tenant's request arrives while none of the hanging requests has ended.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from sqlalchemy import update
from temporalio.client import Client

from hookkeeper.registry.models import HANGING_AFTER, Webhook
from hookkeeper.registry.storage.database import open_engine
from instances import Instance, running_instance
from receivers import Receiver, receiver
from timeouts import WAIT_TIMEOUT
from workflows.batches import MAX_CONCURRENT_RETRIES

ALL_SLOTS = 20
"""Slots of a worker in one queue: a fifth of the default, so that a fifth of the requests fills them."""
HANGING = 24
"""More than that."""
SLOTS = 10
"""Slots of one tenant in one queue."""
NEW_SLOTS = 8
"""Slots for requests that were not refused before."""


@dataclass
class Gate:
    """A receiver that answers no request until it is opened."""

    first: int | None = None
    """Status of each path's first answer, which is given at once."""
    url: str = ""
    seen: set[str] = field(default_factory=set)
    waiting: list[str] = field(default_factory=list)
    """Paths of requests that wait for an answer."""
    waited: int = 0
    """Requests that have come to wait, in all."""
    ended: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_waiting(self, count: int) -> None:
        async with asyncio.timeout(WAIT_TIMEOUT):
            while len(self.waiting) < count:
                await asyncio.sleep(0.05)

    async def answer(self, request: web.Request) -> web.Response:
        if self.first and request.path not in self.seen:
            self.seen.add(request.path)
            return web.Response(status=self.first)
        self.waiting.append(request.path)
        self.waited += 1
        try:
            await self.open.wait()
        finally:
            self.waiting.remove(request.path)
            self.ended += 1
        return web.Response()


@asynccontextmanager
async def gate(first: int | None) -> AsyncIterator[Gate]:
    """Serve until the block ends."""
    state = Gate(first)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", state.answer)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    state.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield state
    finally:
        state.open.set()
        await runner.cleanup()


async def hang(instance: Instance, gate: Gate, **fields: object) -> None:
    """Post one event to each of many webhooks of another tenant."""
    tenant = f"{instance.tenant}-hostile"
    for number in range(HANGING):
        url, events = f"{gate.url}/{number}", [f"hang.n{number}"]
        await instance.webhook(url, tenant=tenant, events=events, timeout=30, **fields)
    for number in range(HANGING):
        await instance.send(f"hang.n{number}", tenant=tenant)


async def degrade_all(instance: Instance) -> None:
    """Record timeouts of each webhook, as its deliveries would."""
    engine = open_engine(instance.settings.database_url)
    async with engine.begin() as connection:
        await connection.execute(update(Webhook).values(timeouts=HANGING_AFTER))
    await engine.dispose()


@pytest.fixture
async def instance(temporal: Client, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance whose worker, where a test fails, does not wait for what hangs."""
    settings = {"max_concurrent_activities": ALL_SLOTS, "shutdown_timeout": timedelta(seconds=1)}
    async with running_instance(temporal, tmp_path, **settings) as built:
        yield built


@pytest.mark.parametrize(
    ("fields", "first"),
    [({}, None), ({"retry": {"schedule": [0.1]}}, 500)],
    ids=["first attempts", "retries"],
)
async def test_hanging_webhooks_of_one_tenant_do_not_delay_another(
    instance: Instance, inbox: Receiver, fields: dict[str, object], first: int | None
) -> None:
    """60 of them held all slots: another tenant's delivery waited for 27 s, until the first of them had timed out."""
    webhook = await instance.webhook(inbox.url, **fields)
    inbox.fails(*[first] if first else [])
    requests = 2 if first else 1
    async with gate(first) as hanging:
        await hang(instance, hanging, **fields)
        async with instance.working():
            # Requests that were refused take the rest of the slots: on a busy machine, only when others have timed out.
            await hanging.until_waiting(NEW_SLOTS)
            event = await instance.send()
            await inbox.got(requests)
            assert hanging.ended == 0
            shown = await instance.until_final(event["id"])
            assert shown["status"] == "succeeded"
            assert [attempt["number"] for attempt in shown["deliveries"][0]["attempts"]] == [1, 2][:requests]
            health = (await instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()["health"]
            assert health["failures"] == 0
            assert hanging.waited <= SLOTS
            hanging.open.set()
            async with asyncio.timeout(WAIT_TIMEOUT * 2):
                while hanging.ended < HANGING:  # none of them is lost
                    await asyncio.sleep(0.1)
    assert hanging.waited == HANGING


@pytest.mark.promise("docs/limits.md")
async def test_hanging_retries_of_one_event_leave_slots_free(instance: Instance) -> None:
    """Timeline: one event goes to many webhooks, all fail, and all retries hang. Proves: few of them are under way at
    once, a person's retry does not wait for them, and none is lost.
    """
    async with gate(first=500) as hanging, instance.working():
        for number in range(20):
            await instance.webhook(f"{hanging.url}/{number}", timeout=30, retry={"schedule": [0.1]})
        event = await instance.send()
        await hanging.until_waiting(MAX_CONCURRENT_RETRIES)
        shown = await instance.event(event["id"])
        await asyncio.sleep(1)  # more than the longest of all delays
        assert len(hanging.waiting) == MAX_CONCURRENT_RETRIES
        waiting = next(
            delivery for delivery in shown["deliveries"] if urlsplit(delivery["target"]).path not in hanging.waiting
        )
        await instance.command(event["id"], "retry", waiting["id"])
        await hanging.until_waiting(MAX_CONCURRENT_RETRIES + 1)
        hanging.open.set()
        shown = await instance.until_final(event["id"])
    assert shown["status"] == "succeeded"
    assert [len(delivery["attempts"]) for delivery in shown["deliveries"]] == [2] * 20


async def test_first_attempts_for_degraded_webhooks_leave_room(instance: Instance) -> None:
    """Timeline: one event goes to many degraded webhooks that hang, and to one that fails once. Proves: few requests
    to degraded webhooks are in flight at once, the retry of the other webhook does not wait for them, none is lost.
    """
    async with gate(first=None) as hanging, receiver() as failing, instance.working():
        failing.fails(500)
        for number in range(20):
            await instance.webhook(f"{hanging.url}/{number}", timeout=30)
        await degrade_all(instance)
        await instance.webhook(failing.url, retry={"schedule": [0.1]})
        event = await instance.send()
        await failing.got(2)
        await hanging.until_waiting(MAX_CONCURRENT_RETRIES)
        await asyncio.sleep(1)  # more than the longest of all delays
        assert len(hanging.waiting) == MAX_CONCURRENT_RETRIES
        hanging.open.set()
        shown = await instance.until_final(event["id"])
    assert shown["status"] == "succeeded"
    assert sorted(len(delivery["attempts"]) for delivery in shown["deliveries"]) == [1] * 20 + [2]
