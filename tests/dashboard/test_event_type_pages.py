"""The catalogue: examples, schemas as trees, and sending an example."""

from urllib.parse import urlsplit

import pytest
from browsers import browsing
from callers import make_key

from instances import Instance

HOSTILE = "</pre><script>alert(1)</script>"
SCHEMA = {
    "type": "object",
    "required": ["customer"],
    "properties": {"customer": {"type": "object", "properties": {"city": {"type": "string", "description": HOSTILE}}}},
}
EXAMPLE = {"customer": {"city": "Ghent"}}
ORDER = {"name": "order.paid", "schema": SCHEMA, "examples": [EXAMPLE]}


async def test_event_types_are_shown_with_their_examples(idle_instance: Instance) -> None:
    for n in range(25):
        name = f"type.n{n:02}"
        given = {"name": name, "description": HOSTILE, "schema": {"type": "object"}, "examples": [{"text": HOSTILE}]}
        assert (await idle_instance.http.post("/v1/event-types", json=given)).status_code == 201
    async with browsing(idle_instance.app) as browser:
        first = await browser.get("/event-types")
        assert "<script>alert" not in first.text
        assert "type.n19" in first.text
        assert "type.n20" not in first.text
        page = await browser.page("/event-types")
        (following,) = [link for link in page.links() if "cursor=" in link]
        assert "type.n24" in (await browser.page(following)).text
        assert "/events?type=type.n00" in page.links()


async def test_a_schema_is_shown_as_a_tree_of_fields_with_links(idle_instance: Instance) -> None:
    assert (await idle_instance.http.post("/v1/event-types", json=ORDER)).status_code == 201
    async with browsing(idle_instance.app) as browser:
        page = await browser.page("/event-types")
        assert "/events?type=order.paid" in page.links()
        assert "#order.paid/customer.city" in page.links()
        assert "order.paid/customer.city" in {attributes.get("id") for _, attributes in page.tags}
        assert "required" in page.text
        assert HOSTILE in page.text, "as text"
        assert ("script", {}) not in page.tags


@pytest.mark.parametrize("is_admin", [True, False])
async def test_an_example_is_sent_as_an_event(idle_instance: Instance, is_admin: bool) -> None:
    assert (await idle_instance.http.post("/v1/event-types", json=ORDER)).status_code == 201
    tenant = idle_instance.tenant
    key = None if is_admin else (await make_key(idle_instance, tenant))["key"]
    fields = {"tenant": tenant} if is_admin else {}
    async with browsing(idle_instance.app, *([key] if key else [])) as browser:
        done = await browser.submit("/event-types", "/event-types/order.paid/send", **fields)
        assert done.status_code == 303, done.text
        shown = await browser.page(done.headers["location"])
        assert "The example was sent." in shown.text
    event_id = urlsplit(done.headers["location"]).path.rpartition("/")[2]
    event = await idle_instance.event(event_id)
    assert (event["type"], event["tenant"], event["data"]) == ("order.paid", tenant, EXAMPLE)


async def test_an_example_that_cannot_be_sent_is_explained(idle_instance: Instance) -> None:
    for given in (ORDER, {"name": "order.empty"}, {"name": "order.old", "examples": [1]}):
        assert (await idle_instance.http.post("/v1/event-types", json=given)).status_code == 201
    changed = await idle_instance.http.patch("/v1/event-types/order.old", json={"archived": True})
    assert changed.status_code == 200
    tenant = idle_instance.tenant
    async with browsing(idle_instance.app) as browser:
        actions = (await browser.page("/event-types")).actions()
        assert [action for action in actions if action.endswith("/send")] == ["/event-types/order.paid/send"]
        for name, status in (("order.empty", 404), ("order.old", 422), ("order.unknown", 404)):
            refused = await browser.submit("/event-types", f"/event-types/{name}/send", tenant=tenant)
            assert refused.status_code == status, name
        refused = await browser.submit("/event-types", "/event-types/order.paid/send", tenant="no/tenant")
        assert refused.status_code == 422
    reader = await make_key(idle_instance, tenant, scopes=["events:read"])
    async with browsing(idle_instance.app, reader["key"]) as browser:
        page = await browser.page("/event-types")
        assert not [action for action in page.actions() if action.endswith("/send")]
        refused = await browser.submit("/event-types", "/event-types/order.paid/send")
        assert refused.status_code == 403
