"""Each part of a request has a limit: bytes, values, levels of nesting, keys, headers, fields."""

import asyncio
import gc
import json
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from problems import problem
from pydantic import SecretStr
from sockets import ApiServer, Connection, connected, serving
from temporalio.client import Client as Temporal

from api.app import bare_app
from api.problems import Unprocessable
from api.requests import MAX_BATCH_BYTES
from api.server.connections import ClientTimeouts
from api.server.refusals import MAX_HEAD, MAX_HEADERS, MAX_URL
from api.strict_json import MAX_BATCH_VALUES, MAX_DIGITS, MAX_KEY, MAX_VALUES, has_more_marks, parse
from hookkeeper.settings import Settings
from instance_parts import new_app
from instances import KEY, Instance, running_instance

JSON = {"content-type": "application/json"}
MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
async def door(temporal: Temporal, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Instance]:
    async with running_instance(temporal, tmp_path_factory.mktemp("door")) as built:
        yield built


@pytest.fixture(scope="module")
async def server(door: Instance) -> AsyncIterator[ApiServer]:
    async with serving(new_app(door.settings, door.store, door.gateway), ClientTimeouts(rest=0.5)) as served:
        yield served


# Values, keys, levels


def event(instance: Instance, data: Any) -> dict[str, Any]:
    return {"type": "a", "tenant": instance.tenant, "data": data}


@pytest.mark.parametrize("one", [0, [], {}, [0], {"a": 0}, ",[{,[{"], ids=str)
async def test_the_values_of_an_event_are_limited(door: Instance, one: Any) -> None:
    """An event has three of its own: type, tenant, data."""
    members = 2 if one in ([0], {"a": 0}) else 1
    most = (MAX_VALUES - 3) // members
    assert (await door.http.post("/v1/events", json=event(door, [one] * most))).status_code == 202
    answer = await door.http.post("/v1/events", json=event(door, [one] * (most + 1)))
    (error,) = problem(answer, 422, "body")["errors"]
    assert error["detail"] == "contains more than 20000 values"


@pytest.mark.promise("docs/limits.md")
async def test_the_members_of_objects_count_as_values(door: Instance) -> None:
    answer = await door.http.post("/v1/events", json=event(door, {str(n): 0 for n in range(MAX_VALUES)}))
    problem(answer, 422, "body")


@pytest.mark.promise("docs/limits.md")
async def test_a_string_counts_as_one_value(door: Instance) -> None:
    text = '[{",\\"' * 25_000
    assert (await door.http.post("/v1/events", json=event(door, text))).status_code == 202


@pytest.mark.promise("docs/limits.md")
async def test_an_event_in_a_batch_has_the_limits_of_one_alone(door: Instance) -> None:
    batch = [event(door, [0] * 10), event(door, [0] * (MAX_VALUES - 2))]
    answer = await door.http.post("/v1/events/batch", json={"events": batch})
    problem(answer, 422, "events.1")
    deepest: Any = 0
    for _ in range(63):
        deepest = [deepest]
    answer = await door.http.post("/v1/events/batch", json={"events": [event(door, deepest)]})
    assert [item["status"] for item in answer.json()["items"]] == [202]
    answer = await door.http.post("/v1/events/batch", json={"events": [event(door, [[deepest]])]})
    problem(answer, 422, "events.0.data" + ".0" * 64)


@pytest.mark.promise("docs/limits.md")
@pytest.mark.parametrize("data", [[0] * 19_000, [[]] * 19_000], ids=["numbers", "lists"])
async def test_a_batch_with_too_many_values_is_refused(door: Instance, data: Any) -> None:
    answer = await door.http.post("/v1/events/batch", json={"events": [event(door, data)] * 6})
    (error,) = problem(answer, 422, "body")["errors"]
    assert error["detail"] == f"contains more than {MAX_BATCH_VALUES} values"


@pytest.mark.promise("docs/limits.md")
@pytest.mark.parametrize("part", [b"[]", b"[0]", b"[[]]", b"{}", b'{"":0}', b'""', b"0", b"1e9"], ids=repr)
def test_values_are_checked_quickly(part: bytes) -> None:
    """57 KB of empty lists took 13 ms, most of it for the objects that told where each list was."""
    calls = 0

    def count(_frame: FrameType, what: str, _argument: Any) -> None:
        nonlocal calls
        calls += what == "call"

    values = MAX_VALUES // 2 - 1
    body = b"[" + b",".join([part] * values) + b"]"
    gc.disable()  # collections call functions too
    sys.setprofile(count)
    try:
        parse(body)
    finally:
        sys.setprofile(None)
        gc.enable()
    assert calls < values + 50  # one for the keys of an object, and for each float


@pytest.mark.promise("docs/limits.md")
async def test_an_integer_has_at_most_308_digits(door: Instance) -> None:
    """Python needs time for the square of the digits, and reads up to 4,300."""
    most = [10**MAX_DIGITS - 1, 1 - 10**MAX_DIGITS, "1" * 400, 1.5]
    assert (await door.http.post("/v1/events", json=event(door, most) | {"id": "digits"})).status_code == 202
    shown = await door.http.get(f"/v1/events/digits?tenant={door.tenant}")
    assert shown.json()["data"] == most
    answer = await door.http.post("/v1/events", json=event(door, [10**MAX_DIGITS]))
    (error,) = problem(answer, 422, "body")["errors"]
    assert error["detail"] == "has an integer of more than 308 digits"


def cpu_time(call: Callable[[], Any]) -> float:
    begun = time.thread_time()
    call()
    return time.thread_time() - begun


@pytest.mark.promise("docs/limits.md")
def test_long_integers_in_a_batch_are_not_read() -> None:
    """Reading 8 MiB of them takes 150 ms, in which no other thread can run."""
    long = [b"9" * 4_300] * 55
    one = b'{"type": "a", "data": [' + b",".join(long) + b"]}"
    body = b'{"events": [' + b",".join([one] * 34) + b"]}"

    def refuse() -> None:
        with pytest.raises(Unprocessable):
            parse(body, is_batch=True)

    assert cpu_time(refuse) < cpu_time(lambda: json.loads(body)) / 3


@pytest.mark.promise("docs/limits.md")
async def test_a_key_of_more_than_1024_characters_is_refused(door: Instance) -> None:
    good, bad = {"é" * MAX_KEY: 1}, {"é" * (MAX_KEY + 1): 1}
    assert (await door.http.post("/v1/events", json=event(door, good))).status_code == 202
    (error,) = problem(await door.http.post("/v1/events", json=event(door, [bad])), 422, "data.0")["errors"]
    assert error["detail"] == "has a key of more than 1024 characters"
    problem(await door.http.post("/v1/webhooks", json={"metadata": bad}), 422, "metadata")


HOSTILE: dict[str, bytes] = {
    "lists": b"[],",
    "open lists": b"[",
    "quotes": b'"',
    "escaped quotes": b'\\"',
    "backslashes": b"\\",
    "commas": b",",
    "strings": b'"",',
    "quoted commas": b'","',
    "objects": b'{"":',
}


STARTS = {"plain": b'{"events":[', "in a string": b'{"events":["'}
PEAKS = """
import sys, tracemalloc
from api.problems import Problem
from api.strict_json import parse
for start, part in {cases}:
    body = (start + part * ({size} // len(part)))[:{size}]
    tracemalloc.start()
    try:
        parse(body, is_batch=True)
    except Problem as problem:
        print(problem.status, tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
"""


@pytest.mark.parametrize("part", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
async def test_a_hostile_batch_is_refused(door: Instance, start: bytes, part: bytes) -> None:
    body = (start + part * (MAX_BATCH_BYTES // len(part)))[:MAX_BATCH_BYTES]
    answer = await door.http.post("/v1/events/batch", content=body, headers=JSON)
    assert answer.status_code in (400, 422)
    problem(answer, answer.status_code)


async def test_a_hostile_batch_costs_no_memory() -> None:
    """`[[],[],…` takes twenty times its size once it is parsed.

    In a process of its own: beside threads of Temporal's SDK, `tracemalloc` crashes now and then.
    """
    cases = [(start, part) for start in STARTS.values() for part in HOSTILE.values()]
    program = PEAKS.format(cases=cases, size=MAX_BATCH_BYTES)
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    written, _ = await child.communicate()
    peaks = [line.split() for line in written.decode().splitlines()]
    assert [status for status, _ in peaks if status not in ("400", "422")] == []
    assert len(peaks) == len(cases)
    assert max(int(peak) for _, peak in peaks) < 3 * MAX_BATCH_BYTES


@pytest.mark.promise("docs/limits.md")
@pytest.mark.parametrize(
    ("text", "marks"),
    [
        (b"", 0),
        (b"[]", 1),
        (b'{"a": [1, 2]}', 3),
        (b'",[{"', 0),
        (rb'"\",[{"', 0),
        (rb'"\\",[{', 3),
        (b'["\xff,", {"[": ","}]', 3),
    ],
)
def test_brackets_and_commas_are_counted_outside_of_strings_only(text: bytes, marks: int) -> None:
    assert not has_more_marks(text, marks)
    if marks:
        assert has_more_marks(text, marks - 1)


# Bytes, over real sockets


def head(*lines: bytes) -> bytes:
    fixed = (b"POST /v1/events HTTP/1.1", b"host: x", b"content-type: application/json")
    return b"\r\n".join((*fixed, f"authorization: Bearer {KEY}".encode(), *lines)) + b"\r\n"


async def poured(client: Connection, data: bytes, limit: int) -> bytes:
    """Send the same again and again until the server has said all that it has to say; give that."""
    said = asyncio.create_task(client.until_closed())
    for _ in range(limit // len(data)):
        client.send(data)
        await asyncio.sleep(0)
        if said.done():
            break
        with suppress(ConnectionError):
            await client.writer.drain()
    return await said


@pytest.mark.parametrize("kind", ["chunked", "more than announced", "a length that is not to be"])
async def test_a_body_without_end_costs_no_memory(server: ApiServer, kind: str) -> None:
    announced = {"chunked": b"transfer-encoding: chunked", "more than announced": b"content-length: 100"}
    chunk = b" " * 65_536
    async with connected(server.port) as client:
        tracemalloc.start()
        client.send(head(announced.get(kind, b"content-length: 99999999999")) + b"\r\n")
        said = await poured(client, b"10000\r\n" + chunk + b"\r\n" if kind == "chunked" else chunk, 50 * MEGABYTE)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert said.startswith(b"HTTP/1.1 4")
    assert b"application/problem+json" in said
    assert peak < 4 * MEGABYTE  # 256 KiB, some times over, and what this test sends


ENDLESS: dict[str, tuple[bytes, bytes, int]] = {
    "a url": (b"GET /", b"a" * 1000, 414),
    "a header's name": (b"GET / HTTP/1.1\r\n", b"a" * 1000, 431),
    "a header": (b"GET / HTTP/1.1\r\nx: ", b"a" * 1000, 431),
    "small headers": (b"GET / HTTP/1.1\r\n", b"x: 1\r\n" * 20, 431),
    "large headers": (b"GET / HTTP/1.1\r\n", b"x: " + b"a" * 8000 + b"\r\n", 431),
    "trailers": (head(b"transfer-encoding: chunked") + b"\r\n0\r\n", b"x: 1\r\n" * 20, 431),
    "line ends": (b"", b"\r\n" * 1000, 431),
}


@pytest.mark.promise("docs/limits.md")
@pytest.mark.parametrize(("start", "part", "status"), ENDLESS.values(), ids=ENDLESS)
async def test_an_endless_head_is_refused_and_costs_no_memory(
    server: ApiServer, start: bytes, part: bytes, status: int
) -> None:
    async with connected(server.port) as client:
        tracemalloc.start()
        client.send(start)
        said = await poured(client, part, 20 * MEGABYTE)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert said.startswith(b"HTTP/1.1 %d " % status), said[:300]
    document = json.loads(said.split(b"\r\n\r\n")[1])
    assert document["status"] == status
    assert document["type"].startswith("urn:hookkeeper:problem:")
    assert peak < 3 * MEGABYTE


def sized_url(size: int) -> bytes:
    return b"GET /healthz?%s HTTP/1.1\r\nhost: x\r\n\r\n" % (b"a" * (size - len("/healthz?")))


def sized_head(size: int) -> bytes:
    rest = size - len("/healthzhostx") - 3 * len("x1")
    lines = b"".join(b"x%d: %s\r\n" % (n, b"a" * (rest // 3 + (rest % 3 if n == 1 else 0))) for n in (1, 2, 3))
    return b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + lines + b"\r\n"


def many_headers(count: int) -> bytes:
    return b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + b"x: 1\r\n" * (count - 1) + b"\r\n"


@pytest.mark.promise("docs/limits.md")
@pytest.mark.parametrize(
    ("largest", "larger", "status"),
    [
        (sized_url(MAX_URL), sized_url(MAX_URL + 1), 414),
        (sized_head(MAX_HEAD), sized_head(MAX_HEAD + 1), 431),
        (many_headers(MAX_HEADERS), many_headers(MAX_HEADERS + 1), 431),
    ],
    ids=["url", "head", "headers"],
)
async def test_a_head_up_to_its_limits_is_read(server: ApiServer, largest: bytes, larger: bytes, status: int) -> None:
    for head_, expected in ((largest, 200), (larger, status)):
        async with connected(server.port) as client:
            client.send(head_)
            assert (await client.answer())[0] == expected


@pytest.mark.promise("docs/limits.md")
@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=ascii,
)
async def test_invalid_http_is_answered_with_a_problem(server: ApiServer, garbage: bytes) -> None:
    async with connected(server.port) as client:
        client.send(garbage)
        status, body = await client.answer()
        assert status in (400, 404, 405)
        assert json.loads(body)["status"] == status


@pytest.mark.promise("docs/limits.md")
@pytest.mark.parametrize(
    ("head_", "status"),
    [
        (b"HTTP/1.1\r\n", 400),
        (b"HTTP/1.1\r\nhost: a\r\nHost: b\r\n", 400),
        (b"HTTP/1.0\r\nhost: a\r\nhost: a\r\n", 400),
        (b"HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n", 400),
        (b"HTTP/1.1\r\nhost:\r\n", 200),  # of a URL without a host
        (b"HTTP/1.0\r\n", 200),  # as old health checks ask
    ],
    ids=ascii,
)
async def test_a_request_names_one_host(server: ApiServer, head_: bytes, status: int) -> None:
    """RFC 9112, "Request Target": a proxy that takes one of two, and we the other, would disagree about the request."""
    async with connected(server.port) as client:
        client.send(b"GET /healthz " + head_ + b"\r\n")
        answer = await client.answer()
        assert answer[0] == status
        assert (b"needs one `Host` header" in answer[1]) is (status == 400)


@pytest.mark.promise("docs/limits.md")
async def test_trailers_do_not_become_headers(server: ApiServer, door: Instance) -> None:
    """They would stand among those that were checked already."""
    body = json.dumps(event(door, 1)).encode()
    lines = b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nidempotency-key: of-the-trailer\r\n\r\n"
    async with connected(server.port) as client:
        client.send(head(lines % (len(body), body))[:-2])
        status, answer = await client.answer()
    assert (status, b"of-the-trailer" in answer) == (202, False)


@pytest.mark.promise("docs/limits.md")
@pytest.mark.parametrize("path", ["/v1/events", "/codec/decode", "/codec"])
async def test_a_body_that_is_cut_off_is_no_internal_error(
    server: ApiServer, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    async with connected(server.port) as client:
        client.send(head(b"content-length: 100").replace(b"/v1/events", path.encode()) + b"\r\n{")
        while not server.uvicorn.server_state.tasks:
            await client.pause()
        client.writer.close()
        while server.uvicorn.server_state.tasks:
            await client.pause()
    assert "unhandled" not in capsys.readouterr().out


# Every field that the API describes


def test_every_field_of_every_request_has_a_bound() -> None:
    """The exceptions hold any JSON, whose size, depth, keys and values are bounded with the body's."""
    document = bare_app(Settings(admin_key=SecretStr(KEY))).openapi()
    assert set(unbounded(document)) == {
        "NewEvent.data",
        "SampleEvent.data",
        "TestEventRequest.data",
        "EventTemplate.data",
        "EventBatch.events[]",  # each is a `NewEvent`, judged alone
        *(f"{name}.examples[]" for name in ("NewEventType", "EventTypeChanges")),
        *(f"{name}.schema" for name in ("NewEventType", "EventTypeChanges")),
        "Payload.static",
        "Email.template_data",
        "HttpCall.headers",  # `hookkeeper.content.headers` bounds their number and length
        "HttpCall.headers{}",
        *(f"{name}.headers" for name in ("NewWebhook", "WebhookChanges")),
        *(f"{name}.headers{{}}" for name in ("NewWebhook", "WebhookChanges")),
        "/codec/decode.payloads",  # Temporal's messages, in a body of their own limit
        "/codec/encode.payloads",
        "/v1/providers/sendgrid/events",  # signed, and in a body of its own limit
        "X-Twilio-Email-Event-Webhook-Signature",  # as long as a header can be
        "X-Twilio-Email-Event-Webhook-Timestamp",
    }


def unbounded(document: dict[str, Any]) -> Iterator[str]:
    """Return the locations of all that may be of any size in parameters and bodies of requests."""
    walk = _Walk(document["components"]["schemas"])
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                yield from walk.into(parameter["schema"], parameter["name"])
            for content in operation.get("requestBody", {}).get("content", {}).values():
                yield from walk.into(content["schema"], path)


class _Walk:
    def __init__(self, schemas: dict[str, Any]) -> None:
        self._schemas = schemas
        self._seen: set[str] = set()

    def into(self, schema: dict[str, Any], location: str) -> Iterator[str]:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if name not in self._seen:
                self._seen.add(name)
                yield from self.into(self._schemas[name], name)
            return
        if _is_open(schema):
            yield location
        for choice in schema.get("anyOf", ()):
            yield from self.into(choice, location)
        for name, field in schema.get("properties", {}).items():
            yield from self.into(field, f"{location}.{name}")
        if isinstance(schema.get("items"), dict) and not _is_open(schema):
            yield from self.into(schema["items"], f"{location}[]")
        if isinstance(schema.get("additionalProperties"), dict):
            yield from self.into(schema["additionalProperties"], f"{location}{{}}")


def _is_open(schema: dict[str, Any]) -> bool:
    """Tell whether a value of this schema can be of any size."""
    if not schema.keys() & {"anyOf", "enum", "const", "type", "$ref"}:
        return True
    if schema.get("enum") or "const" in schema:
        return False
    match schema.get("type"):
        case "string":
            ends = schema.get("pattern", "").startswith("^") and not {"+", "*"} & set(schema["pattern"])
            return "maxLength" not in schema and schema.get("format") != "date-time" and not ends
        case "array":
            return "maxItems" not in schema
        case "object":
            return schema.get("additionalProperties", False) is not False and "maxProperties" not in schema
    return False


# What a database cannot keep


@pytest.fixture
async def kept(temporal: Temporal, tmp_path: Path, database_url: str) -> AsyncIterator[Instance]:
    """An instance on SQLite, and one on PostgreSQL, whose texts cannot hold the character NUL."""
    async with running_instance(temporal, tmp_path, database_url=database_url) as built:
        yield built


async def test_a_nul_is_refused_in_text_and_kept_in_json(kept: Instance) -> None:
    nul = {"\0": "\0", "a": ["\0"]}
    types = "/v1/event-types"
    problem(await kept.http.post(types, json={"name": "a", "description": "\0"}), 422, "description")
    for path in ("/v1/webhooks", "/v1/keys"):
        answer = await kept.http.post(path, json={"name": "\0", "tenant": "a", "url": "https://acme.example/"})
        assert answer.status_code == 422
    made = await kept.http.post(types, json={"name": "a", "schema": {"const": nul}, "examples": [nul]})
    assert made.status_code == 201, made.text
    assert (await kept.http.get(f"{types}/a")).json()["examples"] == [nul]
    fields = {"metadata": {"\0": "\0"}, "payload": {"static": nul}}
    made = await kept.http.post("/v1/webhooks", json={"url": "https://acme.example/", **fields})
    assert made.status_code == 201, made.text
    shown = (await kept.http.get(f"/v1/webhooks/{made.json()['id']}")).json()
    assert (shown["metadata"], shown["payload"]["static"]) == ({"\0": "\0"}, nul)
