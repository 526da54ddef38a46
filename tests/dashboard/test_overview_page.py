"""The overview: what the index has counted, what needs attention, and what runs."""

import asyncio
import re

import pytest
from browsers import browsing, needing_attention
from callers import make_key
from test_stats_api import report

from hookkeeper.registry.index import statistics
from instances import Instance
from timeouts import WAIT_TIMEOUT


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
        assert len(re.findall(r"\b(?:00|04|08|12|16|20):00 (?!UTC)", text)) >= 5, "the chart names hours"
        for shown in ("90 %", "9 succeeded", "3 failed", "evt_bad"):
            assert shown in text or any(shown in link for link in page.links()), shown
        assert "someone-else" not in text
        assert not any("evt_theirs" in link for link in page.links())
        assert "Temporal" not in text, "what runs is for the operator"
        assert any(link.startswith("/events/evt_wait") for link in page.links())
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
