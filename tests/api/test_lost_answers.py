"""An answer of Temporal is lost: what was asked is done once. A 503 names the id for another try."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from problems import problem
from temporalio.client import Client

from hookkeeper import temporal_names
from hookkeeper.temporal.server import error_translation
from hookkeeper.temporal.server.data_converter import data_converter
from instances import Instance, running_instance, without_registry
from receivers import Receiver
from schedules import forgotten_at_last

DAILY = {"cron": ["0 9 * * *"], "event": {"type": "report.due"}}


class MutingProxy:
    """A TCP proxy that can keep back what one side answers, while requests go through."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self._writers: set[asyncio.StreamWriter] = set()
        self._drops_answers = False

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            self._close_all()

    @contextmanager
    def dropping_answers(self) -> Iterator[None]:
        """Drop all answers within the block; afterwards connections are new, and whole."""
        self._drops_answers = True
        try:
            yield
        finally:
            self._close_all()
            self._drops_answers = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        above_reader, above_writer = await asyncio.open_connection(*self._upstream)
        self._writers |= {writer, above_writer}
        await asyncio.gather(
            self._copy(reader, above_writer, is_answer=False), self._copy(above_reader, writer, is_answer=True)
        )

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        try:
            while data := await reader.read(65536):
                if not (is_answer and self._drops_answers):
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def _close_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


@pytest.fixture
async def proxy(temporal: Client) -> MutingProxy:
    host, _, port = temporal.service_client.config.target_host.rpartition(":")
    return MutingProxy(host.removeprefix("http://"), int(port))


@pytest.fixture
async def instance(proxy: MutingProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Instance]:
    monkeypatch.setattr(error_translation, "OPERATION_TIMEOUT", 2.0)
    async with proxy.listening() as port:
        client = await Client.connect(f"127.0.0.1:{port}", data_converter=data_converter())
        async with running_instance(client, tmp_path) as instance:
            yield instance


async def runs_of(temporal: Client, instance: Instance) -> int:
    return (await temporal.count_workflows(f"{temporal_names.TENANT} = '{instance.tenant}'")).count


async def until_started(temporal: Client, instance: Instance, count: int) -> None:
    async with asyncio.timeout(60):
        while await runs_of(temporal, instance) < count:
            await asyncio.sleep(0.05)


async def post_again(instance: Instance, path: str, body: dict[str, Any], **query: str) -> Any:
    """Post until Temporal is reached again."""
    async with asyncio.timeout(60):
        while (answer := await instance.http.post(path, json=body, params=query)).status_code == 503:
            await asyncio.sleep(0.1)
    return answer


async def test_an_event_whose_start_has_no_answer_is_accepted_and_sent_once(
    instance: Instance, temporal: Client, proxy: MutingProxy, inbox: Receiver
) -> None:
    webhook = await instance.webhook(inbox.url)
    event = {"type": "order.paid", "tenant": instance.tenant, "id": "e", "data": {"n": 1}}
    test = f"/v1/webhooks/{webhook['id']}/test"
    with proxy.dropping_answers():
        assert (await instance.http.post("/v1/events", json=event)).status_code == 202
        assert (await instance.http.post(test, json={"id": "test"})).status_code == 202
        await until_started(temporal, instance, 2)  # the starts came through: only their answers are lost
    assert (await instance.http.post("/v1/events", json=event)).status_code == 200
    assert (await instance.http.post(test, json={"id": "test"})).status_code == 200
    async with instance.working():
        for event_id in ("e", "test"):
            await instance.until_final(event_id)
    assert sorted(request.webhook_id for request in inbox.requests) == ["e", "test"]
    assert await runs_of(temporal, instance) == 2


async def test_a_503_of_a_trigger_names_the_id_of_its_event(
    instance: Instance, temporal: Client, proxy: MutingProxy
) -> None:
    """The event is repeated a second later: its time stays that of the first request."""
    path, query = "/v1/schedules/daily/trigger", {"tenant": instance.tenant}
    async with forgotten_at_last(temporal):
        made = await instance.http.post("/v1/schedules", json=DAILY | query | {"id": "daily"})
        assert made.status_code == 201
        with proxy.dropping_answers():
            lost = await instance.http.post(path, params=query)
            document = problem(lost, 503)
        event_id = document["event_id"]
        assert lost.headers["hookkeeper-event-id"] == event_id
        async with instance.working():
            again = await post_again(instance, path, {"id": event_id, "overlap": "cancel_other"}, **query)
            assert (again.status_code, again.json()["events"]) == (202, [event_id])
            assert again.headers["hookkeeper-event-id"] == event_id
            await until_fired(instance, event_id)
            later = await instance.http.post(path, params=query)
            (latest,) = later.json()["events"]
            await until_fired(instance, latest)
            assert (await instance.until_final(event_id))["status"] == "no_webhook"
        fired = await fired_events(instance)
        assert sorted(fired) == sorted({event_id, latest}), "the repeated request has fired nothing"


async def fired_events(instance: Instance) -> list[str]:
    shown = (await instance.http.get("/v1/schedules/daily", params={"tenant": instance.tenant})).json()
    return [firing["event_id"] for firing in shown.get("recent", ()) if firing["status"] == "done"]


async def until_fired(instance: Instance, event_id: str) -> None:
    async with asyncio.timeout(60):
        while event_id not in await fired_events(instance):
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("event_id", "error"),
    [
        ("other-20260102T090000Z", "daily-<time>"),
        ("daily-2026", "daily-<time>"),
        ("daily-99990102T090000Z", "in the future"),
    ],
)
async def test_a_trigger_makes_no_event_of_another_schedule_or_time(
    instance: Instance, temporal: Client, event_id: str, error: str
) -> None:
    query = {"tenant": instance.tenant}
    async with forgotten_at_last(temporal):
        await instance.http.post("/v1/schedules", json=DAILY | query | {"id": "daily"})
        answer = await instance.http.post("/v1/schedules/daily/trigger", params=query, json={"id": event_id})
        assert error in problem(answer, 422, "id")["errors"][0]["detail"]


async def test_a_new_schedule_whose_answer_temporal_lost_is_one_schedule(
    instance: Instance, temporal: Client, proxy: MutingProxy
) -> None:
    """A schedule that was created twice would make each event twice."""
    schedule = DAILY | {"tenant": instance.tenant}
    async with forgotten_at_last(temporal):
        with proxy.dropping_answers():
            made = await instance.http.post("/v1/schedules", json=schedule)
        assert made.status_code == 201
        again = await post_again(instance, "/v1/schedules", schedule | {"id": made.json()["id"]})
        assert problem(again, 409)["schedule_id"] == made.json()["id"]
        listed = await instance.http.get("/v1/schedules", params={"tenant": instance.tenant})
        assert [item["id"] for item in listed.json()["items"]] == [made.json()["id"]]


async def test_a_503_of_a_new_schedule_names_its_id(instance: Instance) -> None:
    async with without_registry(instance):
        document = problem(await instance.http.post("/v1/schedules", json=DAILY | {"tenant": instance.tenant}), 503)
    assert document["schedule_id"] in document["detail"]


async def test_every_response_names_the_id_of_its_event(instance: Instance) -> None:
    http, event = instance.http, {"type": "order.paid", "tenant": instance.tenant}
    accepted = await http.post("/v1/events", json=event)
    assert accepted.headers["hookkeeper-event-id"] == accepted.json()["id"]
    own = await http.post("/v1/events", json=event, headers={"idempotency-key": "mine"})
    assert own.headers["hookkeeper-event-id"] == "mine"
    other = await http.post("/v1/events", json=event | {"id": "mine", "data": 1})
    assert problem(other, 409)["event_id"] == other.headers["hookkeeper-event-id"] == "mine"
    refused = await http.post("/v1/events", json=event | {"id": "late", "deliver_at": "2001-01-01T00:00:00Z"})
    assert problem(refused, 422, "deliver_at")["event_id"] == refused.headers["hookkeeper-event-id"] == "late"
    assert "event_id" not in (await http.get("/v1/webhooks/wh_none")).json()
