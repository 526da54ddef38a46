"""The form of a webhook: register, change only what differs, explain what is refused."""

import pytest
from browsers import Page, browsing
from callers import make_key

from api.pages.durations import read_durations, write_durations
from hookkeeper.services.errors import Invalid
from instances import Instance

URL = "http://127.0.0.1:9000/hook"


def values(page: Page) -> dict[str, str]:
    return {
        attributes["name"] or "": attributes.get("value") or ""
        for tag, attributes in page.tags
        if tag == "input" and attributes.get("name") not in (None, "proof")
    }


async def test_a_webhook_is_registered(idle_instance: Instance) -> None:
    key = await make_key(idle_instance, idle_instance.tenant)
    async with browsing(idle_instance.app, key["key"]) as browser:
        answer = await browser.submit(
            "/webhooks/new",
            "/webhooks/new",
            url=URL,
            name="Shop",
            events="order.*, invoice.paid",
            retry="5s, 5m, 1h",
            timeout="10",
            rate_limit="2.5",
            filter="event.data.n > 0",
            ordered="true",
        )
        assert answer.status_code == 303, Page(answer.text).text
        page = await browser.page(answer.headers["location"])
        assert "The webhook is registered" in page.text
    (webhook,) = (await idle_instance.http.get(f"/v1/webhooks?tenant={idle_instance.tenant}")).json()["items"]
    assert (
        webhook.items()
        >= {
            "url": URL,
            "events": ["order.*", "invoice.paid"],
            "retry": {"schedule": [5, 300, 3600]},
            "rate_limit": 2.5,
            "timeout": 10,
            "ordered": True,
            "filter": "event.data.n > 0",
        }.items()
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"url": ""}, "needs a url"),
        ({"url": "ftp://x.test/"}, "url"),
        ({"events": "no type!"}, "events"),
        ({"retry": "soon"}, "must be durations"),
        ({"timeout": "long"}, "must be a number"),
        ({"timeout": "nan"}, "timeout"),
        ({"rate_limit": "-1"}, "rate_limit"),
        ({"filter": "event.data.("}, "filter"),
    ],
)
async def test_what_is_refused_is_explained_and_kept(
    idle_instance: Instance, fields: dict[str, str], text: str
) -> None:
    async with browsing(idle_instance.app) as browser:
        given = {"url": URL, "name": '"><script>alert(1)</script>', "events": "*", **fields}
        answer = await browser.submit("/webhooks/new", "/webhooks/new", **given)
    assert answer.status_code == 422
    assert text in answer.text
    assert "<script>alert" not in answer.text
    assert values(Page(answer.text))["name"] == given["name"]


async def test_a_tenants_key_registers_for_its_tenant_only(idle_instance: Instance) -> None:
    key = await make_key(idle_instance, idle_instance.tenant)
    async with browsing(idle_instance.app, key["key"]) as browser:
        answer = await browser.submit("/webhooks/new", "/webhooks/new", url=URL, tenant="someone-else")
        assert answer.status_code == 403
        other = await idle_instance.http.post("/v1/webhooks", json={"url": URL, "tenant": "someone-else"})
        path = f"/webhooks/{other.json()['id']}/edit"
        assert (await browser.get(path)).status_code == 404
        assert (await browser.submit("/webhooks/new", path, name="Mine")).status_code == 404


async def test_a_change_leaves_everything_else(idle_instance: Instance) -> None:
    description = "Two\nlines"
    webhook = await idle_instance.webhook(
        URL, name="Shop", description=description, headers={"x-token": "secret"}, retry={"schedule": []}, events=["a.b"]
    )
    path = f"/webhooks/{webhook['id']}/edit"
    async with browsing(idle_instance.app) as browser:
        page = await browser.page(path)
        form = values(page) | {"description": description.replace("\n", "\r\n"), "filter": ""}
        form.pop("ordered")
        assert form["retry"] == "never"
        answer = await browser.submit(path, path, **form | {"name": "Orders"})
        assert answer.status_code == 303, Page(answer.text).text
    (entry,) = [
        item
        for item in (await idle_instance.http.get("/v1/audit")).json()["items"]
        if item["action"] == "webhook.update"
    ]
    assert entry["detail"]["fields"] == ["name"]
    changed = (await idle_instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()
    same = {name: value for name, value in changed.items() if name not in ("name", "updated_at")}
    assert same.items() <= webhook.items()
    assert changed["name"] == "Orders"


async def test_an_exponential_policy_stays(idle_instance: Instance) -> None:
    webhook = await idle_instance.webhook(URL, retry={"initial": 2, "attempts": 5})
    path = f"/webhooks/{webhook['id']}/edit"
    async with browsing(idle_instance.app) as browser:
        page = await browser.page(path)
        assert "Its retries are exponential" in page.text
        form = values(page)
        form.pop("ordered")
        assert (await browser.submit(path, path, **form | {"timeout": "20"})).status_code == 303
    changed = (await idle_instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()
    assert (changed["retry"], changed["timeout"]) == ({"initial": 2, "attempts": 5}, 20)


@pytest.mark.parametrize(
    ("text", "seconds", "written"),
    [
        ("5s, 5m, 2h, 1d", [5, 300, 7200, 86400], "5s, 5m, 2h, 1d"),
        ("90 1.5m", [90, 90], "90s, 90s"),
        ("never", [], "never"),
        ("0", [0], "0s"),
    ],
)
def test_durations(text: str, seconds: list[float], written: str) -> None:
    assert read_durations(text, "retry") == seconds
    assert write_durations(seconds) == written


@pytest.mark.parametrize("text", ["5 m", "-5", "1e9", "5x", "٥", "5s;5m", "1 " * 101])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(Invalid):
        read_durations(text, "retry")
