"""Temporal or the registry is down: pages say so in words, and show what is left."""

from pathlib import Path

from browsers import browsing, needing_attention
from callers import make_key
from test_stats_api import report
from test_unavailable import KillableTemporal

from hookkeeper.registry.store import Store
from instance_parts import new_app
from instances import Instance, running_instance
from temporal_processes import free_ports


async def test_without_temporal_lists_and_what_the_index_knows_are_shown(tmp_path: Path) -> None:
    server = KillableTemporal(tmp_path)
    await server.start()
    client = await server.connect()
    async with running_instance(client, tmp_path) as instance, browsing(instance.app) as browser:
        await server.kill()
        await instance.store.rows.write(
            [needing_attention(report(instance.tenant, "evt_1", "http_503", status="retrying"))]
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
