"""Bad input is answered with a problem document that names the field, and nothing is started or stored."""

import asyncio
import base64
import gzip
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from problems import problem
from temporalio.client import Client

from cases import each
from event_loops import monitor
from instances import Instance, running_instance
from timeouts import CALL_TIMEOUT, WAIT_TIMEOUT

JSON = {"content-type": "application/json"}
EVENT, WEBHOOK = "/v1/events", "/v1/webhooks"
URL = "https://acme.example/hook"
LIMIT = 256 * 1024


@pytest.fixture(scope="module")
async def door(temporal: Client, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Instance]:
    """An instance that must be empty at the end, also when visibility has caught up with what was started last."""
    async with running_instance(temporal, tmp_path_factory.mktemp("door")) as built:
        yield built
        assert await built.store.webhooks.page(tenant=None, event=None, enabled=None, limit=1, cursor=None) == (
            [],
            None,
        )
        await built.send("last.one")
        async with asyncio.timeout(WAIT_TIMEOUT):
            while await started(built) == 0:
                await asyncio.sleep(0.05)
        assert await started(built) == 1


async def started(instance: Instance) -> int:
    """Count the runs of any tenant that this instance has started."""
    return (await instance.temporal.count_workflows(f"TaskQueue = '{instance.settings.task_queue}'")).count


def event(instance: Instance, **fields: Any) -> dict[str, Any]:
    return {"type": "order.paid", "tenant": instance.tenant, "id": "bad", **fields}


async def post(instance: Instance, path: str, body: str | bytes) -> httpx.Response:
    return await instance.http.post(path, content=body, headers=JSON)


# One field


BAD_TIMES: tuple[Any, ...] = (
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-01-01T00:00:00",
    "2026-01-01",
    "2026-02-30T00:00:00Z",
    "2026-01-01T25:00:00Z",
    "2026-01-01T00:00:00+99:00",
    "2026-01-01T00:00:00Z\n",
    "٢٠٢٦-01-01T00:00:00Z",
    "1900000000",
    1900000000,
    1.5,
    True,
    "",
    "tomorrow",
    [],
)
BAD_EVENTS: list[tuple[str, Any]] = [
    *(("type", type_) for type_ in ("", ".a", "a.", "a..b", "a b", "a.*", "*", "a\n", "a/b", "é", "a" * 129, 1, None)),
    *(("id", id_) for id_ in ("", "a.b", "x" * 129, "x" * 300, "a\n", "\na", "a/b", "a b", "a\0", "é", "%41", 7)),
    *(("tenant", tenant) for tenant in ("", "a.b", "x" * 65, "a\n", "a'b", "a b", "a/b", "é", None, 1)),
    *(("deliver_at", when) for when in (*BAD_TIMES, "1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z")),
    *(("timestamp", when) for when in (*BAD_TIMES, "1969-12-31T23:59:59Z", "2999-01-01T00:00:00Z")),
    *((field, 1) for field in ("webhooks", "Type", "status", "deliveries", "", "a.b")),
]


@pytest.mark.promise("docs/limits.md")
@each(("field", "value"), BAD_EVENTS)
async def test_an_event_with_a_bad_field_is_refused(door: Instance, field: str, value: Any) -> None:
    problem(await door.http.post(EVENT, json=event(door, **{field: value})), 422, field)


async def test_an_event_without_a_type_is_refused(door: Instance) -> None:
    problem(await door.http.post(EVENT, json={"tenant": door.tenant, "id": "bad"}), 422, "type")


async def test_each_bad_field_is_named(door: Instance) -> None:
    body = {"type": "", "id": ".", "tenant": "", "deliver_at": 1, "timestamp": "", "x": 1, "y": 1}
    problem(await door.http.post(EVENT, json=body), 422, *body)


BAD_URLS = (
    *(
        "",
        " ",
        "acme.example",
        "//acme.example",
        "/hook",
        "http:",
        "http:/",
        "http://",
        "http:///x",
        "https://?x",
        "http:a.b",
    ),
    *(
        "ftp://acme.example/",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "data:,x",
        "ws://acme.example",
        "gopher://a/",
    ),
    *("http://good.example@evil.example/", "http://a:b@c.example/", "http://@a.example/", "http://:@a.example/"),
    *(
        "http://good.example\\@evil.example/",
        "http:\\\\evil.example/",
        "http://a.example\\.b.example/",
        "http://a%40b/",
    ),
    *(" http://a.example/", "http://a.example/ ", "http://a .example/", "http://a.example/a b", "http://a.example/\t"),
    *(
        "http://a.example/\n",
        "http://a.example/\r\nx: y",
        "ht\ntp://a.example/",
        "http://a\0.example/",
        "http://a.example\x7f/",
    ),
    *("http://a.example:0/", "http://a.example:65536/", "http://a.example:99999/", "http://a.example:x/"),
    *(
        "http://a.example:/",
        "http://a.example:-1/",
        "http://a.example:+80/",
        "http://a.example:8_0/",
        "http://a.example:80:80/",
    ),
    *("http://a.example/#x", "http://a.example/#", "http://a.example#@b.example/"),
    *(
        "http://аcme.example/",
        "http://ａcme.example/",
        "http://acme。example/",
        "http://ac\u00adme.example/",
        "http://①.example/",
    ),
    *("http://a%2eexample/", "http://%61.example/", "http://a.example%00/", "http://a%2f.example/"),
    *(
        "http://.example/",
        "http://a..example/",
        "http://a,b/",
        "http://a;b/",
        "http://*.example/",
        "http://" + "a" * 254 + "/",
    ),
    *(
        "http://[::1/",
        "http://::1/",
        "http://[::1]x/",
        "http://[1.2.3.4]/",
        "http://[v1.x]/",
        "http://[fe80::1%25eth0]/",
    ),
    *(
        "http://a.example/<x>",
        'http://a.example/"',
        "http://a.example/{x}",
        "http://a.example/é",
        "http://a.example/" + "a" * 2048,
    ),
    *(1, ["http://a.example/"], {"url": "http://a.example/"}),
)
BAD_PATTERNS = (
    "",
    "a.**",
    "*.a",
    "a..b",
    ".a",
    "a.",
    "a.*.b",
    "a*",
    "**",
    "a.*\n",
    "\n*",
    "a.b\n",
    " a",
    "a/b",
    "é",
    "a" * 129,
)
BAD_SCHEDULES: tuple[tuple[Any, str], ...] = (
    ([-1], "retry.schedule.0"),
    ([5, -0.001], "retry.schedule.1"),
    ([1e9], "retry.schedule.0"),
    ([7 * 86400 + 1], "retry.schedule.0"),
    ([10**300], "retry.schedule.0"),
    (["soon"], "retry.schedule.0"),
    (["NaN"], "retry.schedule.0"),
    ([None], "retry.schedule.0"),
    ([[5]], "retry.schedule.0"),
    ([1] * 50, "retry.schedule"),
    ("5", "retry.schedule"),
    (5, "retry.schedule"),
    ({"0": 5}, "retry.schedule"),
)
BAD_POLICIES: tuple[tuple[Any, str], ...] = (
    ({"schedule": ["5"]}, "retry.schedule.0"),
    ({"schedule": [True]}, "retry.schedule.0"),
    ({"attempts": "3"}, "retry.attempts"),
    ({"coefficient": True}, "retry.coefficient"),
    ({"schedule": [5], "initial": 5}, "retry"),
    ({"schedule": [], "attempts": 3}, "retry"),
    ({"schedule": [5], "coefficient": 2}, "retry"),
    ({"attempts": 0}, "retry.attempts"),
    ({"attempts": 51}, "retry.attempts"),
    ({"attempts": 1.5}, "retry.attempts"),
    ({"attempts": 10**300}, "retry.attempts"),
    ({"coefficient": 0.5}, "retry.coefficient"),
    ({"coefficient": 11}, "retry.coefficient"),
    ({"initial": -1}, "retry.initial"),
    ({"maximum": 1e9}, "retry.maximum"),
    ({"delay": 5}, "retry.delay"),
    ([5], "retry"),
    ("fast", "retry"),
)
BAD_HEADERS: tuple[dict[str, Any], ...] = (
    {"X-Key": "1", "x-key": "2"},
    {"x-a": "1\r\nx-b: 2"},
    {"x-a": "1\n"},
    {"x-a": "\r"},
    {"x-a": "a\0b"},
    {"x-a": ""},
    {"x-a": " a"},
    {"x-a": "a "},
    {"x-a": "ü"},
    {"x-a": "a" * 4097},
    {"x-a\r\nx-b": "1"},
    {"x-a\n": "1"},
    {"x a": "1"},
    {"x-a:": "1"},
    {"": "1"},
    {"é": "1"},
    {"x" * 129: "1"},
    {f"x-{n}": "1" for n in range(31)},
    {"Host": "evil.example"},
    {"content-length": "0"},
    {"Content-Type": "text/plain"},
    {"Transfer-Encoding": "chunked"},
    {"connection": "close"},
    {"webhook-id": "evt_1"},
    {"Webhook-Signature": "v1,x"},
    {"webhook-anything": "x"},
    {"Ce-Type": "evil"},
    {"user-agent": "x"},
    {"proxy-authorization": "x"},
    {"expect": "100-continue"},
    {"x-a": "********"},
)
BAD_WEBHOOKS: list[tuple[dict[str, Any], str]] = [
    *(({"url": url}, "url") for url in BAD_URLS),
    *(({"events": [pattern]}, "events.0") for pattern in BAD_PATTERNS),
    ({"events": ["order.*", "a..b"]}, "events.1"),
    ({"events": []}, "events"),
    ({"events": ["a"] * 101}, "events"),
    ({"events": "order.*"}, "events"),
    ({"events": None}, "events"),
    ({"events": [1]}, "events.0"),
    *(({"retry": {"schedule": schedule}}, path) for schedule, path in BAD_SCHEDULES),
    *(({"retry": policy}, path) for policy, path in BAD_POLICIES),
    *(({"headers": headers}, "headers") for headers in BAD_HEADERS),
    ({"headers": {"x-a": 1}}, "headers.x-a"),
    ({"headers": [["x-a", "1"]]}, "headers"),
    *(({"timeout": timeout}, "timeout") for timeout in (0, 0.99, 30.01, 31, -1, 10**300, "15", "fast", None, True)),
    *(({"alert_after": after}, "alert_after") for after in ({}, {"attempts": None}, 5)),
    *(({"alert_after": {"attempts": number}}, "alert_after.attempts") for number in (0, 1001, 2.5)),
    *(({"alert_after": {"seconds": time}}, "alert_after.seconds") for time in (0.5, 30 * 86400 + 1, "60")),
    *(({"slow_after": after}, "slow_after") for after in (0, 31, "5", True)),
    *(({"disable_after": after}, "disable_after") for after in (-1, 365 * 86400 + 1, "60", True)),
    ({"health": {"status": "healthy"}}, "health"),
    *(({"enabled": enabled}, "enabled") for enabled in ("yes", 1, None)),
    *(({"tenant": tenant}, "tenant") for tenant in ("", "a.b", "x" * 65, "a\n", None, 1)),
    ({"name": "a" * 257}, "name"),
    ({"name": "a\0b"}, "name"),
    ({"description": "a" * 4097}, "description"),
    ({"description": "\0"}, "description"),
    ({"metadata": {str(n): "" for n in range(51)}}, "metadata"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"metadata": {"a": "b" * 513}}, "metadata.a"),
    *(
        ({"secret": secret}, "secret")
        for secret in (
            "",
            "secret",
            "whsec_",
            "whsec_!!!!",
            "whsec_c2hvcnQ=",
            "whsec_" + "A" * 88 + "AAAA",
            "whsec_é",
            "whpk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "whsk_AAAA",
            "whsk_" + "A" * 86 + "==",
            "w" * 257,
            1,
        )
    ),
    ({"signature_scheme": "v2"}, "signature_scheme"),
    ({"id": "wh_mine"}, "id"),
    ({"unknown": 1}, "unknown"),
    ({"disabled_reason": "gone"}, "disabled_reason"),
]


@pytest.mark.promise("docs/limits.md")
@each(("fields", "path"), BAD_WEBHOOKS)
async def test_a_webhook_with_a_bad_field_is_refused(door: Instance, fields: dict[str, Any], path: str) -> None:
    answer = await door.http.post(WEBHOOK, json={"url": URL, "tenant": door.tenant, **fields})
    problem(answer, 422, path)
    if isinstance(secret := fields.get("secret"), str) and len(secret) > 10:
        assert secret not in answer.text


@each("url", ["http://good.example@evil.example/", "http://a:b@c.example/", "http://@c.example/"])
async def test_a_password_in_a_url_is_refused_with_a_hint(door: Instance, url: str) -> None:
    (error,) = problem(await door.http.post(WEBHOOK, json={"url": url}), 422, "url")["errors"]
    assert error["detail"] == "must not contain user names or passwords: use a header"


@each("targets", [{}, {"url": None}, {"emails": [], "notifications": []}])
async def test_a_webhook_needs_a_target(door: Instance, targets: dict[str, Any]) -> None:
    answer = await door.http.post(WEBHOOK, json={"tenant": door.tenant, **targets})
    assert "url, emails or notifications" in str(problem(answer, 422)["errors"])


GOOD_URLS = (
    "http://acme.example",
    "https://acme.example:8443/a/b;c?d=e&f=%20#".rstrip("#"),
    "http://127.0.0.1:8/",
    "https://[2606:4700:4700::1111]:443/hook",
    "https://xn--bcher-kva.example/%C3%BC",
    "HTTPS://ACME.example./",
    "https://a_b-c.example/~x/*'()!,$",
    "http://a.example:65535/" + "a" * 2000,
)


@each("url", GOOD_URLS)
async def test_valid_urls_are_accepted(door: Instance, url: str) -> None:
    answer = await door.http.post(WEBHOOK, json={"url": url, "tenant": door.tenant})
    assert (answer.status_code, answer.json()["url"]) == (201, url)
    assert (await door.http.delete(f"{WEBHOOK}/{answer.json()['id']}")).status_code == 204


# Names, which a terminal or a page shows in a line


@each("name", ["\x1b]0;x\x07", "a\x9b2J", "a\u202eb", "a\nb", "\u200b"])
@each(
    ("path", "field", "fields"),
    [
        (WEBHOOK, "name", {"url": URL}),
        ("/v1/keys", "name", {"scopes": ["events:read"]}),
        ("/v1/portal-links", "name", {}),
        ("/v1/schedules", "name", {"event": {"type": "a"}, "every": 3600}),
        ("/v1/schedules", "note", {"event": {"type": "a"}, "every": 3600}),
        ("/v1/suppressions", "detail", {"address": "ann@acme.example"}),
    ],
)
async def test_a_name_with_invisible_characters_is_refused(
    door: Instance, path: str, field: str, fields: dict[str, Any], name: str
) -> None:
    body = {"tenant": door.tenant, **fields, field: name}
    problem(await post(door, path, json.dumps(body)), 422, field)


# The body as a whole

NO_JSON: dict[str, bytes] = {
    "nothing but space": b"  \n",
    "text": b"hello",
    "half": b'{"type": "a"',
    "two": b'{"type": "a"} {"type": "b"}',
    "trailing comma": b'{"type": "a",}',
    "single quotes": b"{'type': 'a'}",
    "comment": b'{"type": "a"} // x',
    "NaN": b'{"type": "a", "data": NaN}',
    "Infinity": b'{"type": "a", "data": [Infinity]}',
    "-Infinity": b'{"type": "a", "data": {"x": -Infinity}}',
    "leading zero": b'{"type": "a", "data": 01}',
    "raw newline in a string": b'{"type": "a\n"}',
    "bad escape": b'{"type": "\\x41"}',
    "bad UTF-8": b'{"type": "a", "data": "\xff"}',
    "overlong UTF-8": b'{"type": "a", "data": "\xc0\xaf"}',
    "surrogate in UTF-8": b'{"type": "a", "data": "\xed\xa0\x80"}',
    "half a surrogate pair": rb'{"type": "a", "data": "\ud800"}',
    "the other half": rb'{"type": "a", "data": ["x", {"b": "a\udc00b"}]}',
    "pair in the wrong order": rb'{"type": "a", "data": "\udc00\ud800"}',
    "half a pair as a key": rb'{"type": "a", "data": {"a": {"\ud83d": 1}}}',
    "UTF-16": '{"type": "a"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"type": "a"}',
    "NUL": b'\0{"type": "a"}',
    "binary": bytes(range(256)),
}


@pytest.mark.promise("docs/limits.md")
@each("body", NO_JSON.values())
async def test_a_body_that_is_not_json_is_malformed(door: Instance, body: bytes) -> None:
    for path in (EVENT, WEBHOOK, f"{EVENT}/batch", f"{EVENT}/x/cancel", f"{WEBHOOK}/x/test"):
        problem(await post(door, path, body), 400)


@each("path", [EVENT, WEBHOOK, f"{EVENT}/batch"])
@each("body", [b"", b"null", b"[]", b"7", b'"x"', b"true", b'[{"type":"a"}]'])
async def test_a_body_must_be_an_object(door: Instance, path: str, body: bytes) -> None:
    problem(await post(door, path, body), 422, "body")


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


NOT_OURS: dict[str, tuple[str, str]] = {
    "1e999": ("1e999", "data"),
    "-1e999": ('{"a": [0, -1e999]}', "data.a.1"),
    "65 lists": (nested(65), "data" + ".0" * 64),
    "65 objects": ('{"a":' * 65 + "1" + "}" * 65, "data" + ".a" * 64),
    "300 lists": (nested(300), "body"),
    "100,000 lists": (nested(100_000), "body"),
    "100,000 brackets": ("[" * 100_000, "body"),
    "50,000 objects": ('{"":' * 50_000, "body"),
    "309 digits": ("1" + "0" * 308, "body"),
    "-309 digits": ('{"a": "' + "1" * 309 + '", "b": [-' + "9" * 309 + "]}", "body"),
    "5,001 digits": ("1" + "0" * 5000, "body"),
    "-5,001 digits": ("[-1" + "0" * 5000 + "]", "body"),
}


@pytest.mark.promise("docs/limits.md")
@each(("data", "path"), NOT_OURS.values())
async def test_json_that_could_not_be_sent_to_a_receiver_is_refused(door: Instance, data: str, path: str) -> None:
    begun = time.thread_time()
    answer = await post(door, EVENT, f'{{"type": "a", "tenant": "{door.tenant}", "id": "bad", "data": {data}}}')
    assert time.thread_time() - begun < 1
    problem(answer, 422, path)


@each(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/xml", ";;", "json", "text/json", None],
)
async def test_a_body_must_say_that_it_is_json(door: Instance, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = await door.http.post(EVENT, content=json.dumps(event(door)), headers=headers)
    assert "application/json" in problem(answer, 415)["detail"]


async def test_a_compressed_body_is_refused(door: Instance) -> None:
    body = json.dumps(event(door)).encode()
    for content, encoding in ((gzip.compress(body), "gzip"), (body, "br")):
        headers = {"content-type": "application/json", "content-encoding": encoding}
        answer = await door.http.post(EVENT, content=content, headers=headers)
        assert f"`content-encoding` is '{encoding}'" in problem(answer, 415)["detail"]
    headers = {"content-type": "application/json", "content-encoding": "Identity"}
    problem(await door.http.post(EVENT, content=b"{}", headers=headers), 422, "type")


async def test_a_form_is_refused(door: Instance) -> None:
    problem(await door.http.post(EVENT, data={"type": "a"}), 415)
    problem(await door.http.post(EVENT, files={"file": b"x"}), 415)


# Size


def large(instance: Instance, size: int) -> bytes:
    """Write an event of exactly this many bytes."""
    start, end = json.dumps(event(instance, data="?")).encode().split(b"?")
    return start + b"x" * (size - len(start) - len(end)) + end


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


async def endless(served: list[int]) -> AsyncIterator[bytes]:
    while True:
        served.append(1)
        yield b" " * 10_000


@pytest.mark.promise("docs/limits.md")
@each("size", [LIMIT + 1, LIMIT * 4])
async def test_a_body_over_the_limit_is_refused(door: Instance, size: int) -> None:
    body = large(door, size)
    assert len(body) == size
    detail = problem(await post(door, EVENT, body), 413)["detail"]
    assert str(LIMIT) in detail


@each("announced", [None, "0", "10", str(LIMIT), "-1", "1e9", "x", "", "²"])
async def test_a_body_over_the_limit_is_refused_whatever_its_content_length(
    door: Instance, announced: str | None
) -> None:
    lie = {} if announced is None else {"content-length": announced.encode()}
    headers: dict[str, Any] = JSON | lie
    answer = await door.http.post(EVENT, content=chunks(large(door, LIMIT + 1)), headers=headers)
    problem(answer, 413)


async def test_an_endless_body_is_cut_off(door: Instance) -> None:
    served: list[int] = []
    problem(await door.http.post(EVENT, content=endless(served), headers=JSON), 413)
    assert len(served) <= LIMIT / 10_000 + 2


async def test_a_body_whose_content_length_is_over_the_limit_is_not_read(door: Instance) -> None:
    served: list[int] = []
    headers = JSON | {"content-length": str(LIMIT + 1)}
    problem(await door.http.post(EVENT, content=endless(served), headers=headers), 413)
    assert served == []


async def test_a_number_counts_with_the_digits_that_are_stored(door: Instance) -> None:
    """`1e15` is written out as 1000000000000000.0."""
    data = ",".join(["1e15"] * 15_000)
    body = f'{{"type": "a", "tenant": "{door.tenant}", "id": "bad", "data": [{data}]}}'
    assert len(body) < LIMIT
    problem(await post(door, EVENT, body), 413)


async def test_a_webhook_over_the_limit_is_refused(door: Instance) -> None:
    problem(await door.http.post(WEBHOOK, json={"url": URL, "description": "x" * LIMIT}), 413)


# What costs more than it should


@each("path", [EVENT, WEBHOOK])
async def test_thousands_of_unknown_fields_are_one_error(door: Instance, path: str) -> None:
    answer = await door.http.post(path, json={f"x{n}": 1 for n in range(20_000)})
    problem(answer, 422, "body")
    assert len(answer.content) < 1000


async def test_an_answer_names_a_hundred_bad_fields_at_most(door: Instance) -> None:
    many = {f"x-{n}": 1 for n in range(50)}
    events = [1] * 100
    answer = await door.http.post(WEBHOOK, json={"url": URL, "headers": many, "metadata": many, "events": events})
    assert len(problem(answer, 422)["errors"]) == 100


async def test_errors_under_a_long_key_cost_no_memory(door: Instance) -> None:
    """The path of each value was spelled once: a kilobyte times 19,000."""
    import tracemalloc

    body = json.dumps(event(door, data={"k" * 1_000: [0] * 19_000 + [float("inf")]})).replace("Infinity", "1e999")
    tracemalloc.start()
    with monitor.paused():  # each step takes several times as long while memory is traced
        answer = await post(door, EVENT, body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    (error,) = problem(answer, 422)["errors"]
    assert len(error["path"]) < 200
    assert peak < 10_000_000


# Queries and paths

FORGED = base64.urlsafe_b64encode(b"\0" * 16 + b"2026-01-01T00:00:00+00:00 wh_1").decode()

BAD_EVENT_QUERIES: list[tuple[str, str]] = [
    *(("limit", limit) for limit in ("0", "101", "-1", "1.5", "ten", "", "9" * 5000)),
    *(("cursor", cursor) for cursor in ("x", "!", "%00", "é", "A" * 5000, "====", "AAAA AAAA", FORGED)),
    *(
        (name, when)
        for name in ("since", "until")
        for when in (
            "",
            "yesterday",
            "1700000000",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-13-01T00:00:00Z",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            "2026-01-01T00:00:00Z' OR 'a'='a",
        )
    ),
    *(("status", status) for status in ("", "done", "Failed", "failed ", "retrying")),
    *(("needs_attention", needs_attention) for needs_attention in ("", "maybe", "2")),
    *(("type", type_) for type_ in ("", "order.*", "a'b", "a..b", "a" * 129)),
    *(("tenant", tenant) for tenant in ("", "a.b", "a' OR 'a'='a", "a\n", "a" * 65)),
    *(("webhook", webhook) for webhook in ("", "a.b", "a'", "wh 1", "a" * 129)),
    *(("delivery_status", status) for status in ("", "done", "scheduled")),
    *(("status_code", code) for code in ("", "5x", "6xx", "0xx", "5XX", "600", "99", "1000", "5xx ")),
    *(("error", error) for error in ("", "a b", "TIMEOUT", "a'", "a" * 65)),
    *(("min_attempts", number) for number in ("", "0", "-1", "1.5", "10001", "9" * 5000)),
    *(("channel", channel) for channel in ("", "sms")),
    *(("id_prefix", prefix) for prefix in ("", "a%", "a'", "a.b", "a" * 129)),
    *(("last", period) for period in ("", "0h", "1", "h", "1w", "-1h", "99999d", "1.5h")),
    *(("total", total) for total in ("", "maybe")),
]


@each(("name", "value"), BAD_EVENT_QUERIES)
async def test_a_bad_query_of_events_is_refused(door: Instance, name: str, value: str) -> None:
    path = f"{name}.0" if name in ("type", "status", "delivery_status") else name  # lists
    problem(await door.http.get(EVENT, params={name: value}), 400 if name == "cursor" else 422, path)


async def test_filters_that_exclude_each_other_or_are_too_many_are_refused(door: Instance) -> None:
    both = {"since": "2026-01-01T00:00:00Z", "last": "1h"}
    problem(await door.http.get(EVENT, params=both), 422, "last")
    problem(await door.http.get(EVENT, params={"type": [f"t{n}" for n in range(21)]}), 422, "type")


# Base64 of what is no token of Temporal's: "x", three NULs, "[]", two bytes.
TOKENS = ["eA==", "AAAA", "W10=", "abc="]


@each(
    ("method", "path", "known"),
    [
        ("GET", "/v1/webhooks", "parameters are cursor, enabled, event, limit, q, status, tenant"),
        ("GET", "/v1/events/stream", "parameters are "),
        ("GET", "/v1/system", "this path takes no parameters"),
        ("POST", EVENT, "this path takes no parameters"),
        ("POST", f"{EVENT}/batch", "this path takes no parameters"),
        ("DELETE", f"{WEBHOOK}/wh_1", "parameters are tenant"),
    ],
)
async def test_an_unknown_parameter_is_refused(door: Instance, method: str, path: str, known: str) -> None:
    body = event(door) if path == EVENT else {"events": [event(door)]} if method == "POST" else None
    answer = await door.http.request(method, path, params={"tennant": door.tenant}, json=body)
    assert problem(answer, 422, "tennant")["errors"][0]["detail"].startswith(f"Unknown parameter: {known}")


async def test_thousands_of_parameters_are_refused(door: Instance) -> None:
    answer = await door.http.get("/v1/events?" + "&".join(f"p{n}" for n in range(1500)))
    assert len(answer.json()["errors"]) == 100


async def test_a_forged_cursor_is_refused(door: Instance) -> None:
    for cursor in TOKENS:
        async with asyncio.timeout(CALL_TIMEOUT):
            problem(await door.http.get(EVENT, params={"cursor": cursor}), 400, "cursor")


BAD_WEBHOOK_QUERIES: list[tuple[str, str]] = [
    *(("limit", limit) for limit in ("0", "101", "-1", "1.5", "ten", "", "9" * 5000)),
    *(("cursor", cursor) for cursor in ("", "x", "!", "%00", "é", "A" * 5000, *TOKENS)),
    *(
        ("cursor", cursor)
        for cursor in ("OTk5OS05OS05OVQwMDowMDowMCswMDowMCB4", "MjAyNi0wMS0wMVQwMDowMDowMCswMDowMCA=")
    ),
    *(("enabled", enabled) for enabled in ("", "maybe", "2")),
    *(("event", type_) for type_ in ("", "order.*", "a'b", "a..b", "a" * 129)),
    *(("tenant", tenant) for tenant in ("", "a.b", "a' OR 'a'='a", "a\n", "a" * 65)),
]


@each(("name", "value"), BAD_WEBHOOK_QUERIES)
async def test_a_bad_query_of_webhooks_is_refused(door: Instance, name: str, value: str) -> None:
    problem(await door.http.get(WEBHOOK, params={name: value}), 400 if name == "cursor" else 422, name)


def requests_with(id_: str) -> Iterator[tuple[str, str]]:
    for command in ("retry", "cancel", "hold", "release", "redeliver"):
        yield "POST", f"{EVENT}/{id_}/{command}"
    yield "GET", f"{EVENT}/{id_}"
    yield from (("GET", f"{WEBHOOK}/{id_}"), ("PATCH", f"{WEBHOOK}/{id_}"), ("DELETE", f"{WEBHOOK}/{id_}"))
    yield from (("GET", f"{WEBHOOK}/{id_}/secret"), ("POST", f"{WEBHOOK}/{id_}/test"))
    yield "POST", f"{WEBHOOK}/{id_}/rotate-secret"


@each("id_", ["a.b", "x" * 129, "x" * 20_000, "%0a", "a%00b", "%ff", "%C3%A9", "a%20b", "a%27b", "%2e"])
async def test_a_malformed_id_in_a_path_is_refused(door: Instance, id_: str) -> None:
    for method, path in requests_with(id_):
        answer = await door.http.request(method, path, json={} if method == "PATCH" else None)
        problem(answer, 422, "event_id" if path.startswith(EVENT) else "webhook_id")


@each("id_", ["a%2fb", "../../healthz%3f", ".."])
async def test_dots_and_slashes_in_an_id_reach_no_other_path(door: Instance, id_: str) -> None:
    for method, path in requests_with(id_):
        answer = await door.http.request(method, path)
        assert answer.status_code in (404, 405, 422), (method, path, answer.text)
        problem(answer, answer.status_code)
        await asyncio.sleep(0)  # these answers await nothing, and together they would hold the event loop


@each("tenant", ["", "a.b", "a' OR 'a'='a", "x" * 65])
async def test_a_bad_tenant_in_a_query_is_refused(door: Instance, tenant: str) -> None:
    problem(await door.http.get(f"{EVENT}/e", params={"tenant": tenant}), 422, "tenant")
    problem(await door.http.post(f"{EVENT}/e/cancel", params={"tenant": tenant}), 422, "tenant")


@each(
    ("body", "path"),
    [({"delivery": 1}, "delivery"), ({"delivery": "x" * 257}, "delivery"), ({"x": 1}, "x"), ([], "body")],
)
async def test_a_bad_command_is_refused(door: Instance, body: Any, path: str) -> None:
    for command in ("retry", "cancel", "hold", "release", "redeliver"):
        problem(await door.http.post(f"{EVENT}/e/{command}", json=body), 422, path)


@pytest.fixture
async def known(door: Instance) -> AsyncIterator[str]:
    """The path of a webhook that is registered until the test has ended."""
    path = f"{WEBHOOK}/{(await door.webhook(URL))['id']}"
    yield path
    assert (await door.http.delete(path)).status_code == 204


@each(
    ("body", "path"),
    [
        ({"grace": -1}, "grace"),
        ({"grace": 30 * 86400 + 1}, "grace"),
        ({"grace": 1.5}, "grace"),
        ({"grace": "60"}, "grace"),
        ({"grace": True}, "grace"),
        ({"grace": None}, "grace"),
        ({"grace": 10**300}, "grace"),
        ({"end_previous": "yes"}, "end_previous"),
        ({"secret": "whsec_"}, "secret"),
        ({"secrets": "x"}, "secrets"),
        ([], "body"),
    ],
)
async def test_a_bad_rotation_is_refused(door: Instance, known: str, body: Any, path: str) -> None:
    problem(await door.http.post(f"{known}/rotate-secret", json=body), 422, path)


@each(("body", "path"), [({"type": "a..b"}, "type"), ({"type": None}, "type"), ({"id": "a b"}, "id")])
async def test_a_bad_test_event_is_refused(door: Instance, known: str, body: Any, path: str) -> None:
    problem(await door.http.post(f"{known}/test", json=body), 422, path)


async def test_only_a_batch_of_events_has_the_limit_of_a_batch(door: Instance) -> None:
    """`batch` is also a possible webhook id: its change has the limit of any body."""
    large = json.dumps({"description": "x" * (door.settings.max_event_bytes + 1)})
    for method, path in (("PATCH", "/v1/webhooks/batch"), ("POST", "/v1/events/batch/batch")):
        answer = await door.http.request(method, path, content=large, headers={"content-type": "application/json"})
        assert answer.status_code in (404, 413), answer.text
    answer = await door.http.patch("/v1/webhooks/batch", content=large, headers={"content-type": "application/json"})
    problem(answer, 413)


async def test_a_cursor_of_another_list_is_refused(door: Instance) -> None:
    """A cursor is signed for its list, and the signature covers all of it."""
    for n in range(2):
        body = {"tenant": door.tenant, "address": f"a{n}@acme.example"}
        assert (await door.http.post("/v1/suppressions", json=body)).status_code == 201
    page = (await door.http.get("/v1/suppressions", params={"tenant": door.tenant, "limit": 1})).json()
    cursor = page["next_cursor"]
    again = await door.http.get("/v1/suppressions", params={"tenant": door.tenant, "cursor": cursor})
    assert len(again.json()["items"]) == 1
    problem(await door.http.get("/v1/webhooks", params={"cursor": cursor}), 400, "cursor")
    changed = ("B" if cursor[0] == "A" else "A") + cursor[1:]
    problem(await door.http.get("/v1/suppressions", params={"cursor": changed}), 400, "cursor")
