"""Schedules over the API: what is taken, what is shown, what is refused."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from callers import calling, make_key
from problems import problem
from temporalio.client import Client

from hookkeeper import ids
from hookkeeper.times import rfc3339
from instances import Instance
from schedules import forgotten_at_last
from timeouts import WAIT_TIMEOUT

EVENT = {"type": "report.due", "channels": ["eu"], "data": {"report": "orders"}}
DAILY = {"event": EVENT, "cron": ["0 9 * * *"]}
SELDOM = {"event": EVENT, "every": 86400 * 300, "offset": 1}


@pytest.fixture(scope="module", autouse=True)
async def no_schedule_is_left(temporal: Client) -> AsyncIterator[None]:
    async with forgotten_at_last(temporal):
        yield


async def make(instance: Instance, **fields: Any) -> dict[str, Any]:
    answer = await post(instance, **fields)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def post(instance: Instance, **fields: Any) -> httpx.Response:
    return await instance.http.post("/v1/schedules", json={"tenant": instance.tenant, **fields})


async def call(instance: Instance, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
    params = {"tenant": instance.tenant, **query}
    return await instance.http.request(method, f"/v1/schedules/{path}", params=params, json=body)


async def listed(instance: Instance, count: int) -> list[dict[str, Any]]:
    """Wait until the list has this many."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            answer = await instance.http.get("/v1/schedules", params={"tenant": instance.tenant})
            assert answer.status_code == 200, answer.text
            if len(answer.json()["items"]) == count:
                return answer.json()["items"]  # type: ignore[no-any-return]
            await asyncio.sleep(0.03)


@pytest.mark.promise("docs/schedules.md")
async def test_a_schedule_is_shown_as_it_was_written(instance: Instance) -> None:
    fields = {
        "id": "daily-report",
        "name": "The daily report",
        **DAILY,
        "timezone": "Europe/Berlin",
        "overlap": "buffer_one",
        "catchup_window": 3600,
        "jitter": 5,
        "start_at": "2087-01-01T00:00:00.000Z",
        "end_at": "2088-01-01T00:00:00.000Z",
        "paused": True,
        "note": "Not yet.",
    }
    made = await make(instance, **fields)
    assert fields.items() <= made.items()
    assert made["tenant"] == instance.tenant
    assert (made["type"], made["every"], made["offset"]) == ("report.due", None, 0)
    assert (made["recent"], made["skipped"], made["missed"], made["updated_at"]) == ([], 0, 0, None)
    assert made["links"] == {
        "self": f"{instance.settings.public_url}/v1/schedules/daily-report?tenant={instance.tenant}",
        "temporal": "http://temporal-ui.test/namespaces/default/schedules/"
        + ids.schedule_id(instance.tenant, "daily-report"),
    }
    assert (await call(instance, "GET", "daily-report")).json() == made
    (row,) = await listed(instance, 1)
    assert row.items() <= made.items()
    assert "event" not in row


@pytest.mark.promise("docs/schedules.md")
@pytest.mark.parametrize(
    ("cron", "start", "times"),
    [
        (["0 9 1 * 1"], "2027-01-01", ["02-01", "03-01", "11-01"]),  # Mondays that are the first of a month
        (["0 9 1 * *", "0 9 * * 1"], "2027-02-16", ["02-22", "03-01", "03-08"]),
        (["0 9 31 * *"], "2027-01-01", ["01-31", "03-31", "05-31"]),
        (["0 9 29 2 *"], "2027-01-01", ["02-29"]),
        (["30 2 * * *"], "2027-03-27", ["03-27", "03-29", "03-30"]),  # on the 28th, there is no such time
    ],
)
async def test_which_times_a_cron_expression_means(
    instance: Instance, cron: list[str], start: str, times: list[str]
) -> None:
    made = await make(
        instance, event=EVENT, cron=cron, timezone="Europe/Berlin", start_at=f"{start}T00:00:00Z", paused=True
    )
    assert [time[5:10] for time in made["next"]][: len(times)] == times


async def test_next_times_keep_to_the_clock_on_the_wall(instance: Instance) -> None:
    """Nine in the morning stays nine in the morning, on both sides of the change to summer time and to winter time."""
    for zone, first in (
        ("Europe/Berlin", "2027-03-26"),
        ("America/New_York", "2027-11-05"),
        ("Asia/Kolkata", "2027-03-26"),
    ):
        day = datetime.fromisoformat(first)
        made = await make(instance, **DAILY, timezone=zone, start_at=f"{first}T00:00:00Z")
        wall = [(day + timedelta(days=n)).replace(hour=9, tzinfo=ZoneInfo(zone)) for n in range(10)]
        assert made["next"] == [rfc3339(time) for time in wall]
    assert len({time[11:] for time in made["next"]}) == 1, "India keeps its clocks"


async def test_an_interval_is_counted_from_1970_on(instance: Instance) -> None:
    made = await make(instance, event=EVENT, every=3600, offset=300, start_at="2027-01-01T00:00:00Z")
    assert made["next"][:2] == ["2027-01-01T00:05:00.000Z", "2027-01-01T01:05:00.000Z"]
    assert made["id"].startswith("sch_")
    assert made["cron"] is None


async def test_what_is_given_is_changed(instance: Instance) -> None:
    made = await make(instance, id="a", **DAILY, name="One", timezone="Europe/Berlin", note="kept")
    changed = (await call(instance, "PATCH", "a", {"every": 86400, "paused": True})).json()
    assert (changed["cron"], changed["every"], changed["paused"], changed["note"]) == (None, 86400, True, "kept")
    assert changed["next"] != made["next"]
    assert changed["updated_at"] > made["created_at"]
    again = await call(
        instance,
        "PATCH",
        "a",
        {"cron": ["@hourly"], "event": {"type": "a.b", "channels": ["eu"], "data": [1]}, "name": "Two"},
    )
    assert again.json() == (await call(instance, "GET", "a")).json()
    shown = again.json()
    assert (shown["cron"], shown["every"], shown["name"], shown["type"]) == (["@hourly"], None, "Two", "a.b")
    assert (shown["event"], shown["timezone"], shown["paused"]) == (
        {"type": "a.b", "channels": ["eu"], "data": [1]},
        "Europe/Berlin",
        True,
    )
    same = (await call(instance, "PATCH", "a", {})).json()
    assert same == shown
    problem(await call(instance, "PATCH", "a", {"cron": None}), 422, "cron")
    problem(await call(instance, "PATCH", "a", {"end_at": "2026-01-01T00:00:00Z"}), 422, "end_at")
    problem(await call(instance, "PATCH", "a", {"offset": 5}), 422, "offset")
    problem(await call(instance, "PATCH", "a", {"tenant": "b"}), 422, "tenant")


async def test_changes_at_the_same_time_are_all_made(instance: Instance) -> None:
    """Temporal drops a change of what was changed meanwhile, and does not say so."""
    await make(instance, id="a", **DAILY)
    changes: list[dict[str, Any]] = [
        {"name": "Two"},
        {"timezone": "Europe/Berlin"},
        {"jitter": 7},
        {"overlap": "allow_all"},
    ]
    answers = await asyncio.gather(*(call(instance, "PATCH", "a", change) for change in changes))
    assert [answer.status_code for answer in answers] == [200] * 4
    shown = (await call(instance, "GET", "a")).json()
    for change in changes:
        assert change.items() <= shown.items()


async def test_pause_and_resume_have_a_note(instance: Instance) -> None:
    await make(instance, id="a", **DAILY)
    paused = (await call(instance, "POST", "a/pause", {"note": "Holidays."})).json()
    assert (paused["paused"], paused["note"]) == (True, "Holidays.")
    assert (await listed(instance, 1))[0]["paused"] is True
    resumed = (await call(instance, "POST", "a/resume")).json()
    assert (resumed["paused"], resumed["note"]) == (False, "Resumed through the API")
    longest = "\N{BEACH WITH UMBRELLA}" * 250
    assert (await call(instance, "POST", "a/pause", {"note": longest})).json()["note"] == longest


async def test_a_list_goes_page_by_page(instance: Instance) -> None:
    for n in range(5):
        await make(instance, id=f"s{n}", **DAILY)
    await listed(instance, 5)
    cursor, found = None, []
    while True:
        query = {"tenant": instance.tenant, "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await instance.http.get("/v1/schedules", params=query)).json()
        found += [schedule["id"] for schedule in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert found == ["s4", "s3", "s2", "s1", "s0"]
    problem(await instance.http.get("/v1/schedules", params={"cursor": "bm9uZQ=="}), 400, "cursor")


async def test_an_id_is_taken_once_by_each_tenant(instance: Instance) -> None:
    await make(instance, id="a-b", **DAILY)
    assert "a-b" in problem(await post(instance, id="a-b", **DAILY), 409)["detail"]
    other = await instance.http.post("/v1/schedules", json={"tenant": f"{instance.tenant}-a", "id": "b", **DAILY})
    assert other.status_code == 201, "a dash belongs to one of them"
    assert (await call(instance, "DELETE", "a-b")).status_code == 204
    problem(await call(instance, "GET", "a-b"), 404)
    assert (await post(instance, id="a-b", **DAILY)).status_code == 201


@pytest.mark.promise("docs/schedules.md")
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("cron.0", {"cron": ["every day"]}),
        ("cron.1", {"cron": ["0 9 * * *", "61 * * * *"]}),
        ("cron.0", {"cron": ["0 9 * * 5-1"]}),
        ("cron.0", {"cron": ["*/0 * * * *"]}),
        ("cron.0", {"cron": ["0 9 * * noday"]}),
        ("cron.1", {"cron": ["0 9 * * *", "0 0 9 * * * *"]}),
        ("cron.0", {"cron": ["CRON_TZ=UTC 0 9 * * *"]}),
        ("cron.0", {"cron": ["0 9 * * * # daily"]}),
        ("cron.0", {"cron": ["@every 5s"]}),
        ("cron.1", {"cron": ["0 0 29 2 *", "0 0 30,31 2 *"]}),
        ("cron.0", {"cron": ["0 0 31 11 *"]}),
        ("cron", {"cron": []}),
        ("cron", {"cron": None}),
        ("every", {"every": 60}),
        ("every", {"cron": None, "every": 0}),
        ("offset", {"cron": None, "every": 60, "offset": 60}),
        ("timezone", {"timezone": "Europe/Nowhere"}),
        ("timezone", {"timezone": "../etc/passwd"}),
        ("overlap", {"overlap": "terminate_other"}),
        ("catchup_window", {"catchup_window": 9}),
        ("end_at", {"start_at": "2087-01-02T00:00:00Z", "end_at": "2087-01-01T00:00:00Z"}),
        ("end_at", {"end_at": "2026-01-01T00:00:00Z"}),
        ("cron", {"start_at": "2087-01-01T09:01:00Z", "end_at": "2087-01-02T08:59:00Z"}),
        ("cron", {"start_at": "2101-01-01T00:00:00Z"}),
        ("every", SELDOM | {"cron": None, "start_at": "2087-01-01T00:00:00Z", "end_at": "2087-01-02T00:00:00Z"}),
        ("start_at", {"start_at": "0001-01-01T00:00:00Z"}),
        ("id", {"id": "a.b"}),
        ("id", {"id": "a" * 101}),
        ("event.type", {"event": {"type": "a b"}}),
        ("event.id", {"event": {"type": "a", "id": "mine"}}),
        ("event", {"event": None}),
        ("colour", {"colour": "red"}),
    ],
)
async def test_what_is_wrong_is_named(instance: Instance, path: str, fields: dict[str, Any]) -> None:
    problem(await post(instance, **(DAILY | fields)), 422, path)


async def test_an_event_that_would_be_refused_now_is_refused_already_now(instance: Instance) -> None:
    type_ = f"t{uuid.uuid4().hex[:8]}"
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    await instance.http.post("/v1/event-types", json={"name": type_, "schema": schema})
    bad = {"event": {"type": type_, "data": {"n": "one"}}, "cron": ["@daily"]}
    problem(await post(instance, **bad), 422, "event.data/n")
    await make(instance, id="good", **DAILY)
    problem(await call(instance, "PATCH", "good", {"event": bad["event"]}), 422, "event.data/n")
    await instance.http.patch(f"/v1/event-types/{type_}", json={"archived": True})
    problem(await post(instance, **bad), 422, "event.type")


@pytest.mark.parametrize(
    ("path", "since", "until"),
    [
        ("until", timedelta(hours=-1), timedelta(hours=-1)),
        ("until", timedelta(hours=-1), timedelta(hours=1)),
        ("since", timedelta(seconds=-1000), timedelta()),
    ],
)
async def test_a_period_has_passed_and_is_bounded(
    instance: Instance, path: str, since: timedelta, until: timedelta
) -> None:
    await make(instance, id="a", event=EVENT, every=1, paused=True)
    now = datetime.now(UTC)
    period = {"since": (now + since).isoformat(), "until": (now + until).isoformat()}
    problem(await call(instance, "POST", "a/backfill", period), 422, path)


async def test_nothing_is_known_of_what_is_not_there(instance: Instance) -> None:
    period = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
    for method, path, body in (
        ("GET", "a", None),
        ("PATCH", "a", {"name": "x"}),
        ("DELETE", "a", None),
        ("POST", "a/pause", None),
        ("POST", "a/resume", None),
        ("POST", "a/trigger", None),
        ("POST", "a/backfill", period),
    ):
        problem(await call(instance, method, path, body), 404)


async def test_each_change_is_in_the_audit_log(instance: Instance) -> None:
    await make(instance, id="a", **SELDOM)
    for _ in range(2):  # the second one changes nothing
        assert (await call(instance, "PATCH", "a", {"name": "hush", "jitter": 1})).status_code == 200
    for command in ("pause", "resume", "trigger"):
        await call(instance, "POST", f"a/{command}")
    await call(instance, "POST", "a/backfill", {"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:01Z"})
    await call(instance, "DELETE", "a")
    entries = (await instance.http.get("/v1/audit", params={"tenant": instance.tenant})).json()["items"]
    assert [(entry["action"], entry["object_id"], entry["detail"].get("fields")) for entry in entries[::-1]] == [
        ("schedule.create", "a", ["event", "every", "id", "offset", "tenant"]),
        ("schedule.update", "a", ["jitter", "name"]),
        ("schedule.pause", "a", None),
        ("schedule.resume", "a", None),
        ("schedule.trigger", "a", None),
        ("schedule.backfill", "a", ["since", "until"]),
        ("schedule.delete", "a", None),
    ]
    assert "hush" not in str(entries)


async def test_reading_needs_less_than_writing(instance: Instance) -> None:
    await make(instance, id="a", **DAILY)
    reader = await make_key(instance, instance.tenant, scopes=["events:read"])
    async with calling(instance.app, reader["key"]) as http:
        assert (await http.get("/v1/schedules/a")).status_code == 200
        assert (await http.get("/v1/schedules")).status_code == 200
        problem(await http.post("/v1/schedules", json=DAILY), 403)
        problem(await http.post("/v1/schedules/a/trigger"), 403)
