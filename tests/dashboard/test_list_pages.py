"""Schedules and the audit log."""

import asyncio

from browsers import Page, browsing
from callers import make_key

from instances import Instance
from timeouts import WAIT_TIMEOUT

HOSTILE = "</pre><script>alert(1)</script>"


async def test_schedules_are_shown_to_their_tenant(idle_instance: Instance) -> None:
    given = {"name": HOSTILE, "cron": ["0 8 * * *"], "event": {"type": "report.due"}, "tenant": idle_instance.tenant}
    answer = await idle_instance.http.post("/v1/schedules", json=given)
    assert answer.status_code == 201, answer.text
    mine, theirs = await make_key(idle_instance, idle_instance.tenant), await make_key(idle_instance, "someone-else")
    async with browsing(idle_instance.app, mine["key"]) as browser:
        async with asyncio.timeout(WAIT_TIMEOUT):
            while "report.due" not in (text := (await browser.get("/schedules")).text):
                await asyncio.sleep(0.1)
        assert "<script>alert" not in text
        assert "0 8 * * *" in text
        schedule_id = answer.json()["id"]
        for command, paused in (("pause", True), ("resume", False)):
            done = await browser.submit(
                "/schedules", f"/schedules/{schedule_id}/{command}?tenant={idle_instance.tenant}"
            )
            assert (done.status_code, done.headers["location"]) == (303, "/schedules")
            shown = await idle_instance.http.get(f"/v1/schedules/{schedule_id}?tenant={idle_instance.tenant}")
            assert shown.json()["paused"] is paused
    async with browsing(idle_instance.app, theirs["key"]) as browser:
        assert "report.due" not in (await browser.page("/schedules")).text
        assert (await browser.get(f"/schedules?tenant={idle_instance.tenant}")).status_code == 403
        for command in ("pause", "resume"):
            refused = await browser.submit("/schedules", f"/schedules/{schedule_id}/{command}")
            assert refused.status_code == 404
            assert f"/schedules/{schedule_id}" not in Page(refused.text).links(), "there is no such page to go back to"
    await idle_instance.http.delete(f"/v1/schedules/{answer.json()['id']}?tenant={idle_instance.tenant}")


async def test_the_audit_log_names_who_did_what(idle_instance: Instance) -> None:
    webhook = await idle_instance.webhook("http://127.0.0.1:9000/", name="Shop")
    await make_key(idle_instance, "someone-else", name=HOSTILE)
    async with browsing(idle_instance.app) as browser:
        page = await browser.page("/audit")
        assert "webhook.create" in page.text
        assert "key.create" in page.text
        assert f"/webhooks/{webhook['id']}" in page.links()
        page = await browser.page(f"/audit?tenant={idle_instance.tenant}")
        assert "key.create" not in page.text
