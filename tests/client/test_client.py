"""Both clients against an API behind its real server, and against servers that fail."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

import httpx
import pytest
from sockets import serving

from hookkeeper_client import ApiError, AsyncClient, Client, HookkeeperError, Unreachable
from instances import KEY, Instance
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT

ACCEPTED = {
    **{"id": "e1", "type": "order.paid", "tenant": "acme", "status": "delivering", "duplicate": False},
    **{"workflow_id": "w", "run_id": "r", "deliveries": [], "links": {"self": "s", "temporal": None}},
}
CREATED = Answer(202, json.dumps(ACCEPTED))


class Caller:
    """Calls one of the two clients."""

    def __init__(self, is_async: bool, url: str, **options: Any) -> None:
        self.is_async, self.url = is_async, url
        kind = AsyncClient if is_async else Client
        self.client: Any = kind(url, KEY, waits=(0, 0), trust_env=False, **options)

    async def __call__(self, call: Callable[[Any], Any]) -> Any:
        """Make a call with the client; return its result."""
        if self.is_async:
            return await call(self.client)
        return await asyncio.to_thread(lambda: call(self.client))

    async def first(self, count: int, call: Callable[[Any], Any]) -> list[Any]:
        """Return the first items of a list or stream, at most `count`."""
        if not self.is_async:
            return await asyncio.to_thread(lambda: list(islice(call(self.client), count)))
        found: list[Any] = []
        async for item in call(self.client):
            found.append(item)
            if len(found) == count:
                break
        return found

    async def close(self) -> None:
        await (self.client.aclose() if self.is_async else asyncio.to_thread(self.client.close))


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def api(is_async: bool, idle_instance: Instance) -> AsyncIterator[Caller]:
    async with serving(idle_instance.app) as server:
        caller = Caller(is_async, f"http://127.0.0.1:{server.port}")
        yield caller
        await caller.close()


@pytest.fixture
async def failing(is_async: bool, inbox: Receiver) -> AsyncIterator[Caller]:
    """A caller of a server whose answers the test sets."""
    caller = Caller(is_async, inbox.url.removesuffix("/hook"))
    yield caller
    await caller.close()


async def test_a_body_has_only_the_given_fields(api: Caller, idle_instance: Instance) -> None:
    tenant = idle_instance.tenant
    made = await api(lambda c: c.create_webhook(url="http://127.0.0.1:9000/hook", tenant=tenant, events=["order.*"]))
    assert made.secret.startswith("whsec_")
    changed = await api(
        lambda c: c.change_webhook(made.id, description="Orders", url=None, emails=[{"to": ["a@b.example"]}])
    )
    assert (changed.url, changed.description, changed.events) == (None, "Orders", ["order.*"])
    assert changed.emails[0]["to"] == ["a@b.example"]
    assert changed.created_at.tzinfo is not None
    assert await api(lambda c: c.delete_webhook(made.id)) is None
    with pytest.raises(ApiError) as caught:
        await api(lambda c: c.show_webhook(made.id))
    assert caught.value.status == 404


async def test_a_repeated_event_is_accepted_once(api: Caller, idle_instance: Instance) -> None:
    event = {"type": "order.paid", "tenant": idle_instance.tenant, "data": {"order": 4711}, "id": "order-4711"}
    first = await api(lambda c: c.post_event(**event))
    again = await api(lambda c: c.post_event(**event))
    assert (first.id, first.duplicate, again.duplicate) == ("order-4711", False, True)
    batch = await api(lambda c: c.post_batch(events=[event, {"type": "order.paid"}]))
    assert [item.status for item in batch.items] == [200, 202]
    assert batch.items[1].event.id.startswith("evt_")


def create_type(client: Any, name: str) -> Any:
    return client.create_event_type(name=name, schema={"type": "object"})


async def test_a_list_is_read_to_its_end(api: Caller, idle_instance: Instance) -> None:
    for n in range(5):
        await api(partial(create_type, name=f"order.n{n}"))
    names = [each.name for each in await api.first(9, lambda c: c.list_event_types(limit=2))]
    assert names == [f"order.n{n}" for n in range(5)]
    page = await api(lambda c: c.list_event_types(limit=2).page())
    second = await api(lambda c: c.list_event_types(limit=2).page(page.next_cursor))
    assert [each.name for each in second.items] == ["order.n2", "order.n3"]
    assert second.items[0].schema_ == {"type": "object"}


async def test_a_stream_has_messages(api: Caller, idle_instance: Instance) -> None:
    (ready,) = await api.first(1, lambda c: c.stream_events(tenant=idle_instance.tenant))
    assert ready.kind == "ready"
    assert ready.id


async def test_a_program_takes_the_requests_to_an_address(api: Caller, idle_instance: Instance) -> None:
    address = await api(lambda c: c.create_forward(tenant=idle_instance.tenant))
    taking = asyncio.create_task(api.first(2, lambda c: c.stream_forwards(address.token)))
    url = httpx.URL(api.url).join(httpx.URL(address.url).path)
    async with httpx.AsyncClient(trust_env=False, timeout=WAIT_TIMEOUT) as http:
        posting = asyncio.create_task(_post_until_taken(http, url))
        ready, taken = await taking
        assert (ready.kind, ready.data, taken.kind) == ("ready", None, "request")
        assert (taken.data.headers["webhook-id"], taken.data.body) == ("evt_1", "{\u2028}")
        await api(lambda c: c.answer_forward(address.token, id=taken.data.id, status=201, body="done"))
        answer = await posting
    assert (answer.status_code, answer.text) == (201, "done")


async def _post_until_taken(http: httpx.AsyncClient, url: httpx.URL) -> httpx.Response:
    """Post to an address until a stream is open."""
    while True:
        answer = await http.post(url, headers={"webhook-id": "evt_1"}, content="{\u2028}".encode())
        if answer.status_code != 503:
            return answer
        await asyncio.sleep(0.02)


async def test_a_refusal_names_each_field(api: Caller) -> None:
    with pytest.raises(ApiError) as caught:
        await api(lambda c: c.post_event(type="no type", tenant="no tenant"))
    assert caught.value.status == 422
    assert {path for path, _ in caught.value.errors} == {"type", "tenant"}
    assert "type: " in str(caught.value)


# Servers that fail


@pytest.mark.promise("docs/python-client.md")
async def test_an_event_is_sent_again_with_the_same_id(failing: Caller, inbox: Receiver) -> None:
    inbox.answers = [Answer(503), Answer(502), CREATED]
    assert (await failing(lambda c: c.post_event(type="order.paid"))).id == "e1"
    bodies = [json.loads(request.body) for request in inbox.requests]
    assert bodies == [bodies[0]] * 3
    assert bodies[0]["id"].startswith("evt_")


@pytest.mark.promise("docs/python-client.md")
async def test_a_triggered_event_is_sent_again_with_the_id_of_the_answer(failing: Caller, inbox: Receiver) -> None:
    done = {"id": "daily", "command": "trigger", "events": ["daily-1"]}
    inbox.answers = [Answer(503, headers={"hookkeeper-event-id": "daily-1"}), Answer(202, json.dumps(done))]
    assert (await failing(lambda c: c.trigger_schedule("daily"))).events == ["daily-1"]
    assert [json.loads(request.body) for request in inbox.requests] == [{}, {"id": "daily-1"}]


@pytest.mark.promise("docs/python-client.md")
async def test_a_request_that_may_have_been_executed_is_not_repeated(failing: Caller, inbox: Receiver) -> None:
    inbox.answers = [Answer(503)]
    with pytest.raises(ApiError):
        await failing(lambda c: c.create_webhook(url="https://acme.example"))
    assert len(inbox.requests) == 1


@pytest.mark.promise("docs/python-client.md")
async def test_a_request_that_was_refused_for_now_is_repeated(failing: Caller, inbox: Receiver) -> None:
    inbox.answers = [Answer(429, headers={"retry-after": "0"}), Answer(204)]
    await failing(lambda c: c.delete_webhook("wh_1"))
    assert len(inbox.requests) == 2


@pytest.mark.promise("docs/python-client.md")
async def test_an_error_names_the_schedule_that_may_have_been_created(failing: Caller, inbox: Receiver) -> None:
    problem = {"type": "about:blank", "title": "Service Unavailable", "detail": "Try again.", "schedule_id": "daily"}
    inbox.answers = [Answer(503, json.dumps(problem))]
    with pytest.raises(ApiError) as caught:
        await failing(lambda c: c.create_schedule(every=3600, event={"type": "order.paid"}))
    assert caught.value.schedule_id == "daily"


@pytest.mark.promise("docs/python-client.md")
async def test_repetitions_end(failing: Caller, inbox: Receiver) -> None:
    inbox.otherwise = Answer(503)
    with pytest.raises(ApiError) as caught:
        await failing(lambda c: c.post_event(type="order.paid"))
    assert len(inbox.requests) == 3
    assert caught.value.event_id == json.loads(inbox.requests[0].body)["id"]


@pytest.mark.promise("docs/python-client.md")
async def test_without_an_answer_the_error_names_the_event(is_async: bool) -> None:
    caller = Caller(is_async, "http://127.0.0.1:1")
    with pytest.raises(Unreachable) as caught:
        await caller(lambda c: c.post_event(type="order.paid", id="e1"))
    assert caught.value.event_id == "e1"
    await caller.close()


@pytest.mark.promise("docs/python-client.md")
async def test_an_answer_of_another_server_is_an_error(failing: Caller, inbox: Receiver) -> None:
    inbox.otherwise = Answer(200, "<html>")
    with pytest.raises(HookkeeperError, match="is not from Hookkeeper"):
        await failing(lambda c: c.show_current_key())


@pytest.mark.promise("docs/python-client.md")
async def test_a_stream_goes_on_where_it_ended(failing: Caller, inbox: Receiver) -> None:
    ready = Answer(200, "event: ready\ndata: {}\nid: m1\nretry: 3000\n\n", {"content-type": "text/event-stream"})
    inbox.answers = [Answer(503), ready, Answer(200, ": comment\n\nid: m2\n\n"), ready]
    messages = await failing.first(2, lambda c: c.stream_events(last_event_id="m0"))
    assert [message.id for message in messages] == ["m1", "m1"]
    assert [request.headers.get("last-event-id") for request in inbox.requests] == ["m0", "m0", "m1", "m2"]


@pytest.mark.promise("docs/python-client.md")
async def test_a_stream_that_has_begun_is_opened_until_it_goes_on(failing: Caller, inbox: Receiver) -> None:
    ready = Answer(200, "event: ready\ndata: {}\n\n", {"content-type": "text/event-stream"})
    inbox.answers = [ready, *[Answer(503)] * 5, ready]
    assert [message.kind for message in await failing.first(2, lambda c: c.stream_events())] == ["ready"] * 2
    inbox.otherwise = Answer(401)
    with pytest.raises(ApiError, match="401"):
        await failing.first(2, lambda c: c.stream_events())


@pytest.mark.promise("docs/python-client.md")
async def test_a_stream_that_does_not_begin_is_an_error(failing: Caller, inbox: Receiver) -> None:
    inbox.otherwise = Answer(503)
    with pytest.raises(ApiError, match="503"):
        await failing.first(1, lambda c: c.stream_events())
    assert len(inbox.requests) == 3


@pytest.mark.promise("docs/python-client.md")
async def test_new_values_and_fields_of_an_answer_are_kept(failing: Caller, inbox: Receiver) -> None:
    inbox.answers = [Answer(202, json.dumps(ACCEPTED | {"status": "dreaming", "mood": "good"}))]
    event = await failing(lambda c: c.post_event(type="order.paid"))
    assert (event.status, event.mood) == ("dreaming", "good")


@pytest.mark.promise("docs/python-client.md")
async def test_parameters_are_written_as_the_api_reads_them(failing: Caller, inbox: Receiver) -> None:
    inbox.answers = [Answer(200, '{"items": []}')]
    since = datetime(2026, 1, 2, tzinfo=UTC)
    assert (
        await failing.first(1, lambda c: c.list_events(status=["failed", "cancelled"], total=True, since=since)) == []
    )
    assert inbox.requests[0].path == (
        "/v1/events?status=failed&status=cancelled&total=true&since=2026-01-02T00%3A00%3A00%2B00%3A00"
    )


@pytest.mark.promise("docs/python-client.md")
@pytest.mark.parametrize(
    ("id_", "path"), [("a/b?c", "/v1/suppressions/a%2Fb%3Fc"), ("ä@b", "/v1/suppressions/%C3%A4%40b")]
)
async def test_an_id_is_one_part_of_the_path(failing: Caller, inbox: Receiver, id_: str, path: str) -> None:
    inbox.answers = [Answer(204)]
    await failing(lambda c: c.delete_suppression(id_))
    assert inbox.requests[0].path == path


@pytest.mark.promise("docs/python-client.md")
@pytest.mark.parametrize("id_", ["", ".", ".."])
async def test_an_empty_id_calls_nothing_else(failing: Caller, inbox: Receiver, id_: str) -> None:
    with pytest.raises(ValueError, match="is no id"):
        await failing(lambda c: c.delete_webhook(id_))
    assert inbox.requests == []


@pytest.mark.promise("docs/python-client.md")
def test_a_url_without_a_protocol_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="must start with http"):
        Client("hooks.acme.example", KEY)


@pytest.mark.promise("docs/python-client.md")
async def test_options_are_those_of_httpx(is_async: bool, inbox: Receiver) -> None:
    caller = Caller(is_async, inbox.url.removesuffix("/hook"), headers={"user-agent": "shop/1"})
    inbox.answers = [Answer(204)]
    await caller(lambda c: c.delete_webhook("wh_1"))
    (request,) = inbox.requests
    assert (request.headers["user-agent"], request.headers["authorization"]) == ("shop/1", f"Bearer {KEY}")
    await caller.close()


@pytest.mark.promise("docs/python-client.md")
@pytest.mark.parametrize("key", ["hk_secret\n", "hk secret"])
def test_an_invalid_key_is_not_in_the_error(key: str) -> None:
    with pytest.raises(ValueError, match="invalid characters") as caught:
        Client("http://127.0.0.1", key)
    assert "secret" not in str(caught.value)
