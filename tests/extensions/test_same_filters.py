"""A filter finds the same events in lists, exports, bulk actions, streams, Svix's API and tools of agents."""

from datetime import timedelta
from itertools import combinations
from random import Random

import pytest
from agents import agent, ask
from browsers import Browser, browsing
from callers import make_key
from sockets import serving
from streams import Stream, opened

from api.streams import feed
from hookkeeper.content.search_terms import keys_of_channels
from hookkeeper.filters import OF_EVENTS, OF_STREAMS, Filter
from hookkeeper.messages.event import Acknowledgement
from hookkeeper.messages.run_report import RunReport
from hookkeeper.times import utc_now
from instances import KEY, Instance
from made_up_events import made_up_reports

EVENTS = 1000
RANDOM = Random(49)
TEXTS = {
    "type": ("order.paid", "user.new"),
    "in_channel": ("project_1", "project_2"),
    "id_prefix": ("e-1", "e-17"),
    "status_code": ("5xx", "2xx", "503"),
    "error": ("timeout", "http_503"),
}
"""Values of filters that are texts."""


def values_of(described: Filter) -> tuple[str, ...]:
    if described.type is bool:
        return ("true", "false")
    return ("1", "2", "4") if described.type is int else described.choices or TEXTS[described.name]


def queries() -> list[dict[str, str]]:
    """Return each filter with each of its values, and thirty random pairs."""
    single = [{each.name: value} for each in OF_EVENTS for value in values_of(each)]
    pairs = [one | other for one, other in combinations(single, 2) if one.keys() != other.keys()]
    return [*single, *RANDOM.sample(pairs, 30)]


QUERIES = queries()
STREAMED = {each.name for each in OF_STREAMS}


def mixed(tenant: str) -> list[RunReport]:
    """Return a thousand events of one tenant; some have channels, some are acknowledged."""
    reports = []
    acknowledged = Acknowledgement(at=utc_now(), by="a test").model_dump_json()
    now = utc_now()
    for number, report in enumerate(made_up_reports(49, EVENTS, now - timedelta(minutes=80))):
        channels = RANDOM.sample(("project_1", "project_2", "project_3"), RANDOM.randrange(3))
        is_acknowledged = report.event.needs_attention and RANDOM.random() < 0.3
        event = report.event._replace(
            tenant=tenant,
            accepted_at=now if number % 10 == 0 else report.event.accepted_at,  # some have not been retrying for long
            channels=" ".join(channels) or None,
            acknowledged=acknowledged if is_acknowledged else None,
            needs_attention=report.event.needs_attention and not is_acknowledged,
        )
        reports.append(report._replace(event=event, keys=keys_of_channels(channels)))
    return reports


class Readers:
    """The ways to find events."""

    def __init__(self, instance: Instance, browser: Browser) -> None:
        self._export = browser.http.get
        self._get = instance.http.get
        self._post = instance.http.post
        self._tenant = instance.tenant

    async def listed(self, query: dict[str, str]) -> list[str]:
        found: list[str] = []
        params = {"tenant": self._tenant, "limit": "100", **query}
        while True:
            page = (await self._get("/v1/events", params=params)).raise_for_status().json()
            found += [event["id"] for event in page["items"]]
            if page["next_cursor"] is None:
                return found
            params["cursor"] = page["next_cursor"]

    async def exported(self, query: dict[str, str]) -> list[str]:
        answer = await self._export("/events/export.json", params={"tenant": self._tenant, **query})
        return [event["id"] for event in answer.raise_for_status().json()["items"]]

    async def counted_in_bulk(self, query: dict[str, str]) -> int:
        wanted = {"action": "retry", "dry_run": True}
        answer = await self._post("/v1/bulk", params={"tenant": self._tenant, **query}, json=wanted)
        assert answer.status_code == 200, answer.text
        found: int = answer.json()["found"]
        return found

    async def messages(self, query: dict[str, str]) -> list[str]:
        """Read the list of Svix's API, which has two of the filters."""
        given = {"event_types": query.get("type"), "channel": query.get("in_channel"), "with_content": "false"}
        params = {name: value for name, value in given.items() if value} | {"limit": "250"}
        found: list[str] = []
        while True:
            answer = await self._get(f"/api/v1/app/{self._tenant}/msg", params=params)
            page = answer.raise_for_status().json()
            found += [message["id"] for message in page["data"]]
            if page["done"]:
                return found
            params["iterator"] = page["iterator"]


async def test_a_filter_finds_the_same_everywhere(idle_instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeline: a thousand events are written while a stream is open; then each reader is asked for each query."""
    monkeypatch.setattr(feed, "INTERVAL", 0.05)
    monkeypatch.setattr(feed, "MAX_MISSED", EVENTS)
    tenant = idle_instance.tenant
    key = (await make_key(idle_instance, tenant))["key"]
    async with (
        browsing(idle_instance.app) as browser,
        serving(idle_instance.app) as server,
        agent(idle_instance, KEY) as client,
    ):
        readers = Readers(idle_instance, browser)
        async with opened(server.port, key) as stream:
            assert (await stream.next()).kind == "ready"
            before = stream.last_id
        await idle_instance.store.rows.write(mixed(tenant))
        lists = [await readers.listed(query) for query in QUERIES]
        found_by_none = [query for query, ids in zip(QUERIES, lists, strict=True) if not ids and len(query) == 1]
        assert found_by_none == [{"status": "scheduled"}, {"channel": "notification"}]  # none were made up
        for query, ids in zip(QUERIES, lists, strict=True):
            assert await readers.exported(query) == ids, query
            assert await readers.counted_in_bulk(query) == len(ids), query
            told = await ask(client, "find_events", tenant=tenant, limit=20, **query)
            assert [event["id"] for event in told["items"]] == ids[:20], query
            if query.keys() <= {"type", "in_channel"}:
                assert await readers.messages(query) == ids
        for query, ids in zip(QUERIES, lists, strict=True):
            if query.keys() <= STREAMED:
                async with opened(server.port, key, before, **query) as stream:
                    assert sorted(await _until_ready(stream)) == sorted(ids), query


async def _until_ready(stream: Stream) -> list[str]:
    """Return the events of a stream that is resumed until it is live."""
    found = []
    while (message := await stream.next()).kind != "ready":
        assert message.kind == "event", message
        found.append(message.data["id"])
    return found
