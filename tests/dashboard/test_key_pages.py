"""The page of API keys: one is created and shown once; revoking one names the schedules that it made."""

import asyncio
import re
from typing import Any

import pytest
from browsers import Form, Page, browsing
from callers import calling, make_key

from instances import Instance

HOSTILE = "</td><script>alert(1)</script>"
CREATE, REVOKE = "/keys/create", "/keys/revoke"


async def test_a_key_is_created_with_its_scopes_and_shown_once(idle_instance: Instance) -> None:
    tenant = idle_instance.tenant
    fields = {"name": HOSTILE, "tenant": tenant, "scope events:read": "true", "expires": "30", "rate_limit": "5/second"}
    async with browsing(idle_instance.app) as browser:
        answer = await browser.submit("/keys", CREATE, **fields)
        assert answer.status_code == 200, answer.text
        assert "<script>alert" not in answer.text
        (key,) = set(re.findall(r"hk_[A-Za-z0-9]{49}", answer.text))
        assert key not in (await browser.get("/keys")).text
    async with calling(idle_instance.app, key) as http:
        assert (await http.get("/v1/events")).status_code == 200
        assert (await http.get("/v1/webhooks")).status_code == 403
    (known,) = (await idle_instance.http.get("/v1/keys", params={"tenant": tenant})).json()["items"]
    assert (known["name"], known["scopes"], known["rate_limit"]) == (HOSTILE, ["events:read"], "5/second")
    assert known["expires_at"]
    entry = (await idle_instance.http.get("/v1/audit", params={"tenant": tenant})).json()["items"][0]
    assert (entry["action"], entry["object_id"], entry["key_id"]) == ("key.create", known["id"], "admin")


async def test_a_form_creates_a_key_once(idle_instance: Instance) -> None:
    """A reload sends the form again, also while the answer to the first is on its way."""
    async with browsing(idle_instance.app) as browser:
        html = (await browser.get("/keys")).text
        fields = Form(html, CREATE).fields | {"name": "backend", "tenant": idle_instance.tenant}
        answers = await asyncio.gather(*(browser.http.post(CREATE, data=fields) for _ in range(3)))
        (made,) = (await idle_instance.http.get("/v1/keys", params={"tenant": idle_instance.tenant})).json()["items"]
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


async def test_a_tenants_key_sees_and_makes_no_keys(idle_instance: Instance) -> None:
    key = await make_key(idle_instance, idle_instance.tenant)
    async with browsing(idle_instance.app, key["key"]) as browser:
        assert "/keys" not in (await browser.page("/events")).links()
        assert (await browser.get("/keys")).status_code == 403
        for action in (CREATE, REVOKE):
            answer = await browser.submit("/events", action, key=key["id"], name="x", tenant=idle_instance.tenant)
            assert answer.status_code == 403
