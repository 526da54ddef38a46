"""The stream of events over real sockets: what it shows to whom, how it is resumed, and what ends it."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from callers import make_key
from sockets import ApiServer, connected, serving
from streams import PATH, Stream, opened

from api.state import ApiState
from api.streams import feed, subscription
from api.streams.feed import CHANGES_PER_STEP, DELIVERIES_PER_STEP, divided, merged, steps
from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.rows import EventKey, EventRow
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.events import change_log
from hookkeeper.registry.events.change_log import Change, Position
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.statuses import DeliveryStatus
from hookkeeper.tenant_limits import STREAMS
from hookkeeper.times import utc_now
from instances import KEY, Instance
from reports import reported
from timeouts import WAIT_TIMEOUT

BEGIN = utc_now() - timedelta(minutes=10)
ACCEPTED_AT = datetime(2026, 1, 2, tzinfo=UTC)
MANY = tuple(f"wh_{n}" for n in range(DELIVERIES_PER_STEP))


@dataclass
class Api:
    instance: Instance
    server: ApiServer
    other: str
    """Another tenant."""
    keys: dict[str, dict[str, Any]]

    @asynccontextmanager
    async def stream(
        self, tenant: str | None = None, *, last_id: str = "", key: str = "", is_live: bool = True, **query: Any
    ) -> AsyncIterator[Stream]:
        """Open a stream with a tenant's key, or with the admin key; by default, wait until it is live."""
        key = key or (self.keys[tenant]["key"] if tenant else KEY)
        async with opened(self.server.port, key, last_id, **query) as stream:
            if is_live:
                assert (await stream.next()).kind == "ready"
            yield stream

    async def write(self, *ids: str, tenant: str = "", type_: str = "order.paid", attempts: int = 0) -> None:
        """Write reports of events to the index, with a delivery that has had this many failed attempts."""
        await self.instance.store.rows.write([report(id_, tenant or self.mine, type_, attempts) for id_ in ids])

    @property
    def mine(self) -> str:
        return self.instance.tenant

    @property
    def feed(self) -> feed.ChangeFeed:
        state: ApiState = self.instance.app.state.api
        return state.feed


def report(id_: str, tenant: str, type_: str = "order.paid", attempts: int = 0, deliveries: int = 1) -> RunReport:
    status: DeliveryStatus = "retrying" if attempts else "pending"
    made = tuple(
        Attempt(number=n, started_at=BEGIN, duration_ms=5, status_code=503, error="http_503")
        for n in range(1, attempts + 1)
    )
    as_of = BEGIN + timedelta(seconds=attempts)
    parts = tuple(Delivery(id=f"wh_{n}", webhook_id=f"wh_{n}", status=status, attempts=made) for n in range(deliveries))
    return reported(tenant, id_, BEGIN, as_of, parts, type=type_, needs_attention=bool(attempts))


@pytest.fixture
async def api(idle_instance: Instance, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(feed, "INTERVAL", 0.05)
    monkeypatch.setattr(feed, "CHECK_INTERVAL", 0.1)
    other = f"{idle_instance.tenant}x"
    keys = {tenant: await make_key(idle_instance, tenant) for tenant in (idle_instance.tenant, other)}
    async with serving(idle_instance.app) as server:
        yield Api(idle_instance, server, other, keys)


@pytest.mark.promise("docs/api.md")
async def test_a_stream_shows_new_events_and_outcomes(api: Api) -> None:
    await api.write("before")
    async with api.stream(api.mine) as stream:
        await api.write("e1")
        new = (await stream.next()).data
        await api.write("e1", attempts=1)
        failed = (await stream.next()).data
        await api.write("e1", attempts=1)  # nothing new, as when a record is repeated
        await api.write("e2")
        assert (await stream.next()).data["id"] == "e2"
    assert (new["id"], new["is_new"], new["deliveries"][0]["status"]) == ("e1", True, "pending")
    assert (failed["id"], failed["is_new"], failed["needs_attention"]) == ("e1", False, True)
    outcome = {name: failed["deliveries"][0][name] for name in ("id", "status", "attempts", "status_code", "error")}
    assert outcome == {"id": "wh_0", "status": "retrying", "attempts": 1, "status_code": 503, "error": "http_503"}
    assert new["links"]["temporal"] is failed["links"]["temporal"] is None, "of the web UI, which is the operator's"


@pytest.mark.promise("docs/api.md")
async def test_a_stream_shows_a_key_its_tenant_and_an_operator_all_or_one(api: Api) -> None:
    async with (
        api.stream(api.mine) as mine,
        api.stream(api.other) as others,
        api.stream() as everything,
        api.stream(tenant=api.other) as of_other,
    ):
        await api.write("a", tenant=api.mine)
        await api.write("b", tenant=api.other)
        await api.write("c", tenant=api.mine)
        await api.write("d", tenant=api.other)
        assert await mine.ids(2) == ["a", "c"]
        assert await others.ids(2) == await of_other.ids(2) == ["b", "d"]
        assert await everything.ids(4) == ["a", "b", "c", "d"]


async def test_a_stream_shows_what_its_filters_match(api: Api) -> None:
    await api.instance.store.rows.write([report("e0", api.mine, deliveries=2)])
    async with (
        api.stream(api.mine, type="a.b") as of_type,
        api.stream(api.mine, webhook="wh_1") as of_webhook,
        api.stream(api.mine, delivery_status="retrying") as retrying,
        api.stream(api.mine, status="failed") as none,
    ):
        await api.write("e1", type_="a.b")
        await api.write("e2", attempts=1)
        await api.instance.store.rows.write([report("e3", api.mine, deliveries=2)])
        assert await of_type.ids(1) == ["e1"]
        assert await retrying.ids(1) == ["e2"]
        assert await of_webhook.ids(1) == ["e3"]
        api.feed.close()
        assert await none.ends() == []


@pytest.mark.promise("docs/api.md")
async def test_a_stream_is_resumed_without_gap_or_repetition(api: Api) -> None:
    seen: list[tuple[str, str]] = []
    last_id = ""

    async def read(number: int) -> None:
        nonlocal last_id
        async with api.stream(api.mine, last_id=last_id, is_live=not last_id) as stream:
            last_id = stream.last_id or last_id
            while number:
                message = await stream.next()
                last_id = stream.last_id
                if message.kind == "event":
                    seen.append((message.data["id"], message.id))
                    number -= 1
                else:
                    assert message.kind == "ready"

    await read(0)
    await api.write(*(f"e{n}" for n in range(4)))  # one write, of which a reader takes a part
    await api.write("theirs", tenant=api.other)
    await api.write("e4")
    await read(2)
    await api.write("e5", "e6")
    await read(1)
    await read(4)
    assert [id_ for id_, _ in seen] == [f"e{n}" for n in range(7)]
    assert len({message_id for _, message_id in seen}) == 7
    async with api.stream(api.mine, last_id=last_id) as stream:
        await api.write("e7")
        assert await stream.ids(1) == ["e7"]


async def test_a_resumed_stream_says_if_too_much_has_happened(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async with api.stream(api.mine) as stream:
        first = stream.last_id
    monkeypatch.setattr(feed, "MAX_MISSED", 2)
    await api.write("a", "b", "c")
    async with api.stream(api.mine, last_id=first, is_live=False) as stream:
        assert [(await stream.next()).kind for _ in range(2)] == ["reset", "ready"]
        latest = stream.last_id
    monkeypatch.setattr(change_log, "KEPT_WRITES", 1)
    for id_ in ("d", "e", "f"):
        await api.write(id_)
    async with api.stream(api.mine, last_id=latest, is_live=False) as stream:
        assert [(await stream.next()).kind for _ in range(2)] == ["reset", "ready"]


async def test_an_id_that_no_stream_has_sent_is_refused(api: Api) -> None:
    for bad in ("1", "AAAAAAAAAAAAAAAAAAAAAA", "x" * 4000, "%%%%%%%%%%%%%%%%%%%%%%"):
        answer = await api.instance.http.get(PATH, headers={"last-event-id": bad})
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (400, "Last-Event-ID")


async def test_a_tenant_has_few_streams_and_another_has_its_own(api: Api) -> None:
    headers = {"authorization": f"Bearer {api.keys[api.mine]['key']}"}
    async with AsyncExitStack() as streams:
        for _ in range(STREAMS.per_tenant):
            await streams.enter_async_context(api.stream(api.mine))
        refused = await api.instance.http.get(PATH, headers=headers)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
        async with api.stream(api.other) as stream:
            await api.write("theirs", tenant=api.other)
            assert await stream.ids(1) == ["theirs"]
    await api.server.until_alone()
    async with api.stream(api.mine):
        pass


async def test_all_streams_of_a_process_share_one_read(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    index, reads = api.instance.store.index, 0
    read = index.changed_events

    async def counted(changes: Sequence[Change]) -> list[tuple[Change, EventRow]]:
        nonlocal reads
        reads += 1
        return await read(changes)

    monkeypatch.setattr(index, "changed_events", counted)
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(api.stream(api.mine)) for _ in range(5)]
        await api.write("e1")
        assert [await stream.ids(1) for stream in streams] == [["e1"]] * 5
    assert reads == 1


async def test_a_tenant_that_does_much_leaves_room_for_another(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MAX_CHANGES", 4)
    async with api.stream(api.mine) as mine, api.stream(api.other) as other:
        many = [report(f"e{n}", api.mine) for n in range(10)]
        await api.instance.store.rows.write([*many, report("theirs", api.other)])
        assert await other.ids(1) == ["theirs"]
        assert (await mine.next()).kind == "reset"
        assert await mine.ids(2) == ["e8", "e9"]


async def test_a_reader_that_does_not_read_is_cut_off_and_resumes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "MAX_WAITING_BYTES", 100_000)
    for listener in api.server.uvicorn.servers[0].sockets:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
    head = f"host: test\r\nconnection: close\r\nauthorization: Bearer {api.keys[api.mine]['key']}\r\n\r\n"
    async with connected(api.server.port, limit=1024) as slow:
        client = slow.writer.get_extra_info("socket")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        slow.send(f"GET {PATH} HTTP/1.1\r\n{head}".encode())
        async with asyncio.timeout(WAIT_TIMEOUT):
            await slow.reader.readuntil(b"event: ready")
            written = 0
            while not all(stream.is_over for stream in api.feed._streams):
                await api.instance.store.rows.write([report(f"e{written}", api.mine, deliveries=150)])
                written += 1
                await asyncio.sleep(0.05)
        said = (await slow.until_closed()).decode()
    seen = re.findall(r'^data: {"id":"(e[0-9]+)".*\r?\n(?:[0-9a-f]*\r?\n)*id: (\S+)', said, re.MULTILINE)
    assert 0 < len(seen) < written
    async with api.stream(api.mine, last_id=seen[-1][1], is_live=False) as stream:
        assert await stream.ids(written - len(seen)) == [f"e{n}" for n in range(len(seen), written)]


async def test_a_stream_ends_when_its_key_is_revoked(api: Api) -> None:
    key = await make_key(api.instance, api.mine)
    async with api.stream(key=key["key"]) as stream, api.stream(api.mine) as lasting:
        assert (await api.instance.http.delete(f"/v1/keys/{key['id']}")).is_success
        assert await stream.ends() == []
        await api.write("e1")
        assert await lasting.ids(1) == ["e1"]


async def test_a_server_that_stops_ends_its_streams(idle_instance: Instance) -> None:
    async with serving(idle_instance.app) as server:
        api = Api(idle_instance, server, "", {})
        async with api.stream() as stream:
            server.uvicorn.should_exit = True
            assert await stream.ends() == []
            refused = await idle_instance.http.get(PATH)
            assert refused.status_code == 503


async def test_a_stream_says_that_the_registry_is_down_and_goes_on(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    index, read = api.instance.store.index, api.instance.store.index.change_log

    async def fail() -> None:
        raise RegistryUnavailable("the registry is unavailable: timeout")

    async with api.stream() as stream:
        monkeypatch.setattr(index, "change_log", fail)
        assert (await stream.next()).kind == "unavailable"
        await api.write("e1")
        async with api.stream(is_live=False) as late:
            assert (await late.next()).kind == "unavailable"
            monkeypatch.setattr(index, "change_log", read)
            assert (await late.next()).kind == "ready"
        assert (await stream.next()).kind == "ready"
        assert await stream.ids(1) == ["e1"]


async def test_an_event_with_the_id_stream_is_refused(idle_instance: Instance) -> None:
    for fields, headers in (({"id": "stream"}, {}), ({}, {"idempotency-key": "stream"})):
        answer = await idle_instance.http.post("/v1/events", json={"type": "a"} | fields, headers=headers)
        assert answer.status_code == 422, answer.text


def change(number: int, event: str = "", *deliveries: str, tenant: str = "acme", is_new: bool = False) -> Change:
    """The change with this position, of an event of its own unless one is named."""
    return Change(Position(1, number), EventKey(ACCEPTED_AT, tenant, event or f"e{number}"), is_new, deliveries)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], []),
        ([change(1), change(2)], [change(1), change(2)]),
        (
            [change(1, "a", "wh_1", is_new=True), change(2, "b"), change(3, "a", "wh_2", "wh_1")],
            [change(2, "b"), change(3, "a", "wh_1", "wh_2", is_new=True)],
        ),
        ([change(1, "a", tenant="acme"), change(2, "a", tenant="globex")],) * 2,
        (  # too many deliveries for one message
            [change(1, "a", *MANY), change(2, "a", "wh_more"), change(3, "a", "wh_last")],
            [change(1, "a", *MANY), change(3, "a", "wh_more", "wh_last")],
        ),
    ],
    ids=["none", "of two events", "of one event", "of two tenants", "too many deliveries"],
)
def test_changes_of_an_event_are_joined_at_the_position_of_the_last(
    changes: list[Change], expected: list[Change]
) -> None:
    assert merged(changes) == expected


@pytest.mark.parametrize(
    ("tenants", "at_most", "numbers", "skipped"),
    [
        ("", 2, [], set()),
        ("ab", 2, [0, 1], set()),
        ("aaab", 2, [2, 3], {"a"}),
        ("aaabbb", 4, [1, 2, 4, 5], {"a", "b"}),
        ("abcabc", 2, [3, 4, 5], {"a", "b", "c"}),  # each tenant gets one
    ],
)
def test_tenants_share_what_may_be_sent(tenants: str, at_most: int, numbers: list[int], skipped: set[str]) -> None:
    """Each letter is a change of the tenant with this name."""
    changes = [change(number, tenant=tenant) for number, tenant in enumerate(tenants)]
    assert divided(changes, at_most) == ([changes[number] for number in numbers], skipped)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([0] * CHANGES_PER_STEP, [CHANGES_PER_STEP]),
        ([0] * (CHANGES_PER_STEP + 1), [CHANGES_PER_STEP, 1]),
        ([150, 50, 1], [2, 1]),
        ([DELIVERIES_PER_STEP + 1, 1], [1, 1]),
        ([1, DELIVERIES_PER_STEP + 1, 1], [1, 1, 1]),
    ],
)
def test_a_step_has_a_bounded_number_of_changes_and_deliveries(sizes: list[int], expected: list[int]) -> None:
    """`sizes`: the number of deliveries of each change; `expected`: the number of changes of each step."""
    changes = [change(number, "", *map(str, range(size))) for number, size in enumerate(sizes)]
    found = list(steps(changes))
    assert [len(step) for step in found] == expected
    assert [one for step in found for one in step] == changes
