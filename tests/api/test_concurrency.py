"""What one tenant asks of the API at once delays that tenant only."""

import asyncio
import json
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import email_validator
import httpx
import pytest
from callers import calling, make_key
from fastapi import FastAPI
from problems import problem
from sockets import Connection, connected, not_reading, serving
from temporalio.client import Client
from temporalio.client import Client as Temporal

from api import limits
from api.limits import WAITING_PER_SLOT
from api.requests import PARSED_ON_LOOP
from api.strict_json import parse
from hookkeeper.content import emails as email_content
from hookkeeper.registry.models import Webhook
from hookkeeper.tenant_limits import POSTS
from instance_parts import new_app
from instances import KEY, Instance, running_instance
from timeouts import WAIT_TIMEOUT, pauses

AT_ONCE = 2
JSON = {"content-type": "application/json"}
BODY = b'{"type": "a"}'
URL = "https://acme.example/hook"


@pytest.fixture
def head() -> bytes:
    """The head of a POST whose body is still to come."""
    return b"POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(
        BODY
    )


def handled(app: FastAPI, tenant: str) -> int:
    """Return how many requests of a tenant are handled or waiting."""
    limit = app.state.api.concurrency.limit
    return int(limit.held(tenant) + limit.waiting(tenant))


async def begin(client: Connection, head: bytes, key: str) -> None:
    """Send a request but for its body, which the route waits for."""
    client.send(head + f"authorization: Bearer {key}\r\n\r\n".encode())


@pytest.mark.promise("docs/limits.md")
async def test_concurrent_requests_of_one_tenant_delay_no_other(
    temporal: Temporal, tmp_path: Path, head: bytes
) -> None:
    """Setup: two requests of a tenant are handled at once. Timeline: two of its bodies do not come; then it asks more.
    Proves: another tenant is answered meanwhile, the further requests wait or are refused, and go on after.
    """
    async with running_instance(temporal, tmp_path, max_concurrent_requests_per_tenant=AT_ONCE) as instance:
        busy, other = [(await make_key(instance, tenant))["key"] for tenant in ("busy", "other")]
        app = new_app(instance.settings, instance.store, instance.gateway)
        async with (
            serving(app) as server,
            connected(server.port) as first,
            connected(server.port) as second,
            calling(app, busy) as http,
            calling(app, other) as neighbour,
        ):
            for client in (first, second):
                await begin(client, head, busy)
            async with asyncio.timeout(WAIT_TIMEOUT):
                while handled(app, "busy") < AT_ONCE:
                    await asyncio.sleep(0.01)
            waiting = [asyncio.create_task(http.get("/v1/event-types")) for _ in range(AT_ONCE * WAITING_PER_SLOT)]
            async with asyncio.timeout(WAIT_TIMEOUT):
                while handled(app, "busy") < AT_ONCE * (1 + WAITING_PER_SLOT):
                    await asyncio.sleep(0.01)
            refused = await http.get("/v1/event-types")
            problem(refused, 429)
            assert refused.headers["retry-after"] == "1"
            assert (await neighbour.get("/v1/event-types")).status_code == 200
            assert not any(task.done() for task in waiting), "they go on when a slot is free"
            for client in (first, second):
                client.send(BODY)
            assert {(await client.answer())[0] for client in (first, second)} == {202}
            assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
            assert handled(app, "busy") == 0


@pytest.mark.parametrize("path", ["/v1/events", "/api/v1/app/acme/msg"])
async def test_posts_beyond_what_a_process_accepts_are_refused_unread(
    idle_instance: Instance, head: bytes, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Setup: a key may have two posts in progress, whose bodies do not come. Timeline: it posts more, then these come.
    Proves: further posts are refused though their bodies do not come either; other requests, other keys and batches are
    answered meanwhile; once there is room, a post waits for it and is accepted.
    """
    monkeypatch.setattr(limits, "POSTS", POSTS._replace(total=4))
    monkeypatch.setattr(limits, "POST_TIMEOUT", 0.01)
    instance = idle_instance
    app = new_app(instance.settings, instance.store, instance.gateway)
    key = (await make_key(instance, "acme"))["key"]
    async with AsyncExitStack() as opened:
        server = await opened.enter_async_context(serving(app))
        first, second, third = [await opened.enter_async_context(connected(server.port)) for _ in range(3)]
        operator, tenant = [await opened.enter_async_context(calling(app, key)) for key in (KEY, key)]
        for client in (first, second):
            await begin(client, head, KEY)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while (refused := await operator.post(path, content="no JSON", headers=JSON)).status_code != 503:
                await asyncio.sleep(0.01)
        assert refused.json()["detail"].startswith("Too many events"), refused.text
        assert refused.headers["retry-after"] == "5"
        await begin(third, head, KEY)
        assert (await third.answer())[0] == 503, "its body is not read"
        batch = await operator.post("/v1/events/batch", json={"events": [{"type": "a"}]})
        assert [item["status"] for item in batch.json()["items"]] == [202]
        assert (await operator.get("/v1/events")).status_code == 200
        assert (await tenant.post("/v1/events", json={"type": "a"})).status_code == 202
        monkeypatch.setattr(limits, "POST_TIMEOUT", WAIT_TIMEOUT)
        waiting = asyncio.create_task(operator.post("/v1/events", json={"type": "a"}))
        await operator.get("/v1/events")
        assert not waiting.done()
        first.send(BODY)
        assert ((await first.answer())[0], (await waiting).status_code) == (202, 202)


@pytest.mark.parametrize("part", ["[]", "[0]", '{"":0}', '""', "0"])
async def test_small_bodies_of_many_values_are_parsed_in_a_thread(
    temporal: Temporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """57 KB of empty lists took 13 ms: a tenant that posts them, at its rate, held the event loop all the time."""
    threads: list[threading.Thread] = []

    def noted(body: bytes, *, is_batch: bool = False) -> Any:
        threads.append(threading.current_thread())
        return parse(body, is_batch=is_batch)

    monkeypatch.setattr("api.requests.parse", noted)
    async with running_instance(temporal, tmp_path) as instance:
        hostile = f'{{"delivery": [{",".join([part] * 6_000)}]}}'
        answer = await instance.http.post("/v1/events/x/retry", content=hostile, headers=JSON)
        problem(answer, 422, "delivery")
        ordinary = {"type": "a", "tenant": instance.tenant, "data": "x" * 1_000}
        assert (await instance.http.post("/v1/events", json=ordinary)).status_code == 202
    own = threading.current_thread()
    assert [thread is own for thread in threads] == [False, True]


async def test_unread_answers_occupy_the_slots_of_their_tenant(
    temporal: Temporal, tmp_path: Path, make_webhook: Callable[..., Webhook]
) -> None:
    """Setup: two requests of a tenant are handled at once. Timeline: it reads nothing of two long answers.
    Proves: its next request waits until one of them is read, while another tenant is answered.
    """
    async with running_instance(temporal, tmp_path, max_concurrent_requests_per_tenant=AT_ONCE) as instance:
        busy, other = [(await make_key(instance, tenant))["key"] for tenant in ("busy", "other")]
        for number in range(4):
            await instance.store.webhooks.add(make_webhook(f"wh_{number}", "busy", description="x" * 60_000))
        app = new_app(instance.settings, instance.store, instance.gateway)
        ask = f"GET /v1/webhooks HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {busy}\r\n\r\n".encode()
        async with (
            serving(app) as server,
            not_reading(server) as first,
            not_reading(server) as second,
            calling(app, busy) as http,
            calling(app, other) as neighbour,
        ):
            for client in (first, second):
                client.send(ask)
            async with asyncio.timeout(WAIT_TIMEOUT):
                while len(server.unread) < AT_ONCE:
                    await asyncio.sleep(0.01)
            waiting = asyncio.create_task(http.get("/v1/event-types"))
            assert (await neighbour.get("/v1/event-types")).status_code == 200
            await asyncio.sleep(0.2)
            assert (handled(app, "busy"), waiting.done()) == (AT_ONCE + 1, False)
            first.writer.transport.resume_reading()  # type: ignore[attr-defined]
            status, body = await first.answer()
            assert (status, len(json.loads(body)["items"])) == (200, 4)
            assert (await waiting).status_code == 200
            second.writer.transport.abort()
            async with asyncio.timeout(WAIT_TIMEOUT):
                while handled(app, "busy"):
                    await asyncio.sleep(0.01)


async def test_an_open_stream_holds_no_slot(temporal: Temporal, tmp_path: Path) -> None:
    async with running_instance(temporal, tmp_path, max_concurrent_requests_per_tenant=AT_ONCE) as instance:
        key = (await make_key(instance, "busy"))["key"]
        app = new_app(instance.settings, instance.store, instance.gateway)
        ask = f"GET /v1/events/stream HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n\r\n".encode()
        async with AsyncExitStack() as stack, serving(app) as server, calling(app, key) as http:
            for _ in range(AT_ONCE + 1):
                client = await stack.enter_async_context(connected(server.port))
                client.send(ask)
                async with asyncio.timeout(WAIT_TIMEOUT):
                    await client.reader.readuntil(b"event: ready")
            assert (await http.get("/v1/event-types")).status_code == 200
            assert handled(app, "busy") == 0


async def test_large_bodies_of_one_tenant_keep_no_thread_from_another(
    temporal: Temporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: parsing hangs for one tenant, which posts more large bodies than Python has threads for such work.
    Proves: another tenant's large body is parsed meanwhile, and all go on afterwards.
    """
    go_on = threading.Event()

    def hang_for_one(body: bytes, *, is_batch: bool = False) -> Any:
        if b"hangs" in body:
            go_on.wait(WAIT_TIMEOUT)
        return parse(body, is_batch=is_batch)

    monkeypatch.setattr("api.requests.parse", hang_for_one)
    async with running_instance(temporal, tmp_path, max_concurrent_requests_per_tenant=40) as instance:
        busy, other = [(await make_key(instance, tenant))["key"] for tenant in ("busy", "other")]
        large = "x" * (PARSED_ON_LOOP + 1)
        async with calling(instance.app, busy) as http, calling(instance.app, other) as neighbour:
            events = [{"id": f"hangs-{n}", "type": "a", "data": ["hangs", large]} for n in range(40)]
            hanging = [asyncio.create_task(http.post("/v1/events", json=event)) for event in events]
            async with asyncio.timeout(WAIT_TIMEOUT):
                while handled(instance.app, "busy") < len(hanging):
                    await asyncio.sleep(0.01)
            try:
                async with asyncio.timeout(WAIT_TIMEOUT / 2):
                    answer = await neighbour.post("/v1/events", json={"type": "a", "data": large})
                assert answer.status_code == 202
                assert not any(task.done() for task in hanging)
            finally:
                go_on.set()
            for event, answer in zip(events, await asyncio.gather(*hanging), strict=True):
                assert answer.status_code in (202, 503), answer.text
                if (
                    answer.status_code == 503
                ):  # a busy machine: it may have been accepted, and is one event with this id
                    await post_again(http, event | {"id": answer.headers["hookkeeper-event-id"]})


async def post_again(http: httpx.AsyncClient, event: dict[str, Any]) -> None:
    """Post an event that may have been accepted until it is. With its id, it stays one event."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        async for _ in pauses():
            answer = await http.post("/v1/events", json=event)
            assert answer.status_code in (200, 202, 503), answer.text
            if answer.status_code != 503:
                return


def emails(*counts: int) -> list[dict[str, Any]]:
    return [{"to": [f"a{n}@acme.example" for n in range(count)]} for count in counts]


async def test_the_addresses_of_a_webhook_are_bounded_together(idle_instance: Instance) -> None:
    """Addresses of `on_failure` count too, and addresses that a change leaves as they are."""
    path, body = "/v1/webhooks", {"tenant": idle_instance.tenant, "url": URL}
    problem(await idle_instance.http.post(path, json=body | {"emails": emails(50, 50, 1)}), 422, "emails")
    on_failure = {"emails": emails(50)}
    answer = await idle_instance.http.post(path, json=body | {"emails": emails(50, 1), "on_failure": on_failure})
    problem(answer, 422, "emails")
    made = await idle_instance.webhook(URL, emails=emails(50), on_failure=on_failure)
    problem(await idle_instance.http.patch(f"{path}/{made['id']}", json={"emails": emails(50, 1)}), 422, "emails")
    assert (await idle_instance.http.patch(f"{path}/{made['id']}", json={"emails": emails(49)})).status_code == 200
    other = await idle_instance.webhook(URL, tenant=f"{idle_instance.tenant}-other", emails=emails(50, 50))
    assert len(other["emails"]) == 2


async def test_too_many_addresses_are_refused_before_any_is_read(instance: Instance) -> None:
    """None of these is an address, and the answer says only that they are too many."""
    body = {"tenant": instance.tenant, "emails": [{"to": ["none"] * 50}] * 10}
    (error,) = problem(await instance.http.post("/v1/webhooks", json=body), 422, "emails")["errors"]
    assert "500 addresses" in error["detail"]


async def test_an_address_is_validated_once_and_off_the_event_loop(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a webhook trusts what is stored; a preview of an unsaved one delays no other request."""
    threads: list[int] = []
    validate = email_validator.validate_email

    def counted(*given: Any, **options: Any) -> Any:
        threads.append(threading.get_ident())
        return validate(*given, **options)

    monkeypatch.setattr(email_content, "validate_email", counted)
    made = await idle_instance.webhook(URL, emails=emails(50, 50))
    assert len(threads) == 100
    for _ in range(3):
        assert await idle_instance.store.webhooks.get(made["id"])
        assert (await idle_instance.http.get(f"/v1/webhooks/{made['id']}")).status_code == 200
        assert await idle_instance.store.webhooks.matching(idle_instance.tenant, "order.paid")
    assert len(threads) == 100
    unsaved = {"tenant": idle_instance.tenant, "emails": emails(10)}
    assert (await idle_instance.http.post("/v1/webhooks/preview", json={"webhook": unsaved})).status_code == 200
    assert len(threads) == 110
    assert threading.get_ident() not in threads


async def test_a_key_has_a_rate_limit_by_default(temporal: Client, tmp_path: Path) -> None:
    """A hundred requests a second, and another tenant's key has a hundred of its own."""
    async with running_instance(temporal, tmp_path) as instance:
        assert instance.settings.rate_limit == "100/second"
        first, second = [await make_key(instance, f"{instance.tenant}{n}") for n in "ab"]
        async with calling(instance.app, first["key"]) as http, calling(instance.app, second["key"]) as other:
            statuses: list[int] = []
            while 429 not in statuses:  # a busy machine makes fewer than a hundred a second
                async with asyncio.TaskGroup() as group:
                    asked = [group.create_task(http.get("/v1/webhooks")) for _ in range(150)]
                statuses = [task.result().status_code for task in asked]
            assert (await other.get("/v1/webhooks")).status_code == 200


@pytest.mark.parametrize("most", [2])
async def test_a_tenant_with_its_maximum_of_webhooks_affects_no_other(
    temporal: Client, tmp_path: Path, most: int
) -> None:
    async with running_instance(temporal, tmp_path, max_webhooks_per_tenant=most) as instance:
        for _ in range(most):
            await instance.webhook(URL)
        problem(await instance.http.post("/v1/webhooks", json={"tenant": instance.tenant, "url": URL}), 409)
        assert (await instance.webhook(URL, tenant=f"{instance.tenant}-other"))["id"]
