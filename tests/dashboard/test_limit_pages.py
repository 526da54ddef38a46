"""The page of limits: what a tenant may have, and what it has; the list of tenants."""

import re
from pathlib import Path

import httpx
from browsers import Page, browsing
from callers import make_key
from sockets import serving
from temporalio.client import Client
from test_inboxes import use_inboxes
from test_stats_api import report

from instances import Instance, running_instance
from timeouts import WAIT_TIMEOUT

URL = "http://127.0.0.1:9000/"


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
        assert "tenant-00 2 1 – 1 0" in cells(first)
        assert ("tenant-49" in first.text, "tenant-50" in first.text) == (True, False)
        assert "/limits?tenant=tenant-00" in first.links()
        (following,) = [link for link in first.links() if "cursor=" in link]
        assert "tenant-51" in (await browser.page(following)).text
        assert "Webhooks 2" in cells(await browser.page("/limits?tenant=tenant-00"))
    key = await make_key(idle_instance, None, scopes=["events:read"])
    async with browsing(idle_instance.app, key["key"]) as browser:
        assert "tenant-00" not in (await browser.page("/limits")).text
