"""The page of suppressed addresses: list, search, remove."""

from browsers import browsing
from callers import make_key

from instances import Instance

HOSTILE = "</td><script>alert(1)</script>"
REMOVE = "/suppressions/remove"


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


async def test_others_see_and_remove_nothing(idle_instance: Instance) -> None:
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
        assert (await browser.submit("/suppressions", REMOVE, address="ann@acme.example")).status_code == 403
    async with browsing(idle_instance.app) as browser:
        assert "ann@acme.example" in (await browser.page("/suppressions")).text, "the admin key sees all tenants"
