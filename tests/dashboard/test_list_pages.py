"""Pages that are lists: API keys, suppressed addresses, schedules, the audit log; what they show, escape and change."""

import asyncio
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from browsers import Form, Page, browsing
from callers import calling, make_key
from temporalio.client import Client

from dashboard.lists import ADDRESSES_ON_PAGE
from dashboard.portal_links import CAPABILITIES, LANGUAGE_NAMES
from hookkeeper.services.caller import LANGUAGES, OF_CAPABILITY
from instances import Instance, running_instance
from timeouts import WAIT_TIMEOUT

HOSTILE = "</td><script>alert(1)</script>"
CREATE, REVOKE = "/keys/create", "/keys/revoke"
HOSTILE_NAME = "</pre><script>alert(1)</script>"


async def test_a_key_is_created_with_its_scopes_and_shown_once(instance: Instance) -> None:
    tenant = instance.tenant
    fields = {"name": HOSTILE, "tenant": tenant, "scope events:read": "true", "expires": "30", "rate_limit": "5/second"}
    async with browsing(instance.app) as browser:
        answer = await browser.submit("/keys", CREATE, **fields)
        assert answer.status_code == 200, answer.text
        assert "<script>alert" not in answer.text
        (key,) = set(re.findall(r"hk_[A-Za-z0-9]{49}", answer.text))
        assert key not in (await browser.get("/keys")).text
    async with calling(instance.app, key) as http:
        assert (await http.get("/v1/events")).status_code == 200
        assert (await http.get("/v1/webhooks")).status_code == 403
    (known,) = (await instance.http.get("/v1/keys", params={"tenant": tenant})).json()["items"]
    assert (known["name"], known["scopes"], known["rate_limit"]) == (HOSTILE, ["events:read"], "5/second")
    assert known["expires_at"]
    entry = (await instance.http.get("/v1/audit", params={"tenant": tenant})).json()["items"][0]
    assert (entry["action"], entry["object_id"], entry["key_id"]) == ("key.create", known["id"], "admin")


async def test_a_form_creates_a_key_once(instance: Instance) -> None:
    """A reload sends the form again, also while the answer to the first is on its way."""
    async with browsing(instance.app) as browser:
        html = (await browser.get("/keys")).text
        fields = Form(html, CREATE).fields | {"name": "backend", "tenant": instance.tenant}
        answers = await asyncio.gather(*(browser.http.post(CREATE, data=fields) for _ in range(3)))
        (made,) = (await instance.http.get("/v1/keys", params={"tenant": instance.tenant})).json()["items"]
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
        for answer in answers:
            assert made["id"] in answer.text
            assert ("hk_" in Page(answer.text).text) is (answer.status_code == 200)
            again = Form(answer.text, CREATE).fields
            assert again["id"] != fields["id"], "the next form makes a key of its own"


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"tenant": ""}, "tenant"),
        ({"all_tenants": "true"}, "tenant"),
        ({"tenant": "no tenant!"}, "tenant"),
        ({"name": ""}, "name"),
        ({"scope events:read": ""}, "scopes"),
        ({"scope admin": "true"}, "scopes"),
        ({"rate_limit": "often"}, "rate_limit"),
        ({"expires": "9999999"}, "expires"),
    ],
)
async def test_a_bad_form_makes_no_key_and_is_explained(
    idle_instance: Instance, fields: dict[str, str], path: str
) -> None:
    given = {"name": "backend", "tenant": "acme", "scope events:read": "true"} | fields
    async with browsing(idle_instance.app) as browser:
        answer = await browser.submit("/keys", CREATE, **given)
    assert answer.status_code == 422
    assert answer.text.partition(f'id="{path}-error">')[2].partition("</p>")[0], "the error is at its field"
    kept = Form(answer.text, CREATE).fields
    assert {name: kept.get(name, "") for name in given if name != "expires"} == {
        name: text for name, text in given.items() if name != "expires"
    }
    assert (await idle_instance.http.get("/v1/keys")).json()["items"] == []


async def schedule_of(instance: Instance, key: dict[str, Any]) -> str:
    body = {"event": {"type": "report.due"}, "every": 86_400 * 300}
    async with calling(instance.app, key["key"]) as http:
        answer = await http.post("/v1/schedules", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize("pauses", [False, True])
async def test_a_revoked_key_names_its_schedules(instance: Instance, pauses: bool) -> None:
    key = await make_key(instance, instance.tenant)
    schedule = await schedule_of(instance, key)
    fields = {"pause_schedules": "true"} if pauses else {}
    async with browsing(instance.app) as browser, browsing(instance.app, key["key"]) as theirs:
        answer = await browser.submit("/keys", REVOKE, key=key["id"], **fields)
        assert answer.status_code == 200, answer.text
        assert "is revoked" in answer.text
        assert (schedule in answer.text, "is paused." in answer.text) == (True, pauses)
        assert (await theirs.get("/events")).headers["location"].startswith("/login")
        for unknown in ("", "key_nowhere", "a\0b", "x" * 500):
            assert (await browser.submit("/keys", REVOKE, key=unknown)).status_code == 404
    path = f"/v1/schedules/{schedule}"
    assert (await instance.http.get(path, params={"tenant": instance.tenant})).json()["paused"] is pauses
    await instance.http.delete(path, params={"tenant": instance.tenant})


async def test_a_tenants_key_sees_and_makes_no_keys(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant)
    async with browsing(instance.app, key["key"]) as browser:
        assert "/keys" not in (await browser.page("/events")).links()
        assert (await browser.get("/keys")).status_code == 403
        for action in (CREATE, REVOKE):
            answer = await browser.submit("/events", action, key=key["id"], name="x", tenant=instance.tenant)
            assert answer.status_code == 403


ADD, REMOVE = "/suppressions/add", "/suppressions/remove"


async def suppress(instance: Instance, *addresses: str) -> None:
    for address in addresses:
        body = {"tenant": instance.tenant, "address": address, "detail": HOSTILE}
        assert (await instance.http.post("/v1/suppressions", json=body)).status_code == 201


async def test_an_address_is_found_and_removed(instance: Instance) -> None:
    await suppress(instance, "ann@acme.example", "bob@acme.example")
    key = await make_key(instance, instance.tenant)
    async with browsing(instance.app, key["key"]) as browser:
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
    entry = (await instance.http.get("/v1/audit", params={"tenant": instance.tenant})).json()["items"][0]
    assert (entry["action"], entry["object_id"], entry["key_id"]) == (
        "suppression.delete",
        "ann@acme.example",
        key["id"],
    )


async def test_a_list_that_answers_a_form_leads_on_to_its_next_page(instance: Instance) -> None:
    await suppress(instance, *(f"n{n}@acme.example" for n in range(ADDRESSES_ON_PAGE + 1)))
    key = await make_key(instance, instance.tenant)
    async with browsing(instance.app, key["key"]) as browser:
        refused = await browser.submit("/suppressions", ADD, address="nobody")
        (older,) = [link for link in Page(refused.text).links() if "cursor=" in link]
        assert (refused.status_code, "n0@acme.example" in (await browser.page(older)).text) == (422, True)


async def test_addresses_of_another_tenant_are_neither_shown_nor_removed(instance: Instance) -> None:
    await suppress(instance, "ann@acme.example")
    theirs = await make_key(instance, "someone-else")
    reader = await make_key(instance, instance.tenant, scopes=["webhooks:read"])
    async with browsing(instance.app, theirs["key"]) as browser:
        assert "ann@" not in (await browser.page("/suppressions")).text
        assert (await browser.get(f"/suppressions?tenant={instance.tenant}")).status_code == 403
        for tenant in ("", f"?tenant={instance.tenant}"):
            answer = await browser.submit("/suppressions", REMOVE + tenant, address="ann@acme.example")
            assert answer.status_code == 404
    async with browsing(instance.app, reader["key"]) as browser:
        assert (await browser.page("/suppressions")).actions() == ["/logout"]
        for action in (ADD, REMOVE):
            assert (await browser.submit("/suppressions", action, address="ann@acme.example")).status_code == 403
    writer = await make_key(instance, instance.tenant, scopes=["webhooks:write"])
    async with browsing(instance.app, writer["key"]) as browser:
        answer = await browser.submit("/webhooks/new", ADD, address="nobody")
        assert (answer.status_code, "is not an email address" in answer.text) == (422, True)
        assert "ann@" not in answer.text
    async with browsing(instance.app) as browser:
        assert "ann@acme.example" in (await browser.page("/suppressions")).text, "the admin key sees all tenants"


async def test_an_address_is_added(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant)
    async with browsing(instance.app, key["key"]) as browser:
        for address, done in (("Ann@ACME.example ", "add"), ("ann@acme.example", "known")):
            answer = await browser.submit("/suppressions", ADD, address=address, detail=HOSTILE)
            assert (answer.status_code, answer.headers["location"]) == (303, f"/suppressions?done={done}")
        html = (await browser.get("/suppressions?done=add")).text
        assert "<script>alert" not in html
        page = Page(html)
        for text in ("The address receives no more emails.", "ann@acme.example", "added by a request", HOSTILE):
            assert text in page.text, text
        assert "was suppressed before" in (await browser.page("/suppressions?done=known")).text
    listed = await instance.http.get("/v1/suppressions", params={"tenant": instance.tenant})
    (item,) = listed.json()["items"]
    assert (item["address"], item["reason"], item["detail"]) == ("ann@acme.example", "manual", HOSTILE)
    entries = (await instance.http.get("/v1/audit", params={"tenant": instance.tenant})).json()["items"]
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
    instance: Instance, fields: dict[str, str], field: str, text: str
) -> None:
    given = {"tenant": instance.tenant, "address": "ann@acme.example", "detail": "Asked by phone."} | fields
    async with browsing(instance.app) as browser:
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
    listed = await instance.http.get("/v1/suppressions", params={"tenant": instance.tenant})
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


async def test_schedules_are_shown_to_their_tenant(instance: Instance) -> None:
    given = {
        "name": HOSTILE_NAME,
        "cron": ["0 8 * * *"],
        "event": {"type": "report.due"},
        "tenant": instance.tenant,
    }
    answer = await instance.http.post("/v1/schedules", json=given)
    assert answer.status_code == 201, answer.text
    mine, theirs = await make_key(instance, instance.tenant), await make_key(instance, "someone-else")
    async with browsing(instance.app, mine["key"]) as browser:
        async with asyncio.timeout(WAIT_TIMEOUT):
            while "report.due" not in (text := (await browser.get("/schedules")).text):
                await asyncio.sleep(0.1)
        assert "<script>alert" not in text
        assert "0 8 * * *" in text
        schedule_id = answer.json()["id"]
        for command, paused in (("pause", True), ("resume", False)):
            done = await browser.submit("/schedules", f"/schedules/{schedule_id}/{command}?tenant={instance.tenant}")
            assert (done.status_code, done.headers["location"]) == (303, f"/schedules?done={command}")
            shown = await instance.http.get(f"/v1/schedules/{schedule_id}?tenant={instance.tenant}")
            assert shown.json()["paused"] is paused
    async with browsing(instance.app, theirs["key"]) as browser:
        assert "report.due" not in (await browser.page("/schedules")).text
        assert (await browser.get(f"/schedules?tenant={instance.tenant}")).status_code == 403
        for command in ("pause", "resume"):
            refused = await browser.submit("/schedules", f"/schedules/{schedule_id}/{command}")
            assert refused.status_code == 404
            assert f"/schedules/{schedule_id}" not in Page(refused.text).links(), "there is no such page to go back to"
    await instance.http.delete(f"/v1/schedules/{answer.json()['id']}?tenant={instance.tenant}")


async def test_the_audit_log_names_who_did_what(instance: Instance) -> None:
    webhook = await instance.webhook("http://127.0.0.1:9000/", name="Shop")
    await make_key(instance, "someone-else", name=HOSTILE_NAME)
    await instance.http.post("/v1/event-types", json={"name": "order.paid"})
    async with browsing(instance.app) as browser:
        answer = await browser.get("/audit")
        assert "<script>alert" not in answer.text
        page = Page(answer.text)
        for text in ("webhook.create", "key.create", "Shop", HOSTILE_NAME):
            assert text in page.text
        places = {f"/webhooks/{webhook['id']}", "/event-types?name=order.paid"}
        assert places <= page.links()
        for place in places:
            assert (await browser.get(place)).status_code == 200
        page = await browser.page(f"/audit?tenant={instance.tenant}")
        assert "key.create" not in page.text


LINKS = "/keys/portal-links"


async def test_a_portal_link_is_made_shown_once_and_ended(instance: Instance) -> None:
    fields = {
        "tenant": instance.tenant,
        "name": HOSTILE,
        "path": "/schedules",
        "capability redeliver": "true",
        "page schedules": "true",
        "link_lifetime": "3600",
        "session_lifetime": "28800",
        "language": "de",
    }
    listed = f"{LINKS}?tenant={instance.tenant}"
    async with browsing(instance.app) as browser, browsing(instance.app, key=None) as customer:
        answer = await browser.submit(LINKS, f"{LINKS}/create", **fields)
        assert answer.status_code == 200, Page(answer.text).text
        assert "<script>alert" not in answer.text
        (address,) = set(re.findall(r"/portal/[\w-]+", answer.text)) - {LINKS.removeprefix("/keys")}
        assert address not in (await browser.get(listed)).text
        opened = await customer.submit(address, address)
        assert (opened.status_code, opened.headers["location"]) == (303, "/schedules")
        assert (await customer.get("/schedules")).status_code == 200
        (session,) = (await instance.http.get("/v1/portal-sessions", params={"tenant": instance.tenant})).json()[
            "items"
        ]
        assert (session["capabilities"], session["pages"], session["language"], session["status"]) == (
            ["view", "redeliver"],
            ["schedules"],
            "de",
            "active",
        )
        assert session["id"] in (await browser.page(listed)).text
        ended = await browser.submit(listed, f"{LINKS}/end", session=session["id"])
        assert ended.status_code == 303
        assert "It is over" in (await browser.page(ended.headers["location"])).text
        assert (await customer.get("/schedules")).status_code == 303
        for unknown in ("", "prt_nowhere", "a\0b", "x" * 500):
            assert (await browser.submit(LINKS, f"{LINKS}/end", session=unknown)).status_code == 404


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"tenant": "no tenant!"}, "tenant"),
        ({"path": "/nowhere"}, "path"),
        ({"path": "/webhooks/new"}, "path"),
        ({"path": "/schedules"}, "path"),
        ({"session_lifetime": "999999999"}, "session_lifetime"),
    ],
)
async def test_a_bad_form_makes_no_portal_link_and_is_explained(
    idle_instance: Instance, fields: dict[str, str], path: str
) -> None:
    given = {"tenant": "acme", "name": "ann", "path": "/", "capability view_secrets": "true"} | fields
    async with browsing(idle_instance.app) as browser:
        answer = await browser.submit(LINKS, f"{LINKS}/create", **given)
    assert answer.status_code == 422
    assert answer.text.partition(f'id="{path}-error">')[2].partition("</p>")[0], "the error is at its field"
    assert Form(answer.text, f"{LINKS}/create").fields["capability view_secrets"] == "true"
    assert f'action="{LINKS}" role="search"' in answer.text, "the filter is that of the list"
    assert (await idle_instance.http.get("/v1/portal-sessions")).json()["items"] == []


def test_each_capability_and_language_can_be_chosen() -> None:
    assert CAPABILITIES.keys() == OF_CAPABILITY.keys()
    assert LANGUAGE_NAMES.keys() == {"", *LANGUAGES}
