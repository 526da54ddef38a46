"""Lists of events: they come from Temporal's visibility, which catches up a moment after the fact."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from house import House
from patience import PATIENCE
from receivers import Answer, Receiver

Item = dict[str, Any]
LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat()


async def pages(home: House, **query: Any) -> list[list[Item]]:
    """Walk through all pages."""
    found: list[list[Item]] = []
    cursor: str | None = None
    while True:
        params = {"tenant": home.tenant} | query | ({"cursor": cursor} if cursor else {})
        answer = await home.http.get("/v1/events", params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert set(page) == {"items", "next_cursor"}
        found.append(page["items"])
        if not (cursor := page["next_cursor"]):
            return found


async def listed(home: House, **query: Any) -> list[Item]:
    return [item for page in await pages(home, **query) for item in page]


async def ids(home: House, **query: Any) -> set[str]:
    found = [item["id"] for item in await listed(home, **query)]
    assert len(found) == len(set(found)), "each event is listed once"
    return set(found)


async def until_listed(home: House, expected: dict[str, str]) -> None:
    """Wait until the list shows each event with its status."""
    seen: dict[str, str] = {}
    try:
        async with asyncio.timeout(PATIENCE):
            while seen != expected:
                await asyncio.sleep(0.05)
                seen = {item["id"]: item["status"] for item in await listed(home)}
    except TimeoutError:
        assert seen == expected


async def test_filters(home: House, inbox: Receiver) -> None:
    """An event for each status; each filter finds the right ones, alone and with another."""
    good = await home.webhook(inbox.url, events=["good.*"])
    bad = await home.webhook(inbox.url, events=["bad.*"], retry={"schedule": [3600]})
    last = await home.webhook(inbox.url, events=["last"], retry={"schedule": []})
    await home.send("good.one", id="good")
    await home.until_final("good")
    inbox.otherwise = Answer(500)
    await home.send("bad.one", id="retrying")
    await home.send("bad.two", id="held")
    for event_id in ("retrying", "held"):
        await home.until_delivery(event_id, "retrying", 1)
    await home.command("held", "hold")
    await home.send("last", id="failed")
    await home.until_final("failed")
    await home.send("good.one", id="scheduled", deliver_at=LATER)
    await home.send("bad.two", id="cancelled", deliver_at=LATER)
    await home.command("cancelled", "cancel")
    statuses = {
        "good": "succeeded",
        "retrying": "delivering",
        "held": "delivering",
        "cancelled": "cancelled",
        "failed": "failed",
        "scheduled": "scheduled",
    }
    await until_listed(home, statuses)

    assert await ids(home) == set(statuses)
    assert await ids(home, tenant="unknown") == set()
    assert await ids(home, type="bad.two") == {"held", "cancelled"}
    assert await ids(home, type="bad") == set()
    assert await ids(home, webhook=good["id"]) == {"good", "scheduled"}
    assert await ids(home, webhook=last["id"]) == {"failed"}
    assert await ids(home, webhook="wh_unknown") == set()
    for status in set(statuses.values()):
        assert await ids(home, status=status) == {id_ for id_ in statuses if statuses[id_] == status}
    assert await ids(home, needs_attention="true") == {"retrying", "held", "failed"}
    assert await ids(home, needs_attention="false") == {"good", "scheduled", "cancelled"}
    assert await ids(home, status="delivering", type="bad.two", webhook=bad["id"], needs_attention="true") == {"held"}

    (row,) = await listed(home, type="bad.one")
    assert row["needs_attention"] == row["webhooks"] == [bad["id"]]
    (row,) = await listed(home, status="succeeded")
    assert (row["needs_attention"], row["webhooks"]) == ([], [good["id"]])
    (row,) = await listed(home, status="scheduled")
    assert datetime.fromisoformat(row["deliver_at"]) - datetime.fromisoformat(LATER) < timedelta(milliseconds=1)


async def test_a_row(home: House, inbox: Receiver) -> None:
    webhook = await home.webhook(inbox.url)
    accepted = await home.send(id="e")
    event = await home.until_final("e")
    await until_listed(home, {"e": "succeeded"})
    (row,) = await listed(home)
    about = {name: row.pop(name) for name in ("accepted_at", "finished_at")}
    assert row == {
        "id": "e",
        "type": "order.paid",
        "tenant": home.tenant,
        "status": "succeeded",
        "deliver_at": None,
        "workflow_id": accepted["workflow_id"],
        "run_id": accepted["run_id"],
        "links": accepted["links"],
        "webhooks": [webhook["id"]],
        "needs_attention": [],
    }
    for name, time in about.items():
        assert abs(datetime.fromisoformat(time) - datetime.fromisoformat(event[name])) < timedelta(seconds=1)


async def test_since_and_until(home: House) -> None:
    await home.send(id="first")
    await asyncio.sleep(0.01)
    await home.send(id="second")
    await until_listed(home, {"first": "succeeded", "second": "succeeded"})
    second, first = sorted(await listed(home), key=lambda item: item["accepted_at"], reverse=True)
    assert (first["id"], second["id"]) == ("first", "second")
    between = second["accepted_at"]
    assert await ids(home, since=between) == {"second"}
    assert await ids(home, until=between) == {"first"}
    assert await ids(home, since=first["accepted_at"], until=between) == {"first"}
    assert await ids(home, since=between, until=between) == set()
    assert await ids(home, since="0001-01-01T00:00:00Z", until="9999-12-31T23:59:59Z") == {"first", "second"}
    zoned = datetime.fromisoformat(between).astimezone(tz=None).isoformat(timespec="milliseconds")
    assert await ids(home, since=zoned) == {"second"}
    assert await ids(home, since="2999-01-01T00:00:00+01:00") == set()


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 100])
async def test_pages_cover_all_exactly_once(home: House, inbox: Receiver, limit: int) -> None:
    inbox.otherwise = Answer(500)
    await home.webhook(inbox.url, events=["open"], retry={"schedule": [3600]})
    done, open_ = ["done-1", "done-2", "done-3"], ["open-1", "open-2", "open-3"]
    for finished, waiting in zip(done, open_, strict=True):
        await home.send("done", id=finished)
        await home.send("open", id=waiting)
        await asyncio.sleep(0.005)
    await until_listed(home, dict.fromkeys(done, "succeeded") | dict.fromkeys(open_, "delivering"))
    found = await pages(home, limit=limit)
    assert all(len(page) <= limit for page in found)
    order = [item["id"] for page in found for item in page]
    assert order[:3] == open_[::-1], "under way first, newest first"
    assert sorted(order[3:]) == done
    assert len(await pages(home, limit=limit, type="open")) >= 3 / limit
    assert [item["id"] for item in await listed(home, limit=limit, type="open")] == open_[::-1]


async def test_fifty_is_the_limit_where_none_is_given(idle_house: House) -> None:
    await asyncio.gather(*(idle_house.send(id=f"e{n}") for n in range(51)))
    await until_listed(idle_house, {f"e{n}": "delivering" for n in range(51)})
    assert [len(page) for page in await pages(idle_house) if page] == [50, 1]


async def test_a_redelivered_event_is_listed_once_with_its_latest_status(home: House, inbox: Receiver) -> None:
    inbox.fails(500)
    webhook = await home.webhook(inbox.url, retry={"schedule": []})
    await home.send(id="redelivered")
    await home.send("without.webhook", id="other", tenant=home.tenant)
    await home.until_final("redelivered")
    await home.until_final("other")
    await until_listed(home, {"redelivered": "failed", "other": "succeeded"})
    for times in (2, 3):
        assert (await home.command("redelivered", "redeliver")).status_code == 202
        await inbox.got(times)
        await home.until("redelivered", "succeeded")
        await until_listed(home, {"redelivered": "succeeded", "other": "succeeded"})
    latest = await home.event("redelivered")
    async with asyncio.timeout(PATIENCE):  # the third run may not be visible yet where the second has succeeded, too
        while latest["run_id"] not in [item["run_id"] for item in await listed(home)]:
            await asyncio.sleep(0.05)
    for query in ({}, {"limit": 1}, {"type": "order.paid"}, {"status": "succeeded"}, {"webhook": webhook["id"]}):
        found = [item for item in await listed(home, **query) if item["id"] == "redelivered"]
        assert [item["run_id"] for item in found] == [latest["run_id"]]
        assert found[0]["accepted_at"] == latest["accepted_at"], "when it was delivered again does not matter"
    assert await listed(home, status="failed") == [], "its first run failed, but the event has not"
    assert await listed(home, needs_attention="true") == []


async def test_a_cancelled_event_is_no_trouble(home: House, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    await home.webhook(inbox.url, retry={"schedule": [3600]})
    await home.send(id="e")
    await home.until_delivery("e", "retrying", 1)
    await home.command("e", "cancel")
    await until_listed(home, {"e": "cancelled"})
    assert await ids(home, needs_attention="true") == set()


async def test_an_event_held_before_its_first_attempt_is_trouble(home: House, inbox: Receiver) -> None:
    await home.webhook(inbox.url)
    await home.send(id="e", deliver_at=LATER)
    assert (await home.command("e", "hold")).status_code == 202
    await home.until_delivery("e", "held")
    await until_listed(home, {"e": "scheduled"})
    await asyncio.sleep(0.5)
    assert await ids(home, needs_attention="true") == {"e"}
