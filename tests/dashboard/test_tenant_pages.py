"""The pages of tenants: listed, searched, described, suspended, deleted."""

from browsers import Form, Page, browsing
from callers import make_key
from test_portal_links import visiting

from instances import Instance


async def test_an_operator_adds_changes_suspends_and_finds_a_tenant(idle_instance: Instance) -> None:
    """Also: what the form does not show, the alerts, stays as it was."""
    tenant = idle_instance.tenant
    alerts = {"emails": [{"to": ["ops@acme.example"]}]}
    async with browsing(idle_instance.app) as browser:
        fields = {"id": tenant, "name": "Acme Ltd", "metadata": "plan: pro", "rate_limit": "5/second"}
        made = await browser.submit("/tenants/new", "/tenants/new", **fields)
        assert made.headers["location"] == f"/limits?tenant={tenant}"
        await idle_instance.http.patch(f"/v1/tenants/{tenant}", json={"on_failure": alerts})

        path = f"/tenants/{tenant}/edit"
        form = Form((await browser.get(path)).text, path).fields
        changed = await browser.submit(path, path, **form | {"suspended": "true", "reason": "Not paid."})
        assert changed.status_code == 303, changed.text.partition('role="alert"')[2][:500]
        shown = (await idle_instance.http.get(f"/v1/tenants/{tenant}")).json()
        expected = {"name": "Acme Ltd", "metadata": {"plan": "pro"}, "rate_limit": "5/second", "suspended": True}
        assert {name: shown[name] for name in expected} == expected
        assert shown["on_failure"]["emails"][0]["to"] == ["ops@acme.example"]

        page = await browser.page(f"/limits?tenant={tenant}")
        for text in ("Acme Ltd", "5/second", "Not paid."):
            assert text in page.text
        found = (await browser.page("/limits?q=metadata.plan:pro")).text
        assert tenant in found
        assert "suspended" in found
        assert tenant not in (await browser.page("/limits?q=metadata.plan:free")).text
        refused = await browser.submit(path, path, **form | {"rate_limit": "many"})
        assert "must be a number a second, minute, hour or day" in refused.text


async def test_the_page_of_a_webhook_says_that_its_tenant_is_suspended(idle_instance: Instance) -> None:
    """It offers no button that would be refused."""
    webhook = await idle_instance.webhook("https://acme.example/hook")
    page = f"/webhooks/{webhook['id']}"
    async with browsing(idle_instance.app) as browser:
        for is_suspended in (True, False):
            await idle_instance.http.patch(f"/v1/tenants/{idle_instance.tenant}", json={"suspended": is_suspended})
            if not is_suspended:
                await idle_instance.http.post(f"/v1{page}/pause")
            text = (await browser.get(page)).text
            assert ("Its tenant is suspended" in text) is is_suspended
            assert (f"{page}/resume" in text) is not is_suspended


async def test_the_page_of_an_event_of_a_suspended_tenant_offers_what_it_may_do(instance: Instance) -> None:
    await instance.webhook("https://acme.invalid/hook", retry={"schedule": [3600]})
    event_id = (await instance.send())["id"]
    await instance.until_delivery(event_id, "retrying")
    page = f"/events/{event_id}"
    async with browsing(instance.app) as browser:
        for is_suspended in (True, False):
            await instance.http.patch(f"/v1/tenants/{instance.tenant}", json={"suspended": is_suspended})
            text = (await browser.get(f"{page}?tenant={instance.tenant}")).text
            assert ("Its tenant is suspended" in text) is is_suspended
            assert (f"{page}/retry" in text) is not is_suspended
            assert f"{page}/cancel" in text and f"{page}/hold" in text


async def test_nothing_is_sent_again_from_the_pages_of_a_suspended_tenant(idle_instance: Instance) -> None:
    tenant, webhook = idle_instance.tenant, (await idle_instance.webhook("https://acme.example/hook"))["id"]
    await idle_instance.send(id="e")
    await idle_instance.http.patch(f"/v1/tenants/{tenant}", json={"suspended": True, "reason": "Spam."})
    key = await make_key(idle_instance, tenant)
    form = {"since": "2026-01-01T00:00:00Z", "action": "retry", "confirmed": "1"}
    async with (
        browsing(idle_instance.app, key["key"]) as browser,
        visiting(idle_instance, capabilities=["view", "redeliver"]) as (portal, _),
    ):
        for reader, shown in ((browser, "sends no event again: Spam."), (portal, "Your link does not allow this.")):
            for action in ("/events/e/redeliver", f"/webhooks/{webhook}/recover", "/events/bulk?type=order.paid"):
                answer = await reader.submit("/events", action, **form)
                assert (answer.status_code, shown in Page(answer.text).text) == (403, True), action


async def test_a_tenant_is_deleted_from_its_page(instance: Instance) -> None:
    await instance.webhook("https://acme.example/hook")
    async with browsing(instance.app) as browser:
        page = f"/limits?tenant={instance.tenant}"
        gone = await browser.submit(page, f"/tenants/{instance.tenant}/delete")
        assert gone.headers["location"].startswith("/recoveries/rec_")
        assert "Erase events" in (await browser.page(gone.headers["location"])).text
