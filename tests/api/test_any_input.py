"""Whatever is posted, the API never answers 5xx. Hypothesis makes up the bodies."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import problem
from temporalio.client import Client

from instances import Instance, running_instance

JSON = {"content-type": "application/json"}
NOW = datetime.now(UTC)
PATHS = ("/v1/events", "/v1/webhooks")
some = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
async def door(temporal: Client, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Instance]:
    async with running_instance(temporal, tmp_path_factory.mktemp("door")) as built, built.working():
        yield built


async def check(instance: Instance, path: str, body: bytes, content_type: str = "application/json") -> None:
    """Check that the answer is one that the OpenAPI document has: success, or a problem of the client's making."""
    answer = await instance.http.post(path, content=body, headers={"content-type": content_type})
    if answer.status_code == 207:
        assert all(item["status"] < 500 for item in answer.json()["items"]), answer.text
    elif not answer.is_success:
        assert answer.status_code in (400, 409, 413, 415, 422), answer.text
        problem(answer, answer.status_code)
    elif path == "/v1/webhooks":
        shown = await instance.http.get(f"/v1/webhooks/{answer.json()['id']}")
        assert shown.status_code == 200, shown.text


def written(value: Any) -> bytes:
    """Write JSON as Python does: also NaN, infinities and half surrogates, which are none."""
    return json.dumps(value).encode()


text = st.text(st.characters(), max_size=20) | st.sampled_from(["*", "a.b", "a.*", "http://", "whsec_", "\ud800", "\0"])
plain = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | text | st.just(10**307) | st.just(-(10**307))
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4))


def seldom(strange: st.SearchStrategy[Any], usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 19).flatmap(lambda dice: strange if dice == 7 else usual)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Make objects with some of the fields, and now and then with one that is bad or unknown."""
    mixed = {name: seldom(anything, strategy) for name, strategy in fields.items()}
    extra = seldom(st.dictionaries(text, anything, max_size=1), st.just({}))
    return st.builds(lambda made, more: made | more, st.fixed_dictionaries({}, optional=mixed), extra)


ids = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
tenants = ids.map(lambda id_: f"e{id_}")
types = st.from_regex(r"[a-z]{1,3}(\.[a-z]{1,3}){0,2}", fullmatch=True)
times = st.datetimes(timezones=st.timezones()).map(lambda when: when.isoformat())
just_now = st.timedeltas(timedelta(minutes=-3), timedelta(minutes=3)).map(lambda off: (NOW + off).isoformat())
events = objects(
    type=types, id=ids, tenant=tenants, data=anything, timestamp=just_now | times, deliver_at=just_now | times
).map(lambda made: {"type": "a", **made})
urls = st.builds("".join, st.tuples(st.sampled_from(["http://", "HTTPS://", "ftp:"]), text, st.just("/"), text))
delays = seldom(st.floats(-1, 1e6), st.floats(0, 6e5) | st.integers(0, 600_000))
policies = objects(schedule=st.lists(delays, max_size=52)) | objects(
    initial=delays, coefficient=st.floats(0.5, 11), maximum=delays, attempts=st.integers(0, 52)
)
webhooks = objects(
    url=seldom(urls, st.just("https://acme.example/hook")),
    tenant=ids.map(lambda id_: f"w{id_}"),  # not those of the events: nothing is to be delivered
    name=plain,
    description=seldom(text, plain),
    events=st.lists(types | types.map(lambda type_: f"{type_}.*") | st.just("*"), max_size=5),
    headers=st.dictionaries(seldom(text, ids), seldom(text, ids), max_size=3),
    retry=policies,
    timeout=st.floats(0, 31) | st.floats(1, 30),
    enabled=st.booleans(),
    metadata=st.dictionaries(plain, plain, max_size=3),
    secret=st.binary(min_size=20, max_size=66).map(lambda raw: f"whsec_{b64encode(raw).decode()}"),
    signature_scheme=st.sampled_from(["v1", "v1a"]),
).map(lambda made: {"url": "http://acme.example", **made})


@some
@given(path=st.sampled_from([*PATHS, "/v1/events/batch"]), body=st.binary(max_size=200))
async def test_any_bytes_are_answered_without_5xx(door: Instance, path: str, body: bytes) -> None:
    await check(door, path, body)


@some
@given(path=st.sampled_from(PATHS), body=events.map(written) | webhooks.map(written), content_type=text)
async def test_any_content_type_is_answered_without_5xx(
    door: Instance, path: str, body: bytes, content_type: str
) -> None:
    header = content_type.encode(errors="replace").replace(b"\0", b"")
    answer = await door.http.post(path, content=body, headers={b"content-type": header})
    assert answer.status_code < 500, answer.text


@some
@given(path=st.sampled_from([*PATHS, "/v1/events/batch"]), value=anything)
async def test_any_json_is_answered_without_5xx(door: Instance, path: str, value: Any) -> None:
    await check(door, path, written(value))


@some
@given(value=events)
async def test_any_event_is_answered_without_5xx(door: Instance, value: dict[str, Any]) -> None:
    await check(door, "/v1/events", written(value))


@some
@given(values=st.lists(events | anything, max_size=5))
async def test_any_batch_is_answered_without_5xx(door: Instance, values: list[Any]) -> None:
    await check(door, "/v1/events/batch", written({"events": values}))


@some
@given(value=webhooks)
async def test_any_webhook_is_answered_without_5xx(door: Instance, value: dict[str, Any]) -> None:
    await check(door, "/v1/webhooks", written(value))


@some
@given(value=webhooks)
async def test_any_change_of_a_webhook_is_answered_without_5xx(door: Instance, value: dict[str, Any]) -> None:
    made = await door.webhook("https://acme.example/hook", headers={"x-key": "1"})
    answer = await door.http.patch(f"/v1/webhooks/{made['id']}", content=written(value), headers=JSON)
    assert answer.status_code in (200, 400, 422), answer.text


@some
@given(
    path=st.sampled_from(PATHS),
    query=st.dictionaries(
        st.sampled_from(
            [
                *("limit", "cursor", "since", "until", "tenant", "type", "event", "webhook", "status"),
                *("needs_attention", "delivery_status", "status_code", "error", "min_attempts", "channel"),
                *("id_prefix", "last", "total"),
            ]
        ),
        st.text(st.characters(codec="utf-8"), max_size=10) | times | st.integers(-5, 200).map(str),
        max_size=4,
    ),
)
async def test_any_query_is_answered_without_5xx(door: Instance, path: str, query: dict[str, str]) -> None:
    answer = await door.http.get(path, params=query)
    assert answer.status_code in ((200, 400, 422) if "cursor" in query else (200, 422)), answer.text
