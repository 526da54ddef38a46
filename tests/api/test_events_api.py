"""Events over HTTP: each is accepted once, shown with all attempts, and controlled by commands."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from aiohttp.http import SERVER_SOFTWARE
from callers import calling, make_key
from problems import problem

from crowds import crowd
from hookkeeper.content.emails import Email
from hookkeeper.content.notifications import Notification
from hookkeeper.registry.numbering import first
from hookkeeper.services.events.ingest import MAX_TARGETS
from instances import Instance
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def post(instance: Instance, **fields: Any) -> httpx.Response:
    return await instance.http.post("/v1/events", json={"type": "order.paid", "tenant": instance.tenant, **fields})


async def runs(instance: Instance, event_id: str) -> list[str]:
    """Return the ids of all runs of an event."""
    workflow_id = instance.run(event_id).id
    return [run.run_id async for run in instance.temporal.list_workflows(f"WorkflowId = '{workflow_id}'")]


async def until_runs(instance: Instance, event_id: str, count: int) -> None:
    """Wait until Temporal's visibility has caught up; then it must have no more than that."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while len(await runs(instance, event_id)) < count:
            await asyncio.sleep(0.05)
    assert len(await runs(instance, event_id)) == count


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


# What is answered


@pytest.mark.promise("README.md")
async def test_an_accepted_event_is_answered_with_its_ids_deliveries_and_links(instance: Instance) -> None:
    first, second = [await instance.webhook("https://acme.example/hook?key=1") for _ in range(2)]
    answer = await post(instance, data={"order": 1})
    assert answer.status_code == 202
    accepted = answer.json()
    id_, tenant = accepted["id"], instance.tenant
    assert re.fullmatch(r"evt_[0-9a-f]{24}", id_)
    workflow_id = f"event-{tenant}-{id_}"
    assert accepted == {
        "id": id_,
        "type": "order.paid",
        "tenant": tenant,
        "status": "delivering",
        "duplicate": False,
        "workflow_id": workflow_id,
        "run_id": "",
        "deliveries": [
            {"id": webhook["id"], "webhook_id": webhook["id"], "channel": "webhook"} for webhook in (first, second)
        ],
        "note": None,
        "links": {
            "self": f"http://127.0.0.1:8080/v1/events/{id_}?tenant={tenant}",
            "temporal": f"http://temporal-ui.test/namespaces/default/workflows/{workflow_id}",
        },
    }
    await instance.settled()
    assert (await instance.run(id_).describe()).task_queue == instance.settings.task_queue


@pytest.mark.promise("docs/events.md")
async def test_an_event_is_shown_with_all_deliveries_and_attempts(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(503, "busy")
    webhook = await instance.webhook(f"{inbox.url}?key=secret", retry={"schedule": [3600]})
    data = {"z": [1.5, None, "ü"], "a": {}}
    accepted = await instance.send(data=data, timestamp="2026-01-02T04:04:05.678901+01:00")
    event = await instance.until_delivery(accepted["id"], "retrying", 1)

    (delivery,) = event["deliveries"]
    (attempt,) = delivery["attempts"]
    for time in (event["accepted_at"], delivery["next_attempt_at"], attempt["started_at"]):
        assert TIME.fullmatch(time)
    assert event["accepted_at"] <= attempt["started_at"] < delivery["next_attempt_at"]
    phases = ("duration_ms", "queue_ms", "connect_ms", "first_byte_ms")
    assert all(0 < attempt[phase] < 15_000 for phase in phases)
    assert event == {
        "id": accepted["id"],
        "type": "order.paid",
        "tenant": instance.tenant,
        "timestamp": "2026-01-02T03:04:05.678Z",
        "channels": [],
        "data": data,
        "status": "delivering",
        "deliver_at": None,
        "accepted_at": event["accepted_at"],
        "finished_at": None,
        "acknowledged": None,
        "left_out": [],
        "workflow_id": accepted["workflow_id"],
        "run_id": event["run_id"],
        "links": accepted["links"] | {"temporal": f"{accepted['links']['temporal']}/{event['run_id']}/timeline"},
        "deliveries": [
            {
                "id": webhook["id"],
                "webhook_id": webhook["id"],
                "channel": "webhook",
                "target": inbox.url,
                "status": "retrying",
                "reason": None,
                "next_attempt_at": delivery["next_attempt_at"],
                "attempts": [
                    {
                        "number": 1,
                        "trigger": "scheduled",
                        "started_at": attempt["started_at"],
                        **{phase: attempt[phase] for phase in phases},
                        "status_code": 503,
                        "error": "http_503",
                        "request_digest": attempt["request_digest"],
                        "response_headers": {"content-type": "text/plain; charset=utf-8", "server": SERVER_SOFTWARE},
                        "response_excerpt": "busy",
                        "error_text": "The receiver's proxy cannot reach it: 503 Service Unavailable",
                        "remedy": attempt["remedy"],
                    }
                ],
                "attempts_omitted": 0,
                "awaiting": [],
                "receipts": [],
            }
        ],
    }
    assert list(event["data"]) == ["z", "a"]

    await instance.command(accepted["id"], "cancel")
    closed = await instance.until_final(accepted["id"])
    assert TIME.fullmatch(closed["finished_at"])
    assert set(closed) == set(event)


async def test_an_event_without_a_tenant_has_the_default_one(instance: Instance) -> None:
    answer = await instance.http.post("/v1/events", json={"type": "order.paid"})
    accepted = answer.json()
    assert accepted["tenant"] == "default"
    assert accepted["links"]["self"] == f"http://127.0.0.1:8080/v1/events/{accepted['id']}"
    assert accepted["workflow_id"] == f"event-default-{accepted['id']}"


@pytest.mark.promise("docs/events.md")
@pytest.mark.parametrize(
    "data",
    [
        None,
        True,
        0,
        -0.5,
        "",
        [],
        {},
        "\x00\x1f\u2028 😀 é",
        10**307,
        1e308,
        12345678901234567890,
        0.1,
        {"": {" ": [[]]}, "__proto__": 1},
    ],
    ids=lambda data: repr(data)[:20],
)
async def test_any_json_is_delivered_as_it_was_posted(instance: Instance, inbox: Receiver, data: Any) -> None:
    await instance.webhook(inbox.url)
    accepted = await instance.send(data=data)
    (request,) = await inbox.got(1)
    event = await instance.until_final(accepted["id"])
    for arrived in (json.loads(request.body)["data"], event["data"]):
        assert arrived == data
        assert type(arrived) is type(data)


# Accepted once


@pytest.mark.promise("docs/events.md")
async def test_fifty_simultaneous_posts_of_an_id_are_one_event(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    answers = await asyncio.gather(*(post(instance, id="evt_once", data={"n": 1}) for _ in range(50)))
    bodies = [answer.json() for answer in answers]
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [202]
    assert [body["duplicate"] for body in bodies] == [answer.status_code == 200 for answer in answers]
    for name in ("id", "workflow_id", "deliveries"):
        assert all(body[name] == bodies[0][name] for body in bodies)

    await instance.until_final("evt_once")
    await until_runs(instance, "evt_once", 1)
    await asyncio.sleep(0.2)
    assert len(inbox.requests) == 1


SCHEDULED: dict[str, Any] = {
    "data": {"a": 1, "b": [1, 2]},
    "timestamp": "2026-01-02T03:04:05Z",
    "deliver_at": in_days(10),
}


@pytest.mark.promise("docs/events.md")
@pytest.mark.parametrize(
    "again",
    [
        SCHEDULED,
        dict(reversed(SCHEDULED.items())),
        SCHEDULED | {"data": {"b": [1, 2], "a": 1}},
        SCHEDULED | {"timestamp": "2026-01-02T04:04:05.000+01:00"},
    ],
    ids=["the same", "fields in another order", "keys in another order", "the same time in another zone"],
)
async def test_the_same_content_again_is_the_same_event(
    instance: Instance, inbox: Receiver, again: dict[str, Any]
) -> None:
    await instance.webhook(inbox.url)
    first = await instance.send(id="e", **SCHEDULED)
    answer = await post(instance, id="e", **again)
    assert answer.status_code == 200
    assert answer.json() == first | {"duplicate": True}
    await until_runs(instance, "e", 1)


@pytest.mark.promise("docs/events.md")
@pytest.mark.parametrize(
    "change",
    [
        {"data": {"a": 2, "b": [1, 2]}},
        {"data": {"a": 1, "b": [2, 1]}},
        {"data": {"a": 1.5, "b": [1, 2]}},
        {"data": {"a": True, "b": [1, 2]}},
        {"data": {"a": "1", "b": [1, 2]}},
        {"data": {"a": 1, "b": [1, 2], "c": None}},
        {"data": {"A": 1, "b": [1, 2]}},
        {"data": None},
        {"type": "order.shipped"},
        {"timestamp": "2026-01-02T03:04:06Z"},
        {"timestamp": None},
        {"deliver_at": in_days(11)},
        {"deliver_at": None},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_other_content_under_the_same_id_is_a_conflict(
    instance: Instance, inbox: Receiver, change: dict[str, Any]
) -> None:
    await instance.webhook(inbox.url)
    first = await instance.send(id="e", **SCHEDULED)
    problem(await post(instance, id="e", **SCHEDULED | change), 409)
    await until_runs(instance, "e", 1)
    event = await instance.event("e")
    assert (event["workflow_id"], event["status"]) == (first["workflow_id"], "scheduled")
    assert event["data"] == SCHEDULED["data"]
    assert inbox.requests == []


async def test_a_finished_event_is_not_delivered_again(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    first = await instance.send(id="e")
    await instance.until_final("e")
    await instance.webhook(inbox.url)  # who comes later gets later events only
    again = await post(instance, id="e")
    assert again.status_code == 200
    assert (again.json()["id"], again.json()["duplicate"], again.json()["status"]) == (first["id"], True, "succeeded")
    problem(await post(instance, id="e", data=1), 409)
    await asyncio.sleep(0.2)
    assert len(inbox.requests) == 1


async def test_a_scheduled_event_is_known_after_its_time(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver_at = (datetime.now(UTC) - timedelta(seconds=5)).isoformat()
    await instance.send(id="e", deliver_at=deliver_at)
    monkeypatch.setattr("hookkeeper.services.events.ingest.MAX_CLOCK_SKEW", timedelta(0))  # the minute has passed
    answer = await post(instance, id="e", deliver_at=deliver_at)
    assert (answer.status_code, answer.json()["duplicate"]) == (200, True)
    problem(await post(instance, id="e", deliver_at=deliver_at, data="other"), 409)
    problem(await post(instance, id="another", deliver_at=deliver_at), 422, "deliver_at")
    problem(await post(instance, deliver_at=deliver_at), 422, "deliver_at")


@pytest.mark.promise("docs/events.md")
async def test_the_idempotency_key_is_the_id_of_an_event_without_one(instance: Instance) -> None:
    async def keyed(**fields: Any) -> httpx.Response:
        return await instance.http.post(
            "/v1/events",
            json={"type": "order.paid", "tenant": instance.tenant, **fields},
            headers={"idempotency-key": "key-1"},
        )

    first, again, own = await keyed(), await keyed(), await keyed(id="own")
    assert [answer.status_code for answer in (first, again, own)] == [202, 200, 202]
    assert [answer.json()["id"] for answer in (first, again, own)] == ["key-1", "key-1", "own"]
    problem(await keyed(data=2), 409)
    assert (await instance.send(id="key-1"))["duplicate"] is True


async def test_if_match_accepts_only_what_was_accepted_before(instance: Instance) -> None:
    """So that an event which another cell may have is not accepted twice."""

    async def matched(path: str = "", tag: str = "*", **body: Any) -> httpx.Response:
        return await instance.http.post(f"/v1/events{path}", json=body, headers={"if-match": tag})

    event = {"type": "order.paid", "tenant": instance.tenant, "id": "known"}
    problem(await matched(**event), 412)
    await instance.send(id="known")
    answer = await matched(**event)
    assert (answer.status_code, answer.json()["duplicate"]) == (200, True)
    problem(await matched(**event, data=1), 409)
    without_id = {"type": "order.paid", "tenant": instance.tenant}
    problem(await matched(**without_id), 412)
    batch = await matched("/batch", events=[event, without_id, event | {"id": "new"}])
    assert [item["status"] for item in batch.json()["items"]] == [200, 412, 412]
    problem(await instance.http.get("/v1/events/new", params={"tenant": instance.tenant}), 404)
    problem(await matched(**event, tag='"v1"'), 422, "if-match")
    problem(await matched("/batch", events=[event], tag='"v1"'), 422, "if-match")


@pytest.mark.parametrize("key", [b"", b"a.b", b"x" * 129, b"a b", b"\xc3\xbc"])
async def test_a_bad_idempotency_key_is_refused(instance: Instance, key: bytes) -> None:
    answer = await instance.http.post(
        "/v1/events", json={"type": "a", "tenant": instance.tenant}, headers={b"idempotency-key": key}
    )
    problem(answer, 422, "idempotency-key")


@pytest.mark.parametrize(
    ("body", "key", "fields"),
    [
        (b"", b"fine", ["body"]),
        (b"null", b"fine", ["body"]),
        (b"[]", b"fine", ["body"]),
        (b"{}", b"a b", ["idempotency-key", "type"]),
        (b'{"type": "a", "id": "a b", "deliver_at": 1, "more": 1}', b"fine", ["id", "deliver_at", "more"]),
    ],
)
async def test_the_errors_of_body_and_header_are_answered_together(
    instance: Instance, body: bytes, key: bytes, fields: list[str]
) -> None:
    answer = await instance.http.post(
        "/v1/events", content=body, headers={b"idempotency-key": key, b"content-type": b"application/json"}
    )
    problem(answer, 422, *fields)


async def test_dashes_in_tenants_and_ids_do_not_mix_up_events(instance: Instance, inbox: Receiver) -> None:
    """Tenant `a`, event `b-c` and tenant `a-b`, event `c`: a plain join by dashes would take them for the same."""
    first, second = instance.tenant, f"{instance.tenant}-b"
    for tenant in (first, second):
        await instance.webhook(inbox.url, tenant=tenant)
    for tenant, event_id in ((first, "b-c"), (second, "c")):
        answer = await instance.http.post(
            "/v1/events", json={"type": "x", "tenant": tenant, "id": event_id, "data": tenant}
        )
        assert (answer.status_code, answer.json()["id"]) == (202, event_id)
    requests = await inbox.got(2)
    sent = {(request.webhook_id, json.loads(request.body)["data"]) for request in requests}
    assert sent == {("b-c", first), ("c", second)}
    for tenant, event_id in ((first, "b-c"), (second, "c")):
        shown = (await instance.http.get(f"/v1/events/{event_id}", params={"tenant": tenant})).json()
        assert (shown["id"], shown["tenant"], shown["data"]) == (event_id, tenant, tenant)
    for tenant, event_id in ((first, "c"), (second, "b-c")):
        problem(await instance.http.get(f"/v1/events/{event_id}", params={"tenant": tenant}), 404)


@pytest.mark.parametrize("event_id", ["0", "-", "_", "--", "a" * 128, "A-Z_09", "event-default-x"])
async def test_an_id_of_every_allowed_shape_can_be_used_in_all_paths(instance: Instance, event_id: str) -> None:
    for tenant in ("-", "_-_", "t" * 64):
        fields = {"id": event_id, "tenant": tenant, "data": instance.tenant, "type": f"x.{instance.tenant}"}
        answer = await instance.http.post("/v1/events", json=fields)
        assert answer.status_code == 202, answer.text
        shown = (await instance.http.get(f"/v1/events/{event_id}", params={"tenant": tenant})).json()
        assert (shown["id"], shown["tenant"], shown["data"]) == (event_id, tenant, instance.tenant)


# Who gets it


@pytest.mark.promise("docs/events.md")
@pytest.mark.parametrize(
    ("patterns", "type_", "gets"),
    [
        (["order.paid"], "order.paid", True),
        (["order.paid"], "order.paid.late", False),
        (["order.*"], "order.paid", True),
        (["order.*"], "order.paid.late", True),
        (["order.*"], "order", False),
        (["order.*"], "orders.paid", False),
        (["order.*"], "Order.paid", False),
        (["order.paid.*"], "order.paid", False),
        (["invoice.*", "order.*", "order.paid", "*"], "order.paid", True),
        (["*"], "x", True),
        (["invoice.*"], "order.paid", False),
    ],
)
async def test_a_webhook_gets_the_types_that_its_patterns_match(
    instance: Instance, patterns: list[str], type_: str, gets: bool
) -> None:
    webhook = await instance.webhook("https://acme.example/", events=patterns)
    await instance.webhook("https://acme.example/", events=["*"], tenant=f"{instance.tenant}-other")
    accepted = await instance.send(type_)
    assert [delivery["id"] for delivery in accepted["deliveries"]] == [webhook["id"]] * gets


# Another's, or unknown

COMMANDS = ("retry", "cancel", "hold", "release", "redeliver")


@pytest.mark.promise("docs/events.md")
async def test_another_tenants_event_is_unknown(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    accepted = await instance.send()
    before = await instance.until_delivery(accepted["id"], "retrying", 1)
    path = f"/v1/events/{accepted['id']}"
    other = f"{instance.tenant}x"
    key = await make_key(instance, other)
    async with calling(instance.app, key["key"]) as others_http:
        for http, query in ((instance.http, {"tenant": other}), (others_http, {})):
            problem(await http.get(path, params=query), 404)
            for command in COMMANDS:
                problem(await http.post(f"{path}/{command}", params=query), 404)
            problem(await http.post(f"{path}/reschedule", params=query, json={"deliver_at": in_days(1)}), 404)
    assert await instance.event(accepted["id"]) == before


@pytest.mark.promise("docs/steering.md")
async def test_a_command_to_an_unknown_event_or_delivery_is_answered_with_404(
    instance: Instance, inbox: Receiver
) -> None:
    inbox.otherwise = Answer(500)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    accepted = await instance.send()
    await instance.until_delivery(accepted["id"], "retrying", 1)
    for command in COMMANDS:
        problem(await instance.command("evt_unknown", command), 404)
        problem(await instance.command(accepted["id"], command, "wh_unknown"), 404)
    await instance.command(accepted["id"], "cancel")
    await instance.until_final(accepted["id"])
    for command in ("retry", "redeliver"):
        problem(await instance.command(accepted["id"], command, "wh_unknown"), 404)


@pytest.mark.promise("docs/steering.md")
async def test_a_command_that_the_status_does_not_allow_is_a_conflict(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    accepted = await instance.send()
    event = await instance.until_delivery(accepted["id"], "retrying", 1)
    delivery = event["deliveries"][0]["id"]
    for id_ in (None, delivery):
        problem(await instance.command(accepted["id"], "release", id_), 409)
    assert (await instance.command(accepted["id"], "hold")).status_code == 202
    problem(await instance.command(accepted["id"], "hold"), 409)
    assert (await instance.command(accepted["id"], "cancel")).status_code == 202
    await instance.until_final(accepted["id"])
    for command in ("cancel", "hold", "release"):
        for id_ in (None, delivery):
            detail = problem(await instance.command(accepted["id"], command, id_), 409)["detail"]
            assert detail == f"Cannot {command}: the event has already been cancelled."

    inbox.otherwise = Answer(200)
    delivered = await instance.send()
    await instance.until_final(delivered["id"])
    for command in ("cancel", "hold", "release", "retry"):
        problem(await instance.command(delivered["id"], command), 409)


@pytest.mark.promise("docs/events.md")
async def test_an_event_that_no_webhook_gets_has_a_note_and_a_status(instance: Instance) -> None:
    """A key of all tenants is told which tenants have webhooks, and the key of a tenant is not."""
    other = instance.for_new_tenant()
    await other.webhook("https://acme.example/hook")
    accepted = await instance.send()
    note = f"No webhook of tenant {instance.tenant} gets order.paid: none matches its type, channels and data."
    assert accepted["status"] == "no_webhook"
    assert accepted["note"].startswith(f"{note} Tenants with webhooks: {other.tenant}")
    key = await make_key(instance, instance.tenant)
    async with calling(instance.app, key["key"]) as http:
        answer = (await http.post("/v1/events", json={"type": "order.paid", "data": {}})).json()
        listed = (await http.get("/v1/events", params={"status": "no_webhook"})).json()["items"]
        (counted,) = (await http.get("/v1/stats")).json()["items"]
    assert answer["note"] == note
    assert {item["id"] for item in listed} == {accepted["id"], answer["id"]}
    assert (counted["events"], counted["no_webhook"]) == (2, 2)


async def test_an_event_without_deliveries_refuses_every_command(instance: Instance) -> None:
    accepted = await instance.send()
    await instance.until_final(accepted["id"])
    for command in COMMANDS:
        problem(await instance.command(accepted["id"], command), 409)


async def test_a_command_is_answered_with_what_it_was_applied_to(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url)
    accepted = await instance.send()
    await instance.until_final(accepted["id"])
    path, query = f"/v1/events/{accepted['id']}/redeliver", {"tenant": instance.tenant}
    for body, delivery in ((None, None), ({}, None), ({"delivery": webhook["id"]}, webhook["id"])):
        answer = await instance.http.post(path, params=query, json=body)
        assert answer.status_code == 202
        assert answer.json() == {"id": accepted["id"], "command": "redeliver", "delivery": delivery}
        await instance.until_final(accepted["id"])
    await inbox.got(4)


@pytest.mark.parametrize("status", [200, 500])
async def test_a_redelivery_during_an_attempt_follows_it_however_it_ends(
    instance: Instance, inbox: Receiver, status: int
) -> None:
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    gate = asyncio.Event()
    inbox.answers = [Answer(status, gate=gate)]
    accepted = await instance.send()
    await inbox.got(1)
    assert (await instance.command(accepted["id"], "redeliver")).status_code == 202
    gate.set()
    await inbox.got(2)
    event = await instance.until_final(accepted["id"])
    attempts = [(attempt["trigger"], attempt["status_code"]) for attempt in event["deliveries"][0]["attempts"]]
    assert attempts == [("scheduled", status), ("manual", 200)]


# Times


async def test_deliver_at_can_be_a_moment_ago_or_a_year_ahead(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    late = await instance.send(deliver_at=in_days(-50 / 86400))
    assert late["status"] == "delivering"
    assert (await instance.until_final(late["id"]))["status"] == "succeeded"
    assert (await instance.send(deliver_at=in_days(365)))["status"] == "scheduled"


@pytest.mark.parametrize(
    "body",
    [
        {"deliver_at": in_days(-1)},
        {"deliver_at": in_days(367)},
        {"deliver_at": "2999-01-01T00:00:00Z"},
        {"deliver_at": "2030-01-01T00:00:00"},
        {"deliver_at": 1900000000},
        {"deliver_at": "1900000000"},
        {"deliver_at": None},
        {"deliver_at": "soon"},
        {},
    ],
    ids=["past", "far", "2999", "no zone", "number", "number as text", "null", "text", "nothing"],
)
async def test_a_bad_reschedule_moves_nothing(instance: Instance, inbox: Receiver, body: dict[str, Any]) -> None:
    await instance.webhook(inbox.url)
    accepted = await instance.send(deliver_at=in_days(1))
    before = await instance.event(accepted["id"])
    path, query = f"/v1/events/{accepted['id']}/reschedule", {"tenant": instance.tenant}
    problem(await instance.http.post(path, params=query, json=body), 422, "deliver_at")
    problem(await instance.http.post(path, params=query), 422, "body")
    problem(await instance.http.post(path, params=query, json={"deliver_at": in_days(2), "x": 1}), 422, "x")
    assert await instance.event(accepted["id"]) == before


async def test_only_a_scheduled_event_can_be_rescheduled(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    accepted = await instance.send()
    await instance.until_delivery(accepted["id"], "retrying", 1)
    for event_id, status in ((accepted["id"], 409), ("evt_unknown", 404)):
        answer = await instance.http.post(
            f"/v1/events/{event_id}/reschedule", params={"tenant": instance.tenant}, json={"deliver_at": in_days(1)}
        )
        problem(answer, status)


async def test_an_event_with_too_many_targets_is_refused_with_a_reason(idle_instance: Instance) -> None:
    instance = idle_instance
    email = Email.model_validate({"to": ["ann@acme.example"]})
    note = Notification.model_validate({"http": {"url": "https://a.example"}})
    await crowd(instance, "", 50, targets={"email": first([email] * 10), "notification": first([note] * 10)})
    assert len((await instance.send(id="before"))["deliveries"]) == MAX_TARGETS
    await instance.webhook("https://acme.example/hook")
    answer = await post(instance, id="too-many")
    assert "at most 1000" in problem(answer, 422)["detail"]
    again = await post(instance, id="before")  # its 202 may have been lost on the way
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
