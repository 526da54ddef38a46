"""The overview: what the index has counted, what needs attention, what runs. And the limits of a tenant."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from browsers import Page, browsing, needing_attention
from callers import make_key
from sockets import serving
from temporalio.client import Client
from test_inboxes import use_inboxes
from test_stats_api import report
from test_unavailable import KillableTemporal

from hookkeeper.registry.index import statistics
from hookkeeper.registry.store import Store
from instance_parts import new_app
from instances import Instance, running_instance
from temporal_processes import free_ports
from timeouts import WAIT_TIMEOUT

URL = "http://127.0.0.1:9000/"


async def test_the_last_day_is_counted(idle_instance: Instance) -> None:
    tenant = idle_instance.tenant
    await idle_instance.store.rows.write(
        [
            *(report(tenant, f"evt_{n}", None) for n in range(8)),
            report(tenant, "evt_8", "http_500", None),
            needing_attention(report(tenant, "evt_bad", "http_400", status="failed")),
            needing_attention(report(tenant, "evt_wait", "timeout", status="retrying")),
            needing_attention(report("someone-else", "evt_theirs", "http_400", status="failed")),
        ]
    )
    key = await make_key(idle_instance, tenant)
    async with browsing(idle_instance.app, key["key"]) as browser:
        page = await browser.page("/")
        text = " ".join(page.text.split())
        assert "evt_bad" in text, "events of one type are told apart"
        assert "Events 11" in text.replace("Events11", "Events 11")
        assert len(re.findall(r"\b(?:00|04|08|12|16|20):00(?!:)", text)) >= 5, "the chart names hours"
        for shown in ("81.8 %", "9 succeeded", "3 failed", "evt_bad"):
            assert shown in text or any(shown in link for link in page.links()), shown
        assert "someone-else" not in text
        assert not any("evt_theirs" in link for link in page.links())
        assert "Temporal" not in text, "what runs is for the operator"
        assert not any(link.startswith("/events/evt_wait") for link in page.links()), "it may succeed next time"
    async with browsing(idle_instance.app) as browser:
        assert any("evt_theirs" in link for link in (await browser.page("/")).links())
        assert not any("evt_theirs" in link for link in (await browser.page(f"/?tenant={tenant}")).links())


async def test_an_empty_product_shows_the_first_steps(idle_instance: Instance) -> None:
    key = await make_key(idle_instance, idle_instance.tenant)
    async with browsing(idle_instance.app, key["key"]) as browser:
        text = (await browser.page("/")).text
        assert "First steps" in text
        assert "curl -s http://127.0.0.1:8080/v1/webhooks" in text
        await idle_instance.store.rows.write([report(idle_instance.tenant, "evt_1", None)])
        assert "First steps" not in (await browser.page("/")).text


async def test_a_worker_that_does_not_run_is_named(idle_instance: Instance) -> None:
    async with browsing(idle_instance.app) as browser:
        assert "events are accepted and wait" in (await browser.page("/")).text
        async with idle_instance.working():
            async with asyncio.timeout(WAIT_TIMEOUT):
                while "events are accepted and wait" in (text := (await browser.page("/")).text):
                    await asyncio.sleep(0.1)
    assert "Workers run" in text


async def test_a_key_for_webhooks_only_has_their_list(idle_instance: Instance) -> None:
    key = await make_key(idle_instance, idle_instance.tenant, scopes=["webhooks:read"])
    async with browsing(idle_instance.app, key["key"]) as browser:
        assert (await browser.get("/")).headers["location"] == "/webhooks"
        page = await browser.page("/webhooks")
    assert {"/events"} & page.links() == set()


async def test_the_overview_shows_all_else_if_counters_are_too_many(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = idle_instance.tenant
    await idle_instance.store.rows.write([needing_attention(report(tenant, "evt_bad", "http_400", status="failed"))])
    webhook = await idle_instance.webhook("https://acme.example/hook")
    monkeypatch.setattr(statistics, "MAX_ROWS", -1)
    async with browsing(idle_instance.app) as browser:
        page = await browser.page("/")
        assert "too many counters to add up for all tenants together" in page.text
        assert {"/limits", f"/events/evt_bad?tenant={tenant}"} <= page.links()
        monkeypatch.setattr(statistics, "MAX_ROWS", 1)  # enough for one webhook
        page = await browser.page("/")
        assert "too many webhooks to compare" not in page.text
        assert f"wh_{tenant}" in page.text
        monkeypatch.setattr(statistics, "MAX_ROWS", -1)
        for path in (
            f"/?tenant={tenant}",
            "/webhooks",
            f"/webhooks/{webhook['id']}",
            f"/limits?tenant={tenant}",
            "/limits",
        ):
            page = await browser.page(path)
            assert path == "/limits" or "There are too many counters to add up" in page.text, path


def cells(page: Page) -> str:
    """Return the text of a page, with single spaces."""
    return re.sub(r"\s+", " ", page.text)


async def test_a_tenant_sees_what_it_has_and_may_have(temporal: Client, tmp_path: Path) -> None:
    limits = {"max_webhooks_per_tenant": 2, "max_schedules_per_tenant": 3}
    async with running_instance(temporal, tmp_path, **limits) as instance:
        tenant = instance.tenant
        for _ in range(2):
            await instance.webhook(URL)
        await instance.webhook(URL, tenant="other")
        body = {"tenant": tenant, "event": {"type": "report.due"}, "every": 86_400 * 300}
        schedule = (await instance.http.post("/v1/schedules", json=body)).json()["id"]
        await instance.http.post("/v1/portal-links", json={"tenant": tenant})
        await instance.store.rows.write([report(tenant, "evt_1", "http_503", status="retrying")])
        key = await make_key(instance, tenant)
        async with browsing(instance.app, key["key"]) as browser:
            page = cells(await browser.page("/limits"))
            for text in (
                "Webhooks 2 at the limit 2",
                "Schedules 1 3",
                "sessions of the portal 1 200",
                "last 24 hours 1 none",
                "retry now 1 none",
                "counted in this one 1 8",
                "96 MiB",
            ):
                assert text in page, text
            assert (await browser.get("/limits?tenant=other")).status_code == 403
        await instance.http.delete(f"/v1/schedules/{schedule}", params={"tenant": tenant})


async def test_a_tenant_sees_its_streams_and_inboxes(temporal: Client, tmp_path: Path) -> None:
    """Setup: a stream and two inboxes of a tenant, and an inbox and a stream of others, which do not count."""
    async with running_instance(temporal, tmp_path) as instance:
        mine, other = [(await make_key(instance, tenant))["key"] for tenant in (instance.tenant, "other")]
        async with browsing(instance.app, mine) as browser:
            assert "nbox" not in cells(await browser.page("/limits")), "they are off"
            use_inboxes(instance)
            page = cells(await browser.page("/limits"))
            assert re.search(r"Streams of events[^0-9]* 0 10 Inboxes with requests[^0-9]* 0 5", page), page
            assert "20 a second" in page
            for tenant in (instance.tenant, instance.tenant, "other"):
                token = instance.app.state.api.inboxes.new_token(tenant)
                assert (await instance.http.post(f"/inbox/{token}")).status_code == 200
            async with (
                serving(instance.app) as server,
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=WAIT_TIMEOUT) as http,
                http.stream("GET", "/v1/events/stream", headers={"authorization": f"Bearer {other}"}),
                http.stream("GET", "/v1/events/stream", headers={"authorization": f"Bearer {mine}"}),
            ):
                page = cells(await browser.page("/limits"))
                async with http.stream("GET", "/v1/events/stream", headers={"authorization": f"Bearer {mine}"}):
                    full = cells(await browser.page("/limits"))
    assert re.search(r"Streams of events[^0-9]* 1 10 Inboxes with requests[^0-9]* 2 5", page), page
    assert re.search(r"Streams of events[^0-9]* 2 10", full), full


async def test_a_key_sees_what_its_scopes_show(idle_instance: Instance) -> None:
    for scopes, shown, hidden in (
        (["webhooks:read"], "Webhooks 0", "Schedules"),
        (["webhooks:read"], "Webhooks 0", "Streams"),
        (["events:read"], "Schedules 0", "Webhooks 0"),
    ):
        key = await make_key(idle_instance, idle_instance.tenant, scopes=scopes)
        async with browsing(idle_instance.app, key["key"]) as browser:
            page = cells(await browser.page("/limits"))
        assert (shown in page, hidden in page) == (True, False)
        assert "of the portal" not in page


async def test_the_operator_sees_the_tenants(idle_instance: Instance) -> None:
    for n in range(52):
        await idle_instance.webhook(URL, tenant=f"tenant-{n:02}")
    await idle_instance.webhook(URL, tenant="tenant-00")
    await idle_instance.store.rows.write([report("tenant-00", "evt_1", "http_503", status="retrying")])
    async with browsing(idle_instance.app) as browser:
        first = await browser.page("/limits")
        assert "tenant-00 2 1 0 % 1 0" in cells(first)
        assert ("tenant-49" in first.text, "tenant-50" in first.text) == (True, False)
        assert "/limits?tenant=tenant-00" in first.links()
        (following,) = [link for link in first.links() if "cursor=" in link]
        assert "tenant-51" in (await browser.page(following)).text
        assert "Webhooks 2" in cells(await browser.page("/limits?tenant=tenant-00"))
    key = await make_key(idle_instance, None, scopes=["events:read"])
    async with browsing(idle_instance.app, key["key"]) as browser:
        assert "tenant-00" not in (await browser.page("/limits")).text


async def test_without_temporal_lists_and_what_the_index_knows_are_shown(tmp_path: Path) -> None:
    server = KillableTemporal(tmp_path)
    await server.start()
    client = await server.connect()
    async with running_instance(client, tmp_path) as instance, browsing(instance.app) as browser:
        await server.kill()
        await instance.store.rows.write(
            [needing_attention(report(instance.tenant, "evt_1", "http_503", status="failed"))]
        )
        page = await browser.page(f"/events?tenant={instance.tenant}")
        assert "evt_1" in page.text
        page = await browser.page("/")
        assert "does not answer: new events are refused with 503" in page.text
        assert any("evt_1" in link for link in page.links())
        page = await browser.page(f"/limits?tenant={instance.tenant}")
        assert "unknown while Temporal does not answer" in page.text
        answer = await browser.get(f"/events/evt_1?tenant={instance.tenant}")
        assert answer.status_code == 503
        for text in ("Temporal", "evt_1", "order.paid", "1 webhook", "data-reload"):
            assert text in answer.text, text
        answer = await browser.get(f"/events/evt_2?tenant={instance.tenant}")
        assert (answer.status_code, "Not available right now" in answer.text) == (503, True)
        answer = await browser.submit("/events", f"/events/evt_1/retry?tenant={instance.tenant}")
        assert answer.status_code == 503
        assert f"/events/evt_1?tenant={instance.tenant}" in answer.text, "the page goes back, and repeats no command"


async def test_without_the_registry_the_admin_key_shows_events(idle_instance: Instance) -> None:
    event = await idle_instance.send(data={"order": 4711})
    key = await make_key(idle_instance, idle_instance.tenant)
    store = Store.connect(f"postgresql+asyncpg://hook:secret-password@127.0.0.1:{free_ports().ui}/hookkeeper")
    app = new_app(idle_instance.settings, store, idle_instance.gateway)
    async with browsing(app) as browser:
        answer = await browser.get("/events")
        assert answer.status_code == 503
        assert "The registry is unavailable" in answer.text
        assert "secret-password" not in answer.text
        answer = await browser.get("/")
        assert (answer.status_code, "deliveries wait until it does" in answer.text) == (503, True)
        assert (await browser.get("/webhooks")).status_code == 503
        page = await browser.page(f"/events/{event['id']}?tenant={idle_instance.tenant}")
        assert '"order": 4711' in page.text
    async with browsing(app, key=None) as browser:
        answer = await browser.log_in(key["key"])
        assert (answer.status_code, "The registry is unavailable" in answer.text) == (503, True)
    await store.close()
