"""The page of suppressed addresses: list, search, add, remove."""

from html import unescape
from pathlib import Path

import pytest
from browsers import Form, Page, browsing
from callers import make_key
from temporalio.client import Client

from instances import Instance, running_instance

HOSTILE = "</td><script>alert(1)</script>"
ADD, REMOVE = "/suppressions/add", "/suppressions/remove"


async def suppress(instance: Instance, *addresses: str) -> None:
    for address in addresses:
        body = {"tenant": instance.tenant, "address": address, "detail": HOSTILE}
        assert (await instance.http.post("/v1/suppressions", json=body)).status_code == 201


async def test_an_address_is_found_and_removed(idle_instance: Instance) -> None:
    await suppress(idle_instance, "ann@acme.example", "bob@acme.example")
    key = await make_key(idle_instance, idle_instance.tenant)
    async with browsing(idle_instance.app, key["key"]) as browser:
        answer = await browser.get("/suppressions")
        assert "<script>alert" not in answer.text
        page = await browser.page("/suppressions?address=Ann@ACME.example")
        assert ("ann@" in page.text, "bob@" in page.text) == (True, False)
        assert "No such address" in (await browser.page("/suppressions?address=nobody")).text
        answer = await browser.submit("/suppressions", REMOVE, address="ann@acme.example")
        assert (answer.status_code, answer.headers["location"]) == (303, "/suppressions?done=remove")
        page = await browser.page("/suppressions?done=remove")
        assert ("ann@" in page.text, "bob@" in page.text) == (False, True)
        assert "receives emails again" in page.text
        for address, status in (("ann@acme.example", 404), ("", 422), ("a\0b", 422), ("a" * 400, 422)):
            assert (await browser.submit("/suppressions", REMOVE, address=address)).status_code == status
    entry = (await idle_instance.http.get("/v1/audit", params={"tenant": idle_instance.tenant})).json()["items"][0]
    assert (entry["action"], entry["object_id"], entry["key_id"]) == (
        "suppression.delete",
        "ann@acme.example",
        key["id"],
    )


async def test_addresses_of_another_tenant_are_neither_shown_nor_removed(idle_instance: Instance) -> None:
    await suppress(idle_instance, "ann@acme.example")
    theirs = await make_key(idle_instance, "someone-else")
    reader = await make_key(idle_instance, idle_instance.tenant, scopes=["webhooks:read"])
    async with browsing(idle_instance.app, theirs["key"]) as browser:
        assert "ann@" not in (await browser.page("/suppressions")).text
        assert (await browser.get(f"/suppressions?tenant={idle_instance.tenant}")).status_code == 403
        for tenant in ("", f"?tenant={idle_instance.tenant}"):
            answer = await browser.submit("/suppressions", REMOVE + tenant, address="ann@acme.example")
            assert answer.status_code == 404
    async with browsing(idle_instance.app, reader["key"]) as browser:
        assert (await browser.page("/suppressions")).actions() == ["/logout"]
        for action in (ADD, REMOVE):
            assert (await browser.submit("/suppressions", action, address="ann@acme.example")).status_code == 403
    writer = await make_key(idle_instance, idle_instance.tenant, scopes=["webhooks:write"])
    async with browsing(idle_instance.app, writer["key"]) as browser:
        answer = await browser.submit("/webhooks/new", ADD, address="nobody")
        assert (answer.status_code, "is not an email address" in answer.text) == (422, True)
        assert "ann@" not in answer.text
    async with browsing(idle_instance.app) as browser:
        assert "ann@acme.example" in (await browser.page("/suppressions")).text, "the admin key sees all tenants"


async def test_an_address_is_added(idle_instance: Instance) -> None:
    key = await make_key(idle_instance, idle_instance.tenant)
    async with browsing(idle_instance.app, key["key"]) as browser:
        for address, done in (("Ann@ACME.example ", "add"), ("ann@acme.example", "known")):
            answer = await browser.submit("/suppressions", ADD, address=address, detail=HOSTILE)
            assert (answer.status_code, answer.headers["location"]) == (303, f"/suppressions?done={done}")
        html = (await browser.get("/suppressions?done=add")).text
        assert "<script>alert" not in html
        page = Page(html)
        for text in ("The address receives no more emails.", "ann@acme.example", "added by a request", HOSTILE):
            assert text in page.text, text
        assert "was suppressed before" in (await browser.page("/suppressions?done=known")).text
    listed = await idle_instance.http.get("/v1/suppressions", params={"tenant": idle_instance.tenant})
    (item,) = listed.json()["items"]
    assert (item["address"], item["reason"], item["detail"]) == ("ann@acme.example", "manual", HOSTILE)
    entries = (await idle_instance.http.get("/v1/audit", params={"tenant": idle_instance.tenant})).json()["items"]
    assert [(entry["action"], entry["key_id"]) for entry in entries[:-1]] == [("suppression.create", key["id"])]


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({"address": ""}, "address", "is not an email address"),
        ({"address": "nobody"}, "address", "is not an email address"),
        ({"address": "a" * 400}, "address", "at most 320"),
        ({"address": '"><script>alert(1)</script>'}, "address", "is not an email address"),
        ({"detail": "a\0b"}, "detail", ""),
        ({"detail": "a" * 257}, "detail", "at most 256"),
        ({"tenant": "no tenant!"}, "tenant", "letters"),
    ],
)
async def test_what_is_refused_is_explained_at_its_field_and_kept(
    idle_instance: Instance, fields: dict[str, str], field: str, text: str
) -> None:
    given = {"tenant": idle_instance.tenant, "address": "ann@acme.example", "detail": "Asked by phone."} | fields
    async with browsing(idle_instance.app) as browser:
        answer = await browser.submit("/suppressions", ADD, **given)
    assert answer.status_code == 422
    assert "<script>alert" not in answer.text
    page = Page(answer.text)
    wrong = [attributes["name"] for tag, attributes in page.tags if attributes.get("aria-invalid") == "true"]
    assert wrong == [field]
    shown = answer.text.partition(f'id="{field}-error">')[2].partition("</p>")[0]
    assert shown
    assert text in unescape(shown)
    kept = Form(answer.text, ADD).fields
    assert {name: kept[name] for name in given} == given
    listed = await idle_instance.http.get("/v1/suppressions", params={"tenant": idle_instance.tenant})
    assert listed.json()["items"] == []


async def test_a_full_list_is_explained_at_the_form(temporal: Client, tmp_path: Path) -> None:
    async with running_instance(temporal, tmp_path, max_suppressions_per_tenant=1) as instance:
        given = {"tenant": instance.tenant, "address": "bob@acme.example", "detail": "Asked by phone."}
        await suppress(instance, "ann@acme.example")
        async with browsing(instance.app) as browser:
            answer = await browser.submit("/suppressions", ADD, **given)
    assert (answer.status_code, "which is the maximum. Remove one." in answer.text) == (409, True)
    kept = Form(answer.text, ADD).fields
    assert {name: kept[name] for name in given} == given


async def test_an_address_is_added_to_the_tenant_that_is_named(idle_instance: Instance) -> None:
    key = await make_key(idle_instance, idle_instance.tenant)
    async with browsing(idle_instance.app) as browser:
        await browser.submit("/suppressions", ADD, address="bob@acme.example", tenant=idle_instance.tenant)
        assert "bob@" in (await browser.page(f"/suppressions?tenant={idle_instance.tenant}")).text
    async with browsing(idle_instance.app, key["key"]) as browser:
        assert "tenant" not in Form((await browser.get("/suppressions")).text, ADD).fields
        answer = await browser.submit("/suppressions", ADD, address="ann@acme.example", tenant="someone-else")
        assert answer.status_code == 403
    listed = (await idle_instance.http.get("/v1/suppressions")).json()["items"]
    assert [item["address"] for item in listed] == ["bob@acme.example"]
