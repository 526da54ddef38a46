"""Batches: one answer an event, in order, whatever becomes of the others."""

import asyncio
from typing import Any

import pytest
from problems import FIELDS, problem

from activities import health
from hookkeeper import ids
from instances import Instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT

LIMIT = 256 * 1024


async def send(instance: Instance, events: list[Any]) -> list[dict[str, Any]]:
    answer = await instance.http.post("/v1/events/batch", json={"events": events})
    assert answer.status_code == 207, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    assert len(items) == len(events)
    for item in items:
        assert set(item) == {"status", "event", "problem"}
        assert (item["event"] is None) is (item["status"] >= 300)
        if (found := item["problem"]) is not None:
            assert [field for field in found if field != "event_id"] == FIELDS
            assert found["status"] == item["status"]
    return items


async def send_until_accepted(instance: Instance, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Send the batch, and again what a busy Temporal has refused; a refused event may have been started."""
    items = await send(instance, events)
    while refused := [n for n, item in enumerate(items) if item["status"] == 503]:
        for n, item in zip(refused, await send(instance, [events[n] for n in refused]), strict=True):
            items[n] = item
    assert {item["status"] for item in items} <= {200, 202}
    return items


async def started(instance: Instance) -> int:
    return (await instance.temporal.count_workflows(f"TaskQueue = '{instance.settings.task_queue}'")).count


async def until_started(instance: Instance, count: int) -> None:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await started(instance) < count:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.1)
    assert await started(instance) == count


@pytest.mark.promise("docs/events.md")
async def test_a_batch_of_a_thousand_events_is_accepted_in_order_and_once(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are accepted in the order of the batch, and share runs; a repetition starts nothing."""
    monkeypatch.setattr(health, "SLOW_MS", 30_000)  # a busy machine takes long for hundreds of attempts at once
    await instance.webhook(inbox.url)
    events = [{"type": "order.paid", "tenant": instance.tenant, "id": f"e{n}", "data": n} for n in range(1000)]
    items = await send_until_accepted(instance, events)
    assert [item["event"]["id"] for item in items] == [event["id"] for event in events]
    requests = await inbox.got(1000)
    assert {request.webhook_id for request in requests} == {event["id"] for event in events}
    shared = [item["event"]["workflow_id"] for item in items if ids.is_shared_run(item["event"]["workflow_id"])]
    assert len(shared) >= 10 * len(set(shared)) > 0

    again = await send_until_accepted(instance, events[:1000:20])
    assert [item["status"] for item in again] == [200] * 50
    assert [item["event"]["workflow_id"] for item in again] == [item["event"]["workflow_id"] for item in items[::20]]
    await asyncio.sleep(0.5)
    assert len(inbox.requests) == 1000


async def test_an_item_of_the_response_is_as_that_of_a_single_post(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    event = {"type": "order.paid", "tenant": instance.tenant, "id": "e"}
    (item,) = await send(instance, [event])
    await instance.until_final("e")
    single = (await instance.http.post("/v1/events", json=event)).json()
    later = {name: item["event"][name] for name in ("run_id", "links")}  # when it was accepted, it had no run
    assert item["event"] == single | {"duplicate": False, "status": "delivering"} | later
    conflicting = event | {"data": 1}
    (item,) = await send(instance, [conflicting])
    assert item["problem"] == (await instance.http.post("/v1/events", json=conflicting)).json()
    (item,) = await send(instance, [event | {"type": "a..b", "x": 1}])
    assert item["problem"] == (await instance.http.post("/v1/events", json=event | {"type": "a..b", "x": 1})).json()


@pytest.mark.promise("docs/events.md")
async def test_a_refused_event_of_a_batch_affects_no_other(own_instance: Instance, inbox: Receiver) -> None:
    await own_instance.webhook(inbox.url)
    known = {"type": "known", "tenant": own_instance.tenant, "id": "known"}
    await own_instance.send("known", id="known")
    await own_instance.until_final("known")

    def good(event_id: str, **fields: Any) -> dict[str, Any]:
        return {"type": "good", "tenant": own_instance.tenant, "id": event_id, **fields}

    expected: list[tuple[Any, int]] = [
        (good("first"), 202),
        ({"type": "a..b", "tenant": own_instance.tenant, "id": "bad-type"}, 422),
        (known, 200),
        (known | {"data": 2}, 409),
        (good("large", data="x" * LIMIT), 413),
        (good("middle"), 202),
        (good("grown", data=[1e15] * 15_000), 413),
        ({}, 422),
        (None, 422),
        (7, 422),
        ("text", 422),
        ([], 422),
        (good("unknown-field", webhooks=[]), 422),
        (good("many-fields", **{f"x{n}": 1 for n in range(1_000)}), 422),
        (good("past", deliver_at="1970-01-01T00:00:00Z"), 422),
        (good("a.b"), 422),
        ({"type": "good", "tenant": "a.b", "id": "bad-tenant"}, 422),
        (good("nearly-large", data="x" * (LIMIT - 200)), 202),
        (good("last"), 202),
    ]
    items = await send(own_instance, [event for event, _ in expected])
    assert [item["status"] for item in items] == [status for _, status in expected]
    assert {error["path"] for error in items[7]["problem"]["errors"]} == {"type"}
    assert [error["path"] for error in items[14]["problem"]["errors"]] == ["deliver_at"]
    accepted = {"first", "middle", "nearly-large", "last"}
    await inbox.got(1 + len(accepted))
    assert {request.webhook_id for request in inbox.requests} == accepted | {"known"}
    runs = {item["event"]["workflow_id"] for item in items if item["status"] == 202}
    await until_started(own_instance, 1 + len(runs))


async def test_an_event_that_is_in_a_batch_many_times_is_accepted_once(own_instance: Instance, inbox: Receiver) -> None:
    await own_instance.webhook(inbox.url)
    event = {"type": "order.paid", "tenant": own_instance.tenant, "id": "e", "data": {"a": 1, "b": 2}}
    turned = event | {"data": {"b": 2, "a": 1}}
    items = await send(own_instance, [event, turned] * 20)
    assert sorted(item["status"] for item in items) == [200] * 39 + [202]
    assert len({item["event"]["workflow_id"] for item in items}) == 1
    await own_instance.until_final("e")
    await until_started(own_instance, 1)
    assert len(inbox.requests) == 1


async def test_equal_events_without_ids_are_different_events(instance: Instance) -> None:
    event = {"type": "order.paid", "tenant": instance.tenant}
    answer = await instance.http.post(
        "/v1/events/batch", json={"events": [event] * 3}, headers={"idempotency-key": "not-for-batches"}
    )
    events = [item["event"] for item in answer.json()["items"]]
    assert len({event["id"] for event in events}) == 3
    assert "not-for-batches" not in answer.text


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"events": [{"type": "a", "tenant": "TENANT"}] * 1001}, "events"),
        ({"events": []}, "events"),
        ({"events": {}}, "events"),
        ({"events": None}, "events"),
        ({}, "events"),
        ({"events": [{"type": "a", "tenant": "TENANT"}], "x": 1}, "x"),
        ([{"type": "a", "tenant": "TENANT"}], "body"),
    ],
    ids=lambda part: str(part)[:50],
)
async def test_a_malformed_batch_is_refused_as_a_whole(idle_instance: Instance, body: Any, path: str) -> None:
    problem(await idle_instance.http.post("/v1/events/batch", json=body), 422, path)
    await idle_instance.send()
    await until_started(idle_instance, 1)


async def test_invalid_json_in_one_event_refuses_the_whole_batch(idle_instance: Instance) -> None:
    good = f'{{"type": "a", "tenant": "{idle_instance.tenant}"}}'
    for bad, status in ((r'{"data": "\ud800"}', 400), ('{"data": NaN}', 400), ('{"data": 1e999}', 422)):
        answer = await idle_instance.http.post(
            "/v1/events/batch",
            content=f'{{"events": [{good}, {bad}]}}',
            headers={"content-type": "application/json"},
        )
        problem(answer, status, *(["events.1.data"] if status == 422 else []))
    await idle_instance.send()
    await until_started(idle_instance, 1)


async def test_a_batch_over_eight_mebibytes_is_refused(idle_instance: Instance) -> None:
    events = [{"type": "a", "tenant": idle_instance.tenant, "data": "x" * 200_000}] * 42
    problem(await idle_instance.http.post("/v1/events/batch", json={"events": events}), 413)
    await idle_instance.send()
    await until_started(idle_instance, 1)
