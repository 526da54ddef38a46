"""Lists of events: with the 202, and a step of its run behind at most afterwards."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from problems import problem

from instances import Instance
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT

Item = dict[str, Any]
LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat()


async def pages(instance: Instance, **query: Any) -> list[list[Item]]:
    """Walk through all pages."""
    found: list[list[Item]] = []
    cursor: str | None = None
    while True:
        params = {"tenant": instance.tenant} | query | ({"cursor": cursor} if cursor else {})
        answer = await instance.http.get("/v1/events", params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert set(page) == {"items", "next_cursor", "total", "searched_until"}
        found.append(page["items"])
        if not (cursor := page["next_cursor"]):
            return found


async def listed(instance: Instance, **query: Any) -> list[Item]:
    return [item for page in await pages(instance, **query) for item in page]


async def ids(instance: Instance, **query: Any) -> set[str]:
    found = [item["id"] for item in await listed(instance, **query)]
    assert len(found) == len(set(found)), "each event is listed once"
    return set(found)


async def statuses(instance: Instance) -> dict[str, str]:
    return {item["id"]: item["status"] for item in await listed(instance)}


async def until_listed(instance: Instance, expected: dict[str, str]) -> None:
    """Wait until the list shows each event with its status, after a step of its run."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await statuses(instance) != expected:
            await asyncio.sleep(0.05)


async def test_an_event_is_listed_with_its_202(idle_instance: Instance) -> None:
    """No worker runs, so nothing but the acceptance can have written the rows."""
    await idle_instance.webhook("https://acme.example/hook", events=["order.*"])
    expected: dict[str, str] = {}
    for n in range(5):
        await idle_instance.send(id=f"open-{n}")
        await idle_instance.send("no.webhook", id=f"done-{n}")
        await idle_instance.send(id=f"later-{n}", deliver_at=LATER)
        expected |= {f"open-{n}": "delivering", f"done-{n}": "no_webhook", f"later-{n}": "scheduled"}
        assert await statuses(idle_instance) == expected
    batch = [
        {"type": type_, "tenant": idle_instance.tenant, "id": id_}
        for type_, id_ in (("order.paid", "x"), ("no.webhook", "y"))
    ]
    answer = await idle_instance.http.post("/v1/events/batch", json={"events": batch})
    assert [item["status"] for item in answer.json()["items"]] == [202, 202]
    assert await statuses(idle_instance) == expected | {"x": "delivering", "y": "no_webhook"}


async def test_each_filter_finds_the_right_events(instance: Instance, inbox: Receiver) -> None:
    """An event for each status; each filter finds the right ones, alone and with another."""
    good = await instance.webhook(inbox.url, events=["good.*"])
    bad = await instance.webhook(inbox.url, name="Shop", events=["bad.*"], retry={"schedule": [3600]})
    last = await instance.webhook(inbox.url, events=["last"], retry={"schedule": []})
    await instance.send("good.one", id="good", channels=["project_1"], data={"order": "A-4711"})
    await instance.until_final("good")
    inbox.otherwise = Answer(500)
    await instance.send("bad.one", id="retrying")
    await instance.send("bad.two", id="held")
    for event_id in ("retrying", "held"):
        await instance.until_delivery(event_id, "retrying", 1)
    await instance.command("held", "hold")
    await instance.send("last", id="failed", channels=["project_1", "project_2"])
    await instance.send("last", id="seen")
    for event_id in ("failed", "seen"):
        await instance.until_final(event_id)
    await instance.send("good.one", id="scheduled", deliver_at=LATER)
    await instance.send("bad.two", id="cancelled", deliver_at=LATER)
    await instance.command("cancelled", "cancel")
    expected = {
        "good": "succeeded",
        "retrying": "delivering",
        "held": "delivering",
        "cancelled": "cancelled",
        "failed": "failed",
        "seen": "failed",
        "scheduled": "scheduled",
    }
    await until_listed(instance, expected)
    seen = await instance.http.post("/v1/events/seen/acknowledge", params={"tenant": instance.tenant})
    assert seen.status_code == 200

    assert await ids(instance) == set(expected)
    assert await ids(instance, tenant="unknown") == set()
    assert await ids(instance, type="bad.two") == {"held", "cancelled"}
    assert await ids(instance, type="bad") == set()
    assert await ids(instance, webhook=good["id"]) == {"good", "scheduled"}
    assert await ids(instance, webhook=last["id"]) == {"failed", "seen"}
    for status in set(expected.values()):
        assert await ids(instance, status=status) == {id_ for id_ in expected if expected[id_] == status}
    assert await ids(instance, needs_attention="true") == {"failed"}, "one just retries, one is held on purpose"
    assert await ids(instance, needs_attention="false") == {"good", "scheduled", "cancelled", "seen"}
    assert await ids(instance, status="failed", type="last", webhook=last["id"], needs_attention="true") == {"failed"}
    assert await ids(instance, acknowledged="true") == {"seen"}
    assert await ids(instance, acknowledged="false") == set(expected) - {"seen"}
    assert await ids(instance, in_channel="project_1") == {"good", "failed"}
    assert await ids(instance, in_channel="project_2", type="last") == {"failed"}
    assert await ids(instance, in_channel="project_3") == set()
    assert await ids(instance, q="A-4711") == await ids(instance, q="data.order:A-4711") == {"good"}
    assert await ids(instance, q="A-4712") == await ids(instance, q="A-4711", status="failed") == set()
    assert await ids(instance, type=["last", "good.one"]) == {"good", "failed", "seen", "scheduled"}
    assert await ids(instance, status=["failed", "scheduled"]) == {"failed", "seen", "scheduled"}
    assert await ids(instance, delivery_status="held") == {"held"}
    assert await ids(instance, delivery_status=["retrying", "succeeded"]) == {"retrying", "good"}
    assert await ids(instance, status_code="5xx") == {"retrying", "held", "failed", "seen"}
    assert await ids(instance, status_code="200") == {"good"}
    assert await ids(instance, error="http_500", status="failed") == {"failed", "seen"}
    assert await ids(instance, min_attempts=1, channel="webhook") == {"good", "retrying", "held", "failed", "seen"}
    assert await ids(instance, channel="email") == await ids(instance, min_attempts=2) == set()
    assert await ids(instance, id_prefix="held") == {"held"}
    assert await ids(instance, last="1h") == set(expected)
    assert await ids(instance, last="1h", until="2020-01-01T00:00:00Z") == set()

    (row,) = await listed(instance, type="bad.one")
    assert (row["needs_attention"], row["webhooks"]) == ([], [bad["id"]])
    latest = row["latest"]
    assert latest.pop("next_attempt_at") is not None
    assert latest == {
        **{"delivery": bad["id"], "webhook_id": bad["id"], "webhook_name": "Shop", "channel": "webhook"},
        **{"status": "retrying", "reason": None, "attempts": 1, "status_code": 500, "error": "http_500"},
        "error_text": "The receiver has an error of its own: 500 Internal Server Error",
        "remedy": "Look into the receiver's log.",
    }
    (row,) = await listed(instance, type="last", needs_attention="true")
    assert row["needs_attention"] == row["webhooks"] == [last["id"]]
    assert row["latest"]["webhook_name"] == inbox.url.partition("?")[0], "it has no name"
    (row,) = await listed(instance, status="succeeded")
    assert (row["needs_attention"], row["webhooks"]) == ([], [good["id"]])
    (row,) = await listed(instance, status="scheduled")
    assert datetime.fromisoformat(row["deliver_at"]) - datetime.fromisoformat(LATER) < timedelta(milliseconds=1)


@pytest.mark.promise("docs/events.md")
@pytest.mark.parametrize("error", ["bla", "http_5", "http_5000", "smtp_200", "timeout ", ""])
async def test_an_unknown_error_is_refused(instance: Instance, error: str) -> None:
    """It would match nothing, as if there were no such deliveries."""
    webhook = await instance.webhook("http://127.0.0.1:9000/")
    for path in ("events", f"webhooks/{webhook['id']}/deliveries"):
        document = problem(await instance.http.get(f"/v1/{path}", params={"error": error}), 422, "error")
        detail = document["errors"][0]["detail"]
        assert "`http_<status>`, `smtp_<code>`" in detail
        assert "connection_refused" in detail


@pytest.mark.promise("docs/events.md")
async def test_a_listed_event_has_its_status_times_and_links(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url)
    accepted = await instance.send(id="e")
    event = await instance.until_final("e")
    await until_listed(instance, {"e": "succeeded"})
    (row,) = await listed(instance)
    about = {name: row.pop(name) for name in ("accepted_at", "finished_at")}
    assert row == {
        "id": "e",
        "type": "order.paid",
        "tenant": instance.tenant,
        "channels": [],
        "status": "succeeded",
        "deliver_at": None,
        "workflow_id": accepted["workflow_id"],
        "run_id": event["run_id"],
        "links": event["links"],
        "webhooks": [webhook["id"]],
        "needs_attention": [],
        "acknowledged": None,
        "latest": {
            **{"delivery": webhook["id"], "webhook_id": webhook["id"], "webhook_name": inbox.url, "channel": "webhook"},
            **{"status": "succeeded", "reason": None, "attempts": 1, "status_code": 200, "error": None},
            **{"error_text": None, "remedy": None},
            "next_attempt_at": None,
        },
    }
    for name, time in about.items():
        assert abs(datetime.fromisoformat(time) - datetime.fromisoformat(event[name])) < timedelta(seconds=1)


@pytest.mark.promise("docs/events.md")
async def test_since_is_included_and_until_is_not(instance: Instance) -> None:
    await instance.send(id="first")
    await asyncio.sleep(0.01)
    await instance.send(id="second")
    assert await statuses(instance) == {"first": "no_webhook", "second": "no_webhook"}
    second, first = sorted(await listed(instance), key=lambda item: item["accepted_at"], reverse=True)
    assert (first["id"], second["id"]) == ("first", "second")
    between = second["accepted_at"]
    assert await ids(instance, since=between) == {"second"}
    assert await ids(instance, until=between) == {"first"}
    assert await ids(instance, since=first["accepted_at"], until=between) == {"first"}
    assert await ids(instance, since=between, until=between) == set()
    assert await ids(instance, since="0001-01-01T00:00:00Z", until="9999-12-31T23:59:59Z") == {"first", "second"}
    zoned = datetime.fromisoformat(between).astimezone(tz=None).isoformat(timespec="milliseconds")
    assert await ids(instance, since=zoned) == {"second"}
    assert await ids(instance, since="2999-01-01T00:00:00+01:00") == set()


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 100])
async def test_pages_cover_all_exactly_once(instance: Instance, inbox: Receiver, limit: int) -> None:
    inbox.otherwise = Answer(500)
    await instance.webhook(inbox.url, events=["open"], retry={"schedule": [3600]})
    done, open_ = ["done-1", "done-2", "done-3"], ["open-1", "open-2", "open-3"]
    for finished, waiting in zip(done, open_, strict=True):
        await instance.send("done", id=finished)
        await instance.send("open", id=waiting)
        await asyncio.sleep(0.005)
    assert await statuses(instance) == dict.fromkeys(done, "no_webhook") | dict.fromkeys(open_, "delivering")
    found = await pages(instance, limit=limit)
    assert all(len(page) <= limit for page in found)
    order = [item["id"] for page in found for item in page]
    assert order == [event_id for pair in zip(done, open_, strict=True) for event_id in pair][::-1], "newest first"
    assert len(await pages(instance, limit=limit, type="open")) >= 3 / limit
    assert [item["id"] for item in await listed(instance, limit=limit, type="open")] == open_[::-1]


async def test_a_page_has_fifty_events_by_default(instance: Instance) -> None:
    await asyncio.gather(*(instance.send(id=f"e{n}") for n in range(51)))
    assert [len(page) for page in await pages(instance) if page] == [50, 1]


async def test_a_redelivered_event_is_listed_once_with_its_latest_status(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, retry={"schedule": []})
    await instance.send(id="redelivered")
    await instance.until_final("redelivered")
    await instance.send("without.webhook", id="other", tenant=instance.tenant)
    await instance.until_final("other")
    await until_listed(instance, {"redelivered": "failed", "other": "succeeded"})
    for times in (2, 3):
        assert (await instance.command("redelivered", "redeliver")).status_code == 202
        await inbox.got(times)
        await instance.until("redelivered", "succeeded")
        await until_listed(instance, {"redelivered": "succeeded", "other": "succeeded"})
    latest = await instance.event("redelivered")
    async with asyncio.timeout(WAIT_TIMEOUT):  # the row may be a step behind the third run
        while latest["run_id"] not in [item["run_id"] for item in await listed(instance)]:
            await asyncio.sleep(0.05)
    for query in ({}, {"limit": 1}, {"type": "order.paid"}, {"status": "succeeded"}, {"webhook": webhook["id"]}):
        found = [item for item in await listed(instance, **query) if item["id"] == "redelivered"]
        assert [item["run_id"] for item in found] == [latest["run_id"]]
        assert found[0]["accepted_at"] == latest["accepted_at"], "when it was delivered again does not matter"
    assert await listed(instance, status="failed") == [], "its first run failed, but the event has not"
    assert await listed(instance, needs_attention="true") == []


@pytest.mark.promise("docs/events.md")
async def test_a_cancelled_event_needs_no_attention(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    await instance.send(id="e")
    await instance.until_delivery("e", "retrying", 1)
    await instance.command("e", "cancel")
    await until_listed(instance, {"e": "cancelled"})
    assert await ids(instance, needs_attention="true") == set()


@pytest.mark.promise("docs/events.md")
async def test_an_event_held_before_its_first_attempt_is_among_the_held_ones(
    instance: Instance, inbox: Receiver
) -> None:
    await instance.webhook(inbox.url)
    await instance.send(id="e", deliver_at=LATER)
    assert (await instance.command("e", "hold")).status_code == 202
    await instance.until_delivery("e", "held")
    assert await statuses(instance) == {"e": "scheduled"}
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await ids(instance, delivery_status="held") != {"e"}:
            await asyncio.sleep(0.05)
    assert await ids(instance, needs_attention="true") == set()


@pytest.mark.promise("docs/events.md")
async def test_a_list_has_a_total_on_request(instance: Instance) -> None:
    sent = {f"e{n}": "succeeded" for n in range(3)}
    for event_id in sent:
        await instance.send(id=event_id)
    query: dict[str, Any] = {"tenant": instance.tenant, "limit": 2}
    assert (await instance.http.get("/v1/events", params=query)).json()["total"] is None
    page = (await instance.http.get("/v1/events", params=query | {"total": True})).json()
    assert (len(page["items"]), page["total"]) == (2, 3)
