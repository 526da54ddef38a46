"""Addresses whose requests a connected command line answers, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from callers import make_key
from sockets import ApiServer, serving

from api.authenticator import ADMIN
from api.problems import ServiceUnavailable
from extensions.forwarding import addresses as forwards
from extensions.forwarding.addresses import ForwardAnswer
from extensions.forwarding.routes import forwards_of
from hookkeeper.tenant_limits import STREAMS
from instances import Instance
from timeouts import WAIT_TIMEOUT

Message = tuple[str, Any]
ID = "0" * 32


@dataclass
class Line:
    """A command line with the key of a tenant and one of its addresses."""

    http: httpx.AsyncClient
    key: dict[str, Any]
    path: str

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[AsyncIterator[Message]]:
        async with self.http.stream("GET", self.path) as answer:
            if answer.status_code != 200:
                await answer.aread()
            assert answer.status_code == 200, answer.text
            messages = _messages(answer)
            assert await anext(messages) == ("ready", {})
            yield messages

    async def deliver(self, body: str = "{}") -> httpx.Response:
        """Make a request to the address, without a key."""
        async with httpx.AsyncClient(trust_env=False, timeout=WAIT_TIMEOUT) as http:
            headers = {"webhook-id": "evt_1", "x-forwarded-for": "192.0.2.1"}
            return await http.post(self.http.base_url.join(self.path), content=body, headers=headers)

    async def answer(self, **fields: Any) -> httpx.Response:
        return await self.http.patch(self.path, json={"id": ID, "status": 200} | fields)


async def _messages(answer: httpx.Response) -> AsyncIterator[Message]:
    kind = ""
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


@pytest.fixture
async def server(idle_instance: Instance, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    monkeypatch.setattr(forwards, "CHECK_INTERVAL", 0.1)
    async with serving(idle_instance.app) as running:
        yield running


@asynccontextmanager
async def connecting(
    server: ApiServer, instance: Instance, tenant: str | None, of: str | None = None, **key: Any
) -> AsyncIterator[Line]:
    """Connect with a new key of a tenant, or of all tenants, and with an address of the tenant `of`."""
    made = await make_key(instance, tenant, **key)
    headers = {"authorization": f"Bearer {made['key']}"}
    url = f"http://127.0.0.1:{server.port}"
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=WAIT_TIMEOUT) as http:
        address = await http.post("/v1/forwards", params={"tenant": of} if of else {})
        assert address.status_code == 201, address.text
        path = f"/v1/forwards/{address.json()['token']}"
        assert address.json()["url"].endswith(path)
        yield Line(http, made, path)


@pytest.fixture
async def line(server: ApiServer, idle_instance: Instance) -> AsyncIterator[Line]:
    async with connecting(server, idle_instance, idle_instance.tenant) as made:
        yield made


async def test_an_answer_goes_back_as_it_was_reported(line: Line) -> None:
    async with line.stream() as messages:
        for given, received in (
            ({"status": 418, "body": "<b>é", "retry_after": "7"}, (418, "<b>é", "7")),
            ({"status": 204, "body": "left out"}, (204, "", None)),
        ):
            delivery = asyncio.create_task(line.deliver('{"text": "é"}'))
            kind, request = await anext(messages)
            assert (kind, request["body"]) == ("request", '{"text": "é"}')
            assert request["headers"]["webhook-id"] == "evt_1"
            assert not {"x-forwarded-for", "host", "content-length"} & request["headers"].keys()
            assert (await line.answer(id=request["id"], **given)).status_code == 204
            answer = await delivery
            assert (answer.status_code, answer.text, answer.headers.get("retry-after")) == received
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert not answer.headers.get("content-type", "text/plain").startswith("text/html")
            assert (await line.answer(id=request["id"])).status_code == 404, "it was answered"


async def test_a_delivery_without_a_stream_is_answered_with_503(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeline: no stream; a stream that does not answer; a stream that has ended."""
    assert (await line.deliver()).status_code == 503
    monkeypatch.setattr(forwards, "MAX_WAIT", 0.1)
    async with line.stream():
        answer = await line.deliver()
        assert (answer.status_code, answer.json()["detail"]) == (503, "The command line has not answered in time.")
    async with asyncio.timeout(WAIT_TIMEOUT):
        while "No command line is connected" not in (await line.deliver()).text:
            await asyncio.sleep(0.05)


async def test_a_newer_stream_takes_the_requests(line: Line) -> None:
    async with line.stream() as older, line.stream() as newer:
        with pytest.raises(StopAsyncIteration):
            await anext(older)
        delivery = asyncio.create_task(line.deliver())
        _, request = await anext(newer)
        await line.answer(id=request["id"])
        assert (await delivery).status_code == 200


async def test_an_address_is_for_keys_of_its_tenant_with_the_scopes(
    server: ApiServer, idle_instance: Instance, line: Line
) -> None:
    """Another tenant does not find the address, a key without `events:read` gets no stream, a revoked key loses it."""
    async with connecting(server, idle_instance, f"{idle_instance.tenant}x") as other:
        for path in (line.path, f"/v1/forwards/{'A' * 40}"):
            assert (await other.http.get(path)).status_code == 404
            assert (await other.http.patch(path, json={"id": ID, "status": 200})).status_code == 404
        assert (await other.http.post(f"/v1/forwards/{'A' * 40}")).status_code == 404
    async with connecting(server, idle_instance, idle_instance.tenant, scopes=["webhooks:write"]) as writer:
        assert (await writer.http.get(writer.path)).status_code == 403
    async with line.stream() as messages:
        await idle_instance.http.delete(f"/v1/keys/{line.key['id']}")
        async with asyncio.timeout(WAIT_TIMEOUT):
            with pytest.raises(StopAsyncIteration):
                await anext(messages)


async def test_an_address_ends_with_the_key_that_made_it(
    server: ApiServer, idle_instance: Instance, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others of the tenant go on."""
    monkeypatch.setattr("api.authenticator.TRUSTED", 0.0)
    async with connecting(server, idle_instance, idle_instance.tenant) as other:
        assert [(await each.deliver()).status_code for each in (line, other)] == [503, 503], "no stream is open"
        await idle_instance.http.delete(f"/v1/keys/{line.key['id']}")
        assert [(await each.deliver()).status_code for each in (line, other)] == [404, 503]
        assert (await other.http.get(line.path)).status_code == 404
        assert (await other.http.patch(line.path, json={"id": ID, "status": 200})).status_code == 404


async def test_an_address_of_a_deleted_tenant_is_none_of_a_new_one_with_its_name(
    server: ApiServer, idle_instance: Instance
) -> None:
    """Although the key that made it, of all tenants, has not ended."""
    tenant, store = idle_instance.tenant, idle_instance.store
    async with connecting(server, idle_instance, None, tenant) as line:
        statuses = [(await line.deliver()).status_code]
        await store.tenants.remove(tenant)
        statuses.append((await line.deliver()).status_code)
        assert (await idle_instance.http.put(f"/v1/tenants/{tenant}", json={})).status_code == 201
        statuses.append((await line.deliver()).status_code)
        assert statuses == [503, 404, 404]
    async with connecting(server, idle_instance, None, tenant) as new:
        assert (await new.deliver()).status_code == 503


async def test_a_tenant_has_few_waiting_requests_and_another_has_its_own(
    server: ApiServer, idle_instance: Instance, line: Line
) -> None:
    async with (
        connecting(server, idle_instance, f"{idle_instance.tenant}x") as other,
        line.stream() as messages,
        other.stream() as of_other,
    ):
        waiting = [asyncio.create_task(line.deliver()) for _ in range(forwards.WAITING.most)]
        requests = [await anext(messages) for _ in waiting]
        refused = await line.deliver()
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        delivery = asyncio.create_task(other.deliver())
        _, request = await anext(of_other)
        await other.answer(id=request["id"])
        assert (await delivery).status_code == 200
        for _, request in requests:
            await line.answer(id=request["id"])
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}


async def test_large_requests_of_a_tenant_are_few_and_another_has_its_own(
    server: ApiServer, idle_instance: Instance, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large request holds the event loop for a moment. Those within the limit are 503: no stream is open."""
    monkeypatch.setattr(forwards, "REQUESTS", forwards.REQUESTS._replace(rate="20/hour"))
    large = "\x01" * (16 * forwards.COUNTED_BYTES)
    assert [(await line.deliver(large)).status_code for _ in range(2)] == [503, 429]
    assert int((await line.deliver(large)).headers["retry-after"]) > 0
    assert [(await line.deliver()).status_code for _ in range(4)] == [503, 503, 503, 429]
    async with connecting(server, idle_instance, f"{idle_instance.tenant}x") as other:
        assert (await other.deliver(large)).status_code == 503


async def test_a_request_is_kept_only_while_it_waits(idle_instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeline: a command line reads nothing; one request ends; another waits."""
    kept = forwards_of(idle_instance.app.state.api)
    token = await kept.new(idle_instance.tenant, ADMIN)

    with kept.stream(token, ADMIN) as stream:
        messages = kept.messages(token, stream, ADMIN)
        assert (await anext(messages)).event == "ready"
        monkeypatch.setattr(forwards, "MAX_WAIT", 0.01)
        with pytest.raises(ServiceUnavailable):
            await kept.deliver(token, {}, b"old")
        monkeypatch.undo()
        delivery = asyncio.create_task(kept.deliver(token, {}, b"new"))
        request = json.loads((await anext(messages)).raw_data or "")
        assert request["body"] == "new"
        kept.answer(token, ForwardAnswer(id=request["id"], status=200))
        assert (await delivery).status == 200


async def test_streams_of_addresses_count_as_streams_of_the_tenant(
    server: ApiServer, idle_instance: Instance, line: Line
) -> None:
    limit = idle_instance.app.state.api.feed.limit
    for _ in range(STREAMS.per_tenant):
        assert limit.acquire_now(idle_instance.tenant)
    assert (await line.http.get(line.path)).status_code == 429


async def test_a_server_that_stops_ends_streams_and_waits(idle_instance: Instance) -> None:
    async with (
        serving(idle_instance.app) as server,
        connecting(server, idle_instance, idle_instance.tenant) as line,
        line.stream() as messages,
    ):
        delivery = asyncio.create_task(line.deliver())
        await anext(messages)
        server.uvicorn.should_exit = True
        assert (await delivery).status_code == 503
        with pytest.raises(StopAsyncIteration):
            await anext(messages)


async def test_no_stream_begins_after_streams_have_ended(idle_instance: Instance) -> None:
    """The streams of the process are made for its first address, here after the server began to stop."""
    state = idle_instance.app.state.api
    state.end_streams()
    with pytest.raises(ServiceUnavailable), forwards_of(state).stream("token", ADMIN):
        pass
