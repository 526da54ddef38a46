"""The lists of events and of webhooks are searched by the same queries as in the API."""

from html import escape
from urllib.parse import quote

from browsers import Page, browsing

from instances import Instance


async def test_the_pages_search_too(instance: Instance) -> None:
    tenant = instance.tenant
    await instance.store.catalogue.set_search_keys(tenant, ["order_id"])
    await instance.send(id="evt-found", data={"order_id": 4711, "name": "<b>Acme"})
    await instance.send(id="evt-other", data={"order_id": 4712})
    await instance.webhook("https://shop.example/hook", name="The shop")
    await instance.webhook("https://other.example/hook")
    async with browsing(instance.app) as browser:
        for q in ("data.order_id:4711", '"<b>acme"'):
            page = await browser.get(f"/events?tenant={tenant}&q={quote(q)}")
            assert "evt-found" in page.text and "evt-other" not in page.text
            assert ("searched back to" in page.text) is ("data." not in q)
            assert "data-live" not in page.text, "each new event would search again"
            assert f'value="{escape(q)}"' in page.text.replace("&#34;", "&quot;")
        page = await browser.get("/webhooks?q=shop")
        assert "The shop" in page.text and "other.example" not in page.text
        assert (await browser.get("/events?q=4711")).status_code == 422


async def test_an_action_is_on_what_the_query_finds(instance: Instance) -> None:
    await instance.store.catalogue.set_search_keys(instance.tenant, ["order_id"])
    for event_id, order in (("a", "x"), ("b", "x"), ("c", "z")):
        await instance.send(id=event_id, data={"order_id": order})
    async with browsing(instance.app) as browser:
        listed = f"/events?tenant={instance.tenant}&q=data.order_id%3Az"
        (asking,) = [action for action in (await browser.page(listed)).actions() if "bulk" in action]
        answer = await browser.submit(listed, asking, action="cancel")
        assert "1 event matches" in " ".join(Page(answer.text).text.split())
        (confirming,) = [action for action in Page(answer.text).actions() if "bulk" in action]
        assert "q=data.order_id" in confirming
