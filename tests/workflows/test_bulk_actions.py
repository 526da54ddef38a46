"""Bulk actions: what a filter of events matches is retried, cancelled, redelivered or acknowledged by a workflow."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from callers import calling, make_key
from holding import event_ids, send_many, until_listed
from test_recovery import LONG_AGO, OVER, counts, failing, until

from hookkeeper.messages.event import Attempt, Delivery, EventInput, EventState
from hookkeeper.registry.events.conditions import Search, status_codes
from hookkeeper.registry.events.merge import delivery_row
from hookkeeper.registry.events.rows import EventSnapshot
from hookkeeper.temporal.bulk.recovery_candidates import commanded
from instances import Instance
from receivers import Answer, Receiver, receiver
from reports import reported
from timeouts import WAIT_TIMEOUT
from worker_processes import SOON_UNSTUCK, worker_process

BULK = "/v1/bulk"
BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BEFORE, AFTER = BEGAN - timedelta(minutes=1), BEGAN + timedelta(minutes=1)


async def ask(instance: Instance, action: str, filter: dict[str, str], **fields: Any) -> httpx.Response:
    given = {"tenant": instance.tenant} | filter
    return await instance.http.post(BULK, params=given, json={"action": action, **fields})


async def act(instance: Instance, action: str, filter: dict[str, str], **fields: Any) -> dict[str, Any]:
    answer = await ask(instance, action, filter, **fields)
    assert answer.status_code == 202, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def done(instance: Instance, action: str, filter: dict[str, str], **fields: Any) -> dict[str, Any]:
    return await until(instance, await act(instance, action, filter, **fields), *OVER)


@pytest.mark.promise("docs/steering.md")
async def test_what_a_filter_matches_is_counted_and_retried(instance: Instance, inbox: Receiver) -> None:
    """Setup: events have failed for two webhooks, and one event succeeds.
    Proves: the count delivers nothing; only the deliveries of the filter are made again; the others stay.
    """
    async with receiver() as other:
        other.otherwise = Answer(500)
        others = (await instance.webhook(other.url, retry={"schedule": []}))["id"]
        webhook, sent = await failing(instance, inbox, 3)
        other.requests.clear()
        filter = {"webhook": webhook, "delivery_status": "failed", "last": "1h"}
        counted = await ask(instance, "retry", filter, dry_run=True)
        assert (counted.status_code, counted.json()["found"], counted.json()["id"]) == (200, 3, None)
        assert inbox.requests == []
        job = await act(instance, "retry", filter)
        assert (job["action"], job["filter"]["webhook"], job["filter"]["delivery_status"]) == (
            "retry",
            webhook,
            ["failed"],
        )
        over = await until(instance, job, *OVER)
        assert (over["status"], over["done"], counts(over)) == ("finished", 3, (3, 3, 0, 0))
        for event in sent:
            states = {each["id"]: each["status"] for each in (await instance.until_final(event))["deliveries"]}
            assert states == {webhook: "succeeded", others: "failed"}
        assert (sorted(event_ids(inbox)), other.requests) == (sorted(sent), [])
        await until_listed(instance, webhook, "succeeded", 3)
        assert (await ask(instance, "retry", filter, dry_run=True)).json()["found"] == 0
    entries = (await instance.http.get("/v1/audit", params={"tenant": instance.tenant})).json()["items"]
    mine = [entry for entry in entries if entry["object_id"] == job["id"]]
    assert [entry["action"] for entry in mine] == ["events.retry"], "once for the job"


@pytest.mark.promise("docs/steering.md")
async def test_open_events_are_cancelled(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    webhook = (await instance.webhook(inbox.url, retry={"schedule": [3600]}))["id"]
    sent = await send_many(instance, 4)
    await until_listed(instance, webhook, "retrying", 4)
    assert counts(await done(instance, "cancel", {"status": "delivering"})) == (4, 4, 0, 0)
    for event in sent:
        assert (await instance.until_final(event))["status"] == "cancelled"


async def test_events_are_redelivered_but_not_to_what_is_off(instance: Instance, inbox: Receiver) -> None:
    webhook = (await instance.webhook(f"{inbox.url}/on"))["id"]
    off = (await instance.webhook(f"{inbox.url}/off"))["id"]
    sent = await send_many(instance, 3)
    await until_listed(instance, webhook, "succeeded", 3)
    await until_listed(instance, off, "succeeded", 3)
    await instance.http.post(f"/v1/webhooks/{off}/pause")
    inbox.requests.clear()
    assert counts(await done(instance, "redeliver", {"type": "order.paid"})) == (3, 3, 0, 0)
    await inbox.got(3)
    assert [request.path for request in inbox.requests] == ["/hook/on"] * 3
    assert sorted(event_ids(inbox)) == sorted(sent)


async def test_failed_events_are_acknowledged(instance: Instance, inbox: Receiver) -> None:
    _, sent = await failing(instance, inbox, 5)
    await instance.http.post(f"/v1/events/{sent[0]}/acknowledge", params={"tenant": instance.tenant})
    over = await done(instance, "acknowledge", {"status": "failed"}, note="known")
    assert counts(over) == (5, 4, 0, 1)
    page = await instance.http.get("/v1/events", params={"tenant": instance.tenant, "acknowledged": "true"})
    notes = {event["id"]: event["acknowledged"]["note"] for event in page.json()["items"]}
    assert notes == {event: "" if event == sent[0] else "known" for event in sent}
    assert (await ask(instance, "retry", {"needs_attention": "true"}, dry_run=True)).json()["found"] == 0


async def test_an_action_is_cancelled_in_the_middle(instance: Instance, inbox: Receiver) -> None:
    await failing(instance, inbox, 6)
    job = await act(instance, "retry", {"status": "failed"}, rate=0.2)
    await inbox.got(1)
    again = await ask(instance, "retry", {"status": "failed"})
    assert again.status_code == 409 and job["id"] in again.json()["detail"]
    assert (await instance.http.post(f"/v1/recoveries/{job['id']}/cancel")).status_code == 202
    over = await until(instance, job, "cancelled")
    assert over["done"] < 6 and len(inbox.requests) < 6
    listed = (await instance.http.get("/v1/recoveries", params={"tenant": instance.tenant})).json()["items"]
    assert [item["id"] for item in listed] == [job["id"]]
    assert (await ask(instance, "acknowledge", {"status": "failed"})).status_code == 202, "of another kind"


async def test_an_action_does_not_stop_a_recovery_of_its_tenant(instance: Instance, inbox: Receiver) -> None:
    """Proves: of all that has the same workflow type, only recoveries of webhooks overlap with one of the tenant."""
    await failing(instance, inbox, 4)
    jobs = [await act(instance, "retry", {"status": "failed"}, rate=0.1)]
    async with asyncio.timeout(WAIT_TIMEOUT):  # visibility follows
        while not (await instance.http.get("/v1/recoveries", params={"tenant": instance.tenant})).json()["items"]:
            await asyncio.sleep(0.05)
    answer = await instance.http.post("/v1/recoveries", json={"tenant": instance.tenant, "since": LONG_AGO})
    assert answer.status_code == 202, answer.text
    for job in (*jobs, answer.json()):
        await instance.http.post(f"/v1/recoveries/{job['id']}/cancel")


async def test_a_killed_worker_repeats_no_action(idle_instance: Instance, inbox: Receiver) -> None:
    """Setup: fifteen events have succeeded. Timeline: they are redelivered; the worker is killed in the middle.
    Proves: each has two attempts in its log; only what was under way is sent twice.
    """
    instance, total = idle_instance, 15
    webhook = (await instance.webhook(inbox.url))["id"]
    async with instance.working():
        sent = await send_many(instance, total)
        await until_listed(instance, webhook, "succeeded", total)
    inbox.requests.clear()
    async with worker_process(instance, timeouts=SOON_UNSTUCK):
        job = await act(instance, "redeliver", {"status": "succeeded"}, rate=5)
        await inbox.got(3)
    async with instance.working():
        over = await until(instance, job, *OVER)
        assert counts(over) == (total, total, 0, 0)
        for event in sent:
            (delivery,) = (await instance.until_final(event))["deliveries"]
            assert [attempt["number"] for attempt in delivery["attempts"]] == [1, 2]


@pytest.mark.promise("docs/steering.md")
async def test_an_action_is_of_one_tenant_and_has_a_filter(instance: Instance) -> None:
    mine, theirs = instance.tenant, f"{instance.tenant}-other"
    for tenant in (mine, theirs):
        body = {"type": "only.here", "tenant": tenant, "id": f"evt_{mine}_{tenant}"}
        assert (await instance.http.post("/v1/events", json=body)).status_code == 202
    both = {"id_prefix": f"evt_{mine}"}
    answer = await instance.http.post(BULK, params=both, json={"action": "cancel"})
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "tenant")
    one = await instance.http.post(BULK, params=both | {"tenant": theirs}, json={"action": "cancel", "dry_run": True})
    assert one.json()["found"] == 1
    named = {"id_prefix": f"evt_{mine}_{theirs}"}
    found = await instance.http.post(BULK, params=named, json={"action": "cancel", "dry_run": True})
    assert (found.json()["found"], found.json()["tenant"]) == (1, theirs), "the only one that has such events"
    for bad in ({"tenant": mine}, {"tenant": mine, "statu": "failed"}, {}):
        assert (await instance.http.post(BULK, params=bad, json={"action": "cancel"})).status_code == 422
    key = await make_key(instance, mine)
    async with calling(instance.app, key["key"]) as http:
        own = await http.post(BULK, params=both, json={"action": "cancel", "dry_run": True})
        assert (own.json()["found"], own.json()["tenant"]) == (1, mine)
        assert (await http.post(BULK, params=both | {"tenant": theirs}, json={"action": "cancel"})).status_code == 403


def delivery(name: str, status: str, *attempts: tuple[datetime, int, str], **fields: Any) -> Delivery:
    made = tuple(
        Attempt(number=n, started_at=at, duration_ms=1, status_code=code, error=f"http_{code}", trigger=trigger)
        for n, (at, code, trigger) in enumerate(attempts, start=1)
    )
    return Delivery(id=name, webhook_id=name, status=status, attempts=made, **fields)


@pytest.mark.parametrize(
    ("command", "search", "one", "due", "is_done"),
    [
        ("retry", {}, delivery("wh_1", "failed", (BEFORE, 500, "scheduled")), True, False),
        ("retry", {}, delivery("wh_1", "failed", (BEFORE, 500, "manual")), True, False),
        ("retry", {}, delivery("wh_1", "retrying", (BEFORE, 500, "scheduled"), (AFTER, 500, "manual")), False, True),
        ("retry", {}, delivery("wh_1", "retrying", (BEFORE, 500, "scheduled"), forced=True), False, True),
        ("retry", {}, delivery("wh_1", "succeeded"), False, False),
        ("retry", {}, delivery("wh_1", "cancelled"), False, False),
        ("retry", {"delivery_statuses": ("cancelled",)}, delivery("wh_1", "cancelled"), True, False),
        ("retry", {}, delivery("wh_off", "failed"), False, False),
        ("cancel", {}, delivery("wh_off", "retrying"), True, False),
        ("cancel", {}, delivery("wh_1", "cancelled"), False, True),
        ("redeliver", {}, delivery("wh_1", "succeeded", (BEFORE, 200, "scheduled")), True, False),
        ("redeliver", {"webhook": "wh_1"}, delivery("wh_2", "succeeded"), False, False),
        ("redeliver", {"error": "http_500"}, delivery("wh_1", "failed", (BEFORE, 500, "scheduled")), True, False),
        ("redeliver", {"error": "timeout"}, delivery("wh_1", "failed", (BEFORE, 500, "scheduled")), False, False),
        (
            "redeliver",
            {"status_codes": status_codes("4xx")},
            delivery("wh_1", "failed", (BEFORE, 500, "scheduled")),
            False,
            False,
        ),
        ("redeliver", {"min_attempts": 2}, delivery("wh_1", "failed", (BEFORE, 500, "scheduled")), False, False),
        ("redeliver", {"channel": "email"}, delivery("wh_1", "failed"), False, False),
        ("cancel", {"needs_attention": True}, delivery("wh_1", "pending"), False, False),
        ("cancel", {"needs_attention": True}, delivery("wh_1", "retrying"), True, False),
        ("redeliver", {"needs_attention": True}, delivery("wh_1", "succeeded"), False, False),
    ],
)
def test_what_is_commanded(command: Any, search: dict[str, Any], one: Delivery, due: bool, is_done: bool) -> None:
    state = EventState(
        id="evt_1",
        type="order.paid",
        tenant="acme",
        timestamp=BEFORE,
        status="delivering",
        accepted_at=BEFORE,
        deliveries=(one,),
    )
    report = reported("acme", "evt_1", BEFORE, BEFORE, (one,))
    row = report.event._replace(deliveries=(delivery_row(report, 1, one),))
    event = EventInput(
        id="evt_1", type="order.paid", tenant="acme", timestamp=BEFORE, data={}, digest="abc", accepted_at=BEFORE
    )
    snapshot = EventSnapshot(row, event, state)
    found = commanded(command, snapshot, Search(tenant="acme", **search), BEGAN, {"wh_1", "wh_2"})
    assert found == ([one.id] if due else [], is_done)
