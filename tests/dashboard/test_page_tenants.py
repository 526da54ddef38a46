"""Sessions of one tenant, of a key and of a portal link, on every page and form there is, with the ids of another's.

`test_tenants` does the same with keys and the routes of the API.
"""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from browsers import Browser, browsing
from callers import make_key
from test_page_access import NEEDS
from test_portal_links import CAPABILITIES, visiting

from instances import Instance

URL, ADDRESS, DATA = "https://secret-shop.example/hook", "ann@secret-shop.example", "secret-order"
OBJECT = re.compile(r"\{(webhook|event|schedule|recovery)_id\}")
"""In the path of a page that is about one object."""
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()


async def objects_of(instance: Instance) -> dict[str, str]:
    """Make an object of each kind for the instance's tenant; return their ids by the names that paths and forms use."""
    of_tenant, http = {"tenant": instance.tenant}, instance.http
    webhook = (await instance.webhook(URL))["id"]
    event = await instance.send(data={"order": DATA}, deliver_at=TOMORROW)
    assert (await http.post("/v1/suppressions", json=of_tenant | {"address": ADDRESS})).status_code == 201
    schedule = of_tenant | {"event": {"type": "order.paid"}, "every": 86400}
    recovery = of_tenant | {"since": datetime.now(UTC).isoformat()}
    return {
        "webhook_id": webhook,
        "event_id": event["id"],
        "delivery": webhook,
        "schedule_id": (await http.post("/v1/schedules", json=schedule)).json()["id"],
        "recovery_id": (await http.post("/v1/recoveries", json=recovery)).json()["id"],
        "name": "order.paid",
        "token": "nowhere",
        "tenant_id": instance.tenant,
    }


async def state_of(instance: Instance, ids: dict[str, str]) -> list[Any]:
    """Return what the tenant has, with its signing key and its audit log."""
    of_tenant = {"tenant": instance.tenant}
    secret = f"/v1/webhooks/{ids['webhook_id']}/secret"
    paths = ("/v1/webhooks", "/v1/suppressions", "/v1/schedules", f"/v1/events/{ids['event_id']}", secret)
    answers = [(await instance.http.get(path, params=of_tenant)).json() for path in paths]
    for noted_later in ("run_id", "links"):
        del answers[3][noted_later]
    audit = (await instance.http.get("/v1/audit", params=of_tenant)).json()["items"]
    return [*answers, [entry for entry in audit if entry["action"] != "webhook.secret"]]


async def walk(browser: Browser, ids: dict[str, str], tenant: str) -> None:
    """Call each page and form with these ids, also naming the tenant; none may show what is the tenant's."""
    proof = re.search(r'name="proof" value="(\w+)"', (await browser.get("/events")).text)
    assert proof
    form = {
        "proof": proof[1],
        "tenant": tenant,
        "webhook": ids["webhook_id"],
        "address": ADDRESS,
        "last": "1h",
        "url": "https://elsewhere.example/",
    }
    for route in NEEDS:
        method, path = route.split()
        if path == "/live":  # a stream; `test_stream` reads it
            continue
        for query in ({}, {"tenant": tenant}, {"webhook": ids["webhook_id"]}):
            data = (form if query else {**form, "tenant": ""}) if method == "POST" else None
            url = path.format(**ids, command="retry" if path.startswith("/events") else "pause", kind="csv")
            while (answer := await browser.http.request(method, url, params=query, data=data)).status_code == 429:
                await asyncio.sleep(0.2)  # sessions of the portal have the default rate
            case = f"{route} {query} {answer.status_code}"
            if OBJECT.search(path):
                assert answer.status_code in (403, 404), case
            repeated = (ids["webhook_id"],) if "webhook" in query else ()  # a filter is shown as it was typed
            for text in {URL, DATA, ids["event_id"], ids["webhook_id"]} - {*repeated}:
                assert OBJECT.search(path) or text not in answer.text.replace(_repeated(form), ""), case


def _repeated(form: dict[str, str]) -> str:
    """Return how a refused form is shown again."""
    return f'value="{form["webhook"]}"'


@pytest.mark.parametrize("kind", ["key", "portal"])
async def test_no_page_shows_or_changes_an_object_of_another_tenant(instance: Instance, kind: str) -> None:
    ids = await objects_of(instance)
    theirs = f"{instance.tenant}-b"
    before = await state_of(instance, ids)
    if kind == "key":
        key = await make_key(instance, theirs, rate_limit="10000/second")
        async with browsing(instance.app, key["key"]) as browser:
            await walk(browser, ids, instance.tenant)
    else:
        async with visiting(instance, tenant=theirs, capabilities=list(CAPABILITIES)) as (browser, _):
            await walk(browser, ids, instance.tenant)
    assert await state_of(instance, ids) == before
    async with browsing(instance.app) as operator:
        with pytest.raises(AssertionError, match="200"):  # the walk can fail
            await walk(operator, ids, instance.tenant)
