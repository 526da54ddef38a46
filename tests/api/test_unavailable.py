"""Temporal, the registry or the workers are gone. Real servers are killed; nothing is simulated."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from problems import problem
from temporalio.client import Client

import timeouts
from cloud import cloud
from drills.relays import Break, Relay, starts
from drills.stack import temporal_service
from hookkeeper.registry.store import Store
from hookkeeper.temporal.server import error_translation
from hookkeeper.temporal.server.data_converter import data_converter
from hookkeeper.times import rfc3339, utc_now
from instance_parts import new_app
from instances import KEY, Instance, another_process, running_instance
from receivers import Answer, Receiver
from temporal_processes import connected, free_ports
from timeouts import lateness

WAIT_TIMEOUT = 5.0
AWAY = {"status": "ready", "temporal": "away", "workers": "unknown"}
"""Seconds within which a 503 is promised."""


class KillableTemporal:
    """A Temporal server that can be killed and started again on the same file: no supervisor restarts it."""

    def __init__(self, folder: Path) -> None:
        self.ports = free_ports()
        self._service = temporal_service(folder, self.ports)

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._service.argv,
            env={**os.environ, **self._service.env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(timeouts.WAIT_TIMEOUT):
            while not await self._service.ready():
                await asyncio.sleep(0.05)

    async def connect(self) -> Client:
        return await connected(f"127.0.0.1:{self.ports.temporal}")

    def signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    async def kill(self) -> None:
        if self._process.returncode is None:
            self.signal(signal.SIGKILL)
        await self._process.wait()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KillableTemporal]:
    started = KillableTemporal(tmp_path)
    await started.start()
    yield started
    await started.kill()


@pytest.fixture
async def shaky(server: KillableTemporal, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance on the server that can be killed."""
    async with running_instance(await server.connect(), tmp_path) as built:
        yield built


async def all_unavailable(*requests: Coroutine[Any, Any, httpx.Response]) -> None:
    """Ask all at once: each must be a 503 in time that says when to come back."""
    begun = time.perf_counter()
    async with lateness() as late:
        for answering in asyncio.as_completed(requests):
            answer = await answering
            assert time.perf_counter() - begun < WAIT_TIMEOUT + late.seconds
            problem(answer, 503)
            assert 1 <= int(answer.headers["retry-after"]) <= 60


async def each_unavailable(instance: Instance, http: httpx.AsyncClient, count: int) -> None:
    """Post a batch: each of its events must have a 503, and the batch may not take longer than one of them."""
    begun = time.perf_counter()
    async with lateness() as late:
        answer = await post_batch(instance, http, count)
    assert time.perf_counter() - begun < WAIT_TIMEOUT + 3 + late.seconds
    assert (answer.status_code, [item["status"] for item in answer.json()["items"]]) == (207, [503] * count)


async def post_batch(instance: Instance, http: httpx.AsyncClient, count: int) -> httpx.Response:
    events = [{"type": "order.paid", "tenant": instance.tenant, "id": f"batch-{n}"} for n in range(count)]
    return await http.post("/v1/events/batch", json={"events": events})


def post(instance: Instance, event_id: str, **fields: Any) -> Coroutine[Any, Any, httpx.Response]:
    body = {"type": "order.paid", "tenant": instance.tenant, "id": event_id, **fields}
    return instance.http.post("/v1/events", json=body)


async def keep_posting(instance: Instance, name: str, statuses: dict[str, int], is_over: asyncio.Event) -> None:
    """Post events until it is over."""
    for n in range(10_000):
        if is_over.is_set():
            return
        statuses[f"{name}-{n}"] = (await post(instance, f"{name}-{n}")).status_code
        await asyncio.sleep(0.1)


async def everything_answers(instance: Instance, event_id: str) -> None:
    """Events and schedules are accepted and read; commands are 503."""
    http, query = instance.http, {"tenant": instance.tenant}
    assert (await post(instance, "new")).status_code == 202
    assert (await post(instance, event_id)).status_code == 200
    problem(await post(instance, event_id, data="other"), 409)
    assert (await http.get(f"/v1/events/{event_id}", params=query)).json()["status"] == "delivering"
    batch = (await post_batch(instance, http, 100)).json()
    assert [item["status"] for item in batch["items"]] == [202] * 100
    made = await http.post("/v1/schedules", json=query | {"event": {"type": "order.paid"}, "every": 86400})
    assert (made.status_code, made.json()["next"]) == (201, None), made.text
    path = f"/v1/schedules/{made.json()['id']}"
    await all_unavailable(
        http.post(f"/v1/events/{event_id}/cancel", params=query), http.post(f"{path}/trigger", params=query)
    )
    assert (await http.patch(path, params=query, json={"name": "x"})).json()["name"] == "x"
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, AWAY)
    assert (await http.get("/healthz")).status_code == 200
    for needs_no_temporal in ("/v1/webhooks", "/v1/events", "/v1/stats", "/v1/schedules", path):
        assert (await http.get(needs_no_temporal, params=query)).status_code == 200


async def until_ready(instance: Instance) -> None:
    """Wait until the client has connected to the server again."""
    async with asyncio.timeout(timeouts.WAIT_TIMEOUT):
        while (await instance.http.get("/readyz")).json()["temporal"] != "running":
            await asyncio.sleep(0.1)


@pytest.mark.processes
async def test_events_are_accepted_while_temporal_is_killed_and_restarted(
    server: KillableTemporal, shaky: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every event is accepted, whenever the server dies, and sent once.

    Setup: six clients that post, no worker. Timeline: kill -9 in mid-stream; events are accepted and read; the server
    starts again on its file; the same client goes on; all events are posted again; a worker delivers.
    """
    await shaky.webhook(inbox.url)
    statuses: dict[str, int] = {}
    is_over = asyncio.Event()
    posting = asyncio.gather(*(keep_posting(shaky, name, statuses, is_over) for name in "abcdef"))
    while len(statuses) < 30:
        await asyncio.sleep(0.005)
    await server.kill()
    await everything_answers(shaky, "a-0")
    is_over.set()
    await posting
    assert set(statuses.values()) == {202}
    events = [*statuses, "new", *(f"batch-{n}" for n in range(100))]

    await server.start()
    await until_ready(shaky)
    # A worker that starts in this process can hold a busy machine for longer than a request may take.
    monkeypatch.setattr("hookkeeper.services.events.ingest.ACCEPT_TIMEOUT", timeouts.WAIT_TIMEOUT)
    async with shaky.working():
        for event_id in statuses:
            assert (await post(shaky, event_id)).status_code == 200
        for event_id in events:
            assert (await shaky.until_final(event_id))["status"] == "succeeded"
    assert sorted(request.webhook_id for request in inbox.requests) == sorted(events)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up sooner: the real timeout is tested where the server is killed."""
    monkeypatch.setattr(error_translation, "OPERATION_TIMEOUT", 1.0)


@pytest.mark.promise("docs/guarantees.md")
@pytest.mark.usefixtures("impatient")
async def test_a_temporal_that_stores_no_runs_counts_as_away(temporal: Client, tmp_path: Path) -> None:
    """A Temporal whose disk is full, or whose database is read-only, answers everything but new runs.

    Timeline: one start fails, then more; Temporal stores again; the next event shows that at once.
    """
    async with cloud(temporal) as (address, frontend):
        client = await Client.connect(address, namespace=temporal.namespace, data_converter=temporal.data_converter)
        async with running_instance(client, tmp_path) as instance:
            frontend.busy = ["StartWorkflowExecution"] * 1000
            assert (await post(instance, "first")).status_code == 202
            assert (await instance.http.get("/readyz")).json()["temporal"] == "running"
            for event_id in ("second", "third"):
                assert (await post(instance, event_id, data={"x": "x" * 9000})).status_code == 202
            await instance.settled()
            assert (await instance.http.get("/readyz")).json() == AWAY
            frontend.busy.clear()
            assert (await post(instance, "fourth")).status_code == 202
            await instance.settled()
            assert (await instance.http.get("/readyz")).json()["temporal"] == "running"


@pytest.mark.processes
@pytest.mark.usefixtures("impatient")
async def test_an_event_posted_to_a_frozen_temporal_is_one_event_afterwards(
    server: KillableTemporal, shaky: Instance
) -> None:
    """It is unknown whether the server got a request that it did not answer: started again, it is one event."""
    server.signal(signal.SIGSTOP)
    try:
        assert [(await post(shaky, "frozen")).status_code for _ in range(2)] == [202, 200]
        assert (await shaky.http.get("/v1/schedules")).status_code == 200
        assert (await shaky.http.get("/readyz")).json() == AWAY
    finally:
        server.signal(signal.SIGCONT)
    async with shaky.working():
        await shaky.until_final("frozen")
    assert (await post(shaky, "frozen")).status_code == 200
    query = f"WorkflowId = '{shaky.run('frozen').id}'"
    async with asyncio.timeout(timeouts.WAIT_TIMEOUT):
        while not (count := (await shaky.temporal.count_workflows(query)).count):
            await asyncio.sleep(0.1)
    assert count == 1


@pytest.mark.processes
async def test_filters_that_fail_are_noted_in_time_while_temporal_is_frozen(
    server: KillableTemporal, shaky: Instance
) -> None:
    """Their incidents are called, which is no part of accepting the event."""
    webhooks = [await shaky.webhook("http://127.0.0.1:9000/", filter="event.data.amount > 1") for _ in range(3)]
    server.signal(signal.SIGSTOP)
    try:
        answer = await post(shaky, "unfiltered", data={})
        assert answer.status_code == 202, answer.text
        assert all(webhook["id"] in answer.json()["note"] for webhook in webhooks)
    finally:
        server.signal(signal.SIGCONT)


# The registry


@asynccontextmanager
async def without_registry(instance: Instance, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    store = Store.connect(database_url)
    app = new_app(instance.settings, store, instance.gateway)
    headers = {"authorization": f"Bearer {KEY}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hookkeeper.test", headers=headers) as http:
        yield http
    await store.close()


@pytest.fixture
async def silence() -> AsyncIterator[int]:
    """Listen on a port and never say a word, as a database behind a broken network does."""
    writers: list[asyncio.StreamWriter] = []
    listening = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    yield listening.sockets[0].getsockname()[1]
    for writer in writers:
        writer.close()
    listening.close()
    await listening.wait_closed()


@pytest.mark.parametrize("kind", ["closed port", "silent port", "no directory"])
async def test_requests_are_answered_in_time_without_the_registry(
    instance: Instance, tmp_path: Path, silence: int, kind: str
) -> None:
    url = {
        "closed port": f"postgresql+asyncpg://hook:secret-password@127.0.0.1:{free_ports().ui}/hookkeeper",
        "silent port": f"postgresql+asyncpg://hook:secret-password@127.0.0.1:{silence}/hookkeeper",
        "no directory": f"sqlite+aiosqlite:///{tmp_path}/missing/registry.db",
    }[kind]
    event = {"type": "order.paid", "tenant": instance.tenant, "id": "lost"}
    webhook = {"url": "https://acme.example/", "tenant": instance.tenant}
    async with without_registry(instance, url) as http:
        await asyncio.gather(
            all_unavailable(
                http.post("/v1/events", json=event),
                http.post("/v1/webhooks", json=webhook),
                http.get("/v1/webhooks"),
                http.get("/v1/webhooks/wh_x"),
                http.get("/v1/events"),
                http.patch("/v1/webhooks/wh_x", json={"name": "x"}),
                http.delete("/v1/webhooks/wh_x"),
                http.post("/v1/webhooks/wh_x/test"),
                http.get("/readyz"),
            ),
            each_unavailable(instance, http, 3),
        )
        assert (await http.get("/healthz")).status_code == 200
    answer = await instance.http.get("/v1/events/lost", params={"tenant": instance.tenant})
    problem(answer, 404)


# The workers


@pytest.mark.promise("docs/guarantees.md")
@pytest.mark.usefixtures("impatient")
async def test_without_a_worker_events_are_accepted_and_shown(idle_instance: Instance, inbox: Receiver) -> None:
    """A run that no worker has begun stands as it was started: under a flood, too, it need not be asked."""
    await idle_instance.webhook(inbox.url)
    assert [(await post(idle_instance, f"e{n}")).status_code for n in range(3)] == [202] * 3
    shown = await idle_instance.event("e0")
    assert (shown["status"], [delivery["status"] for delivery in shown["deliveries"]]) == ("delivering", ["pending"])
    tomorrow = rfc3339(utc_now() + timedelta(days=1))
    await idle_instance.send(id="scheduled", deliver_at=tomorrow)
    shown = await idle_instance.event("scheduled")
    assert (shown["status"], shown["deliver_at"]) == ("scheduled", tomorrow)
    query = {"tenant": idle_instance.tenant}
    await all_unavailable(idle_instance.http.post("/v1/events/e1/cancel", params=query))
    problem(await post(idle_instance, "e2", data="other"), 409)
    assert inbox.requests == []
    async with idle_instance.working():
        for n in range(3):
            await idle_instance.until_final(f"e{n}")
    assert {request.webhook_id for request in inbox.requests} >= {"e0", "e2"}


async def test_a_closed_event_can_be_read_without_a_worker(idle_instance: Instance, inbox: Receiver) -> None:
    inbox.answers = [Answer(200), Answer(500)]
    async with idle_instance.working():
        await idle_instance.webhook(inbox.url, retry={"schedule": []})
        closed = {}
        for event_id in ("succeeded", "failed"):
            await post(idle_instance, event_id)
            closed[event_id] = await idle_instance.until_final(event_id)
    for event_id, event in closed.items():
        assert await idle_instance.event(event_id) == event
        assert event["status"] == event_id
        again = await post(idle_instance, event_id)
        assert (again.status_code, again.json()["status"]) == (200, event_id)
        problem(await idle_instance.command(event_id, "cancel"), 409)


async def test_a_duplicate_of_an_open_event_is_answered_without_a_worker(
    idle_instance: Instance, inbox: Receiver
) -> None:
    await idle_instance.webhook(inbox.url)
    first = await idle_instance.send(id="open")
    answer = await post(idle_instance, "open")
    assert answer.status_code == 200
    assert answer.json() == first | {"duplicate": True}


@asynccontextmanager
async def through_relay(
    instance: Instance, drops: Literal["request", "answer"] | None = None, delay: float = 0.0
) -> AsyncIterator[Instance]:
    """Serve the same registry in another process, whose connection to Temporal breaks at each start, or is slow."""
    target = instance.temporal.service_client.config.target_host.split(":")
    relay = Relay(
        lambda: asyncio.open_connection(*target),
        "start",
        starts,
        lambda step: Break(drops, wait=0.1) if drops else None,
        delay,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(relay.close)
        server = await stack.enter_async_context(await asyncio.start_server(relay.serve, "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]
        client = await Client.connect(f"127.0.0.1:{port}", data_converter=data_converter(), lazy=True)
        yield await stack.enter_async_context(another_process(instance, temporal=client))


@pytest.mark.promise("docs/guarantees.md")
@pytest.mark.parametrize("drops", ["request", "answer"])
async def test_events_whose_start_was_interrupted_are_started_by_another_process(
    instance: Instance, inbox: Receiver, drops: Literal["request", "answer"]
) -> None:
    """Setup: a process dies between the rows of twenty events and the start of their runs, or before its answer.
    Timeline: they are posted again to another process, for which each call of Temporal takes a second; so are new ones.
    Proves: each is answered at once, and delivered once.
    """
    await instance.webhook(inbox.url)
    interrupted, new = [f"e{n}" for n in range(20)], [f"new{n}" for n in range(5)]
    async with through_relay(instance, drops) as dying:
        answers = await asyncio.gather(*(post(dying, event_id) for event_id in interrupted))
    assert {answer.status_code for answer in answers} == {202}
    async with through_relay(instance, delay=1.0) as process:
        again = await asyncio.gather(*(post(process, event_id) for event_id in [*interrupted, *new]))
    assert [answer.status_code for answer in again] == [200] * 20 + [202] * 5
    for event_id in [*interrupted, *new]:
        await instance.until_final(event_id)
    assert sorted(request.webhook_id for request in inbox.requests) == sorted([*interrupted, *new])
