"""Statistics over HTTP. They are read from the index: no worker runs here."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
import pytest
from callers import calling, make_key
from problems import problem
from sockets import serving

from cli.client.api import Api
from cli.client.stats import read
from cli.console import Failed
from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.events import counter_rows, statistics
from hookkeeper.statuses import DeliveryStatus
from hookkeeper.times import utc_now
from instance_parts import new_app
from instances import KEY, Instance
from reports import changed, reported

PATH = "/v1/stats"
NOW = datetime.now(UTC)
NAMES = ("tenant", "webhook_id", "channel", "type")
TYPES = 2700
CONNECTIONS = 8
EVENTS = 10


def report(tenant: str, event_id: str, *errors: str | None, status: DeliveryStatus = "succeeded") -> RunReport:
    """Return the report of an event of a minute ago with these attempts, each of 12 ms."""
    now = datetime.now(UTC)  # not of the import: after a quarter of an hour, what retries counts as retrying for long
    began = now - timedelta(minutes=1)
    attempts = tuple(
        Attempt(number=n, started_at=began, duration_ms=12, error=error) for n, error in enumerate(errors, start=1)
    )
    webhook = f"wh_{tenant}"
    delivery = Delivery(id=webhook, webhook_id=webhook, status=status, attempts=attempts)
    return reported(tenant, event_id, began, now, (delivery,))


async def shown(instance: Instance, **query: Any) -> dict[str, Any]:
    answer = await instance.http.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


@pytest.mark.promise("docs/statistics.md")
async def test_a_webhook_has_statistics_of_its_deliveries(instance: Instance) -> None:
    tenant = instance.tenant
    await instance.store.rows.write(
        [
            report(tenant, "evt_1", None),
            report(tenant, "evt_2", "http_503", "timeout", None),
            report(tenant, "evt_3", "http_400", status="failed"),
            report(tenant, "evt_4", "dns", status="retrying"),
            report(tenant, "evt_5", status="held"),
        ]
    )
    answer = await shown(instance, webhook=f"wh_{tenant}", by="webhook")
    assert (answer["by"], answer["step"], answer["waiting_capped"]) == ("webhook", None, False)
    (group,) = answer["items"]
    assert group == {
        **{"tenant": tenant, "webhook_id": f"wh_{tenant}", "channel": None, "type": None},
        **{"events": None, "no_webhook": None},
        **{"deliveries_succeeded": 2, "deliveries_failed": 1, "deliveries_cancelled": 0, "success_rate": 2 / 4},
        **{"attempts": 6, "error_rate": 4 / 6},
        "outcomes": {
            **{"succeeded": 2, "client_errors": 1, "server_errors": 1},
            **{"timeouts": 1, "connection_errors": 1, "other_errors": 0},
        },
        **{"retries": 2, "requested": 0},
        "latency": {"p50": 15.0, "p95": 19.5, "p99": 19.9},
        **{"held": 1, "retrying": 1},
        "steps": [],
    }


async def test_what_retries_now_lowers_the_success_rate_of_a_period_until_now_only(idle_instance: Instance) -> None:
    await idle_instance.store.rows.write(
        [report(idle_instance.tenant, "evt_1", None), report(idle_instance.tenant, "evt_2", "dns", status="retrying")]
    )
    since = (NOW - timedelta(hours=3)).isoformat()
    (group,) = (await shown(idle_instance, since=since, step=60))["items"]
    assert group["success_rate"] == 1 / 2
    assert {step["success_rate"] for step in group["steps"]} == {None, 1.0}
    (past,) = (await shown(idle_instance, since=since, until=(NOW - timedelta(minutes=2)).isoformat(), step=60))[
        "items"
    ]
    assert (past["success_rate"], past["attempts"], past["retrying"]) == (None, 0, 1)


async def test_steps_cover_the_whole_time(idle_instance: Instance) -> None:
    await idle_instance.store.rows.write([report(idle_instance.tenant, "evt_1", None)])
    since = (NOW - timedelta(hours=3)).isoformat()
    answer = await shown(idle_instance, since=since, step=3600)
    (group,) = answer["items"]
    times = [datetime.fromisoformat(step["at"]) for step in group["steps"]]
    assert times[0] == datetime.fromisoformat(answer["since"])
    assert times[-1] + timedelta(hours=1) == datetime.fromisoformat(answer["until"])
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(hours=1)}
    assert sum(step["attempts"] for step in group["steps"]) == sum(step["events"] for step in group["steps"]) == 1
    assert [step["latency"] for step in group["steps"] if not step["attempts"]] == [None] * (len(times) - 1)


@pytest.mark.promise("docs/statistics.md")
async def test_a_tenants_key_sees_its_tenant_only(idle_instance: Instance) -> None:
    """Setup: two tenants with an event each.
    Timeline: the key of one reads its statistics, by each name, and asks for the other's tenant and webhook.
    Proves: nothing of the other tenant is counted, and its webhook looks like one that is unknown.
    """
    mine, other = idle_instance.tenant, f"{idle_instance.tenant}-b"
    await idle_instance.store.rows.write([report(mine, "evt_1", None), report(other, "evt_2", None, status="held")])
    key = await make_key(idle_instance, mine)
    async with calling(idle_instance.app, key["key"]) as http:
        for by in ("total", "tenant", "webhook", "channel", "type"):
            (group,) = (await http.get(PATH, params={"by": by})).json()["items"]
            assert (group["tenant"], group["attempts"], group["held"]) == (mine, 1, 0), by
            assert other not in str(group)
        foreign = await http.get(PATH, params={"webhook": f"wh_{other}"})
        unknown = await http.get(PATH, params={"webhook": "wh_unknown"})
        assert (foreign.status_code, foreign.json()["errors"]) == (422, unknown.json()["errors"])
        problem(await http.get(PATH, params={"tenant": other}), 403)
    assert {g["tenant"] for g in (await shown(idle_instance, by="tenant"))["items"]} == {mine, other}
    everything = (await shown(idle_instance))["items"][0]
    assert [everything[name] for name in (*NAMES, "events", "held")] == [None, None, None, None, 2, 1]


async def test_statistics_need_their_scope(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant, scopes=["webhooks:read"])
    async with calling(instance.app, key["key"]) as http:
        problem(await http.get(PATH), 403)


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"step": 90}, "step"),
        ({"step": 0}, "step"),
        ({"step": 60, "since": "2026-01-01T00:00:00Z"}, "step"),
        ({"step": 3600, "since": "1999-01-01T00:00:00Z"}, "step"),
        ({"by": "status"}, "by"),
        ({"channel": "pigeon"}, "channel"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-02T00:00:00Z"}, "since"),
        ({"since": "9999-01-01T00:00:00Z"}, "since"),
        ({"until": "0001-01-01T00:00:00Z"}, "since"),
        ({"since": "yesterday"}, "since"),
    ],
)
async def test_a_bad_query_of_statistics_is_refused(instance: Instance, query: dict[str, Any], path: str) -> None:
    problem(await instance.http.get(PATH, params=query), 422, path)


async def test_extreme_times_in_a_query_of_statistics_are_answered(idle_instance: Instance) -> None:
    for query in (
        {"since": "0001-01-01T00:00:00Z"},
        {"since": "0001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59Z", "step": 366 * 86_400},
    ):
        assert (await shown(idle_instance, **query))["items"][0]["events"] == 0


@pytest.mark.promise("docs/statistics.md")
async def test_statistics_that_would_be_too_large_are_refused(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    await instance.store.rows.write([report(instance.tenant, "evt_1", None)])
    monkeypatch.setattr(statistics, "MAX_ROWS", 0)
    document = problem(await instance.http.get(PATH), 422, "step")
    assert "use a shorter period" in document["errors"][0]["detail"]
    async with serving(new_app(instance.settings, instance.store, instance.gateway)) as server:
        api = Api(f"http://127.0.0.1:{server.port}", KEY)
        found = await asyncio.to_thread(read, api, None)
        assert (found.total, found.webhooks) == (None, None)
        assert found.system
        with pytest.raises(Failed, match="422"):
            await asyncio.to_thread(read, api, "no tenant")
        api.close()


async def test_a_tenant_with_a_type_for_each_event_still_has_statistics(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counter_rows, "MAX_ROWS_BY_TYPE", 10)
    monkeypatch.setattr(statistics, "MAX_ROWS", 30)
    tenant = idle_instance.tenant
    reports = [changed(report(tenant, f"evt_{n}", None), type=f"type_{n}", deliveries=()) for n in range(100)]
    for n in range(0, 100, 10):
        await idle_instance.store.rows.write(reports[n : n + 10])
    assert (await shown(idle_instance))["items"][0]["events"] == 100
    (group,) = (await shown(idle_instance, by="tenant"))["items"]
    assert (group["tenant"], group["events"]) == (tenant, 100)
    by_type = {group["type"]: group["events"] for group in (await shown(idle_instance, by="type"))["items"]}
    assert by_type == {"(other)": 90, **{f"type_{n}": 1 for n in range(10)}}


async def write_types(instance: Instance, tenant: str) -> None:
    """Write an event of each type, of the last hours, with a delivery that waits for a retry."""
    now = utc_now()
    waiting = Delivery(id="wh_1", webhook_id="wh_1", status="retrying")
    reports = [
        reported(tenant, f"evt_{n}", now - timedelta(hours=n % 4), now, (waiting,), type=f"type_{n}")
        for n in range(TYPES)
    ]
    for n in range(0, TYPES, 100):
        await instance.store.rows.write(reports[n : n + 100])


async def test_statistics_of_very_many_types_delay_no_other_tenant(instance: Instance) -> None:
    """Setup: a tenant has 2,700 types. Timeline: it asks for them over eight connections, and another tenant posts.
    Proves: each answer is short and complete, and events are accepted meanwhile. Each test checks that no step of the
    event loop takes long.
    """
    busy = instance.tenant
    await write_types(instance, busy)
    key, other = [(await make_key(instance, tenant))["key"] for tenant in (busy, f"{busy}-other")]
    posted = asyncio.Event()
    async with serving(new_app(instance.settings, instance.store, instance.gateway)) as server:

        def client(of: str) -> httpx.AsyncClient:
            headers = {"authorization": f"Bearer {of}"}
            return httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}/v1", headers=headers, timeout=60)

        async def ask() -> httpx.Response:
            async with client(key) as http:
                answer = await http.get("/stats", params={"by": "type"})
                while not posted.is_set():
                    answer = await http.get("/stats", params={"by": "type"})
                return answer

        async with client(other) as http, asyncio.TaskGroup() as group:
            asking = [group.create_task(ask()) for _ in range(CONNECTIONS)]
            statuses = [(await http.post("/events", json={"type": "a"})).status_code for _ in range(EVENTS)]
            posted.set()
    assert statuses == [202] * EVENTS
    for task in asking:
        groups = task.result().json()["items"]
        assert len(groups) == 101
        assert (groups[0]["type"], groups[0]["events"]) == ("(other)", TYPES - 100)
        assert [sum(group[name] for group in groups) for name in ("events", "retrying")] == [TYPES, TYPES]
