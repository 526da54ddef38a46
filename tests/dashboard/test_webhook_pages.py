"""The list of webhooks and the page of one: health, settings without secrets, commands, deliveries, a test event."""

import asyncio
import json
import re

import httpx
import pytest
from browsers import Browser, Form, Page, browsing
from callers import make_key

from dashboard.webhook_receiver import LANGUAGES
from hookkeeper.content.headers import MASK
from index_rows import until_indexed
from instances import KEY, Instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT

HOSTILE = '"><script>alert(1)</script>'


@pytest.mark.promise("docs/dashboard.md")
async def test_webhooks_are_listed_with_their_last_day(instance: Instance, inbox: Receiver) -> None:
    shop = await instance.webhook(inbox.url, name="Shop", events=["order.*"])
    await instance.webhook(f"{inbox.url}/crm", name="CRM", events=["customer.*"], enabled=False)
    inbox.fails(500)
    event = await instance.send()
    await instance.command(event["id"], "retry")
    async with browsing(instance.app) as browser:
        page = await browser.page(f"/webhooks?tenant={instance.tenant}")
        for text in ("Shop", "CRM", "disabled", "order.*"):
            assert text in page.text, text
        assert f"/webhooks/{shop['id']}" in page.links()
        page = await browser.page(f"/webhooks?tenant={instance.tenant}&event=order.paid&enabled=")
        assert ("Shop" in page.text, "CRM" in page.text) == (True, False)
        page = await browser.page(f"/webhooks?tenant={instance.tenant}&enabled=false")
        assert ("Shop" in page.text, "CRM" in page.text) == (False, True)


async def test_the_list_names_the_error_of_each_failing_webhook_and_finds_those_of_a_state(
    instance: Instance, inbox: Receiver
) -> None:
    inbox.answers += [type(inbox.otherwise)(503, f"over capacity {HOSTILE}")]
    await instance.webhook(inbox.url, name="Shop", events=["order.*"], retry={"schedule": [3600]})
    await instance.webhook(f"{inbox.url}/crm", name="CRM", events=["customer.*"])
    event = await instance.send()
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    async with browsing(instance.app) as browser:
        path = f"/webhooks?tenant={instance.tenant}"
        html = (await browser.get(path)).text
        assert HOSTILE not in html
        text = " ".join(Page(html).text.split())
        assert re.search(r"Shop .*degraded ?503 1 failure ?The receiver's proxy .* Unavailable: over capacity", text)
        assert re.search(r"CRM .*new ", text)
        page = await browser.page(f"{path}&status=degraded")
        assert ("Shop" in page.text, "CRM" in page.text) == (True, False)
        assert path in page.links(), "the filter can be removed"
        refused = await browser.get(f"{path}&status=ill")
        assert (refused.status_code, 'id="filter-status-error"' in refused.text) == (422, True)
        assert "CRM" not in refused.text


async def test_a_long_list_has_pages(instance: Instance) -> None:
    for n in range(25):
        await instance.webhook(f"http://127.0.0.1:9000/{n}", name=f"hook-{n:02}")
    key = await make_key(instance, instance.tenant)
    async with browsing(instance.app, key["key"]) as browser:
        first = await browser.page("/webhooks")
        (older,) = [link for link in first.links() if "cursor=" in link]
        second = await browser.page(older)
    shown = re.findall(r"hook-\d\d", first.text), re.findall(r"hook-\d\d", second.text)
    assert [len(set(names)) for names in shown] == [20, 5]
    assert len({*shown[0], *shown[1]}) == 25


async def test_a_list_of_large_webhooks_has_short_pages(idle_instance: Instance) -> None:
    calls = [{"http": {"url": "http://127.0.0.1:9000", "body": json.dumps("x" * 60_000)}}] * 4
    for n in range(6):
        await idle_instance.webhook("http://127.0.0.1:9000", name=f"large-{n}", notifications=calls)
    key = await make_key(idle_instance, idle_instance.tenant)
    async with browsing(idle_instance.app, key["key"]) as browser:
        first = await browser.page("/webhooks")
        (older,) = [link for link in first.links() if "cursor=" in link]
        second = await browser.page(older)
    shown = [set(re.findall(r"large-\d", page.text)) for page in (first, second)]
    assert [len(names) for names in shown] == [4, 2]
    assert len(shown[0] | shown[1]) == 6


async def test_a_webhook_shows_its_day_and_no_secret(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    webhook = await instance.webhook(
        f"{inbox.url}?token=url-secret",
        name="Shop",
        headers={"x-token": "header-secret"},
        retry={"schedule": [3600]},
        filter="event.data.n > 0",
    )
    event = await instance.send(data={"n": 1})
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    await until_indexed(instance, event["id"])
    async with browsing(instance.app) as browser:
        page = await browser.page(f"/webhooks/{webhook['id']}")
        for text in (
            "Shop",
            "degraded",
            "1 target fails",
            "1 attempt has failed",
            "1 delivery waits",
            "Next attempt",
            event["id"],
            "500",
            "answer 500",
            "1 failed",
        ):
            assert text in page.text, text
        assert {f"/events/{event['id']}?tenant={instance.tenant}"} < page.links()
        for tab in ("", "/settings", "/verify", "/test"):
            shown = (await browser.page(f"/webhooks/{webhook['id']}{tab}")).text
            for secret in (webhook["secret"], "header-secret", "url-secret"):
                assert secret not in shown, tab
        deliveries = f"/webhooks/{webhook['id']}/deliveries"
        page = await browser.page(f"{deliveries}?status=succeeded")
        assert event["id"] not in page.text
        filters = "status=retrying&status_code=5xx&last=1h"
        page = await browser.page(f"{deliveries}?{filters}&type=&error=")
        assert event["id"] in page.text
        moved = await browser.get(f"/webhooks/{webhook['id']}?{filters}")
        assert moved.headers["location"] == f"{deliveries}?{filters}"


@pytest.mark.parametrize("is_customer", [False, True], ids=["operator", "customer"])
async def test_each_tab_leads_to_the_others(instance: Instance, is_customer: bool) -> None:
    webhook = await instance.webhook("http://127.0.0.1:9000/", name="Shop")
    path = f"/webhooks/{webhook['id']}"
    tabs = [path, *(f"{path}/{tab}" for tab in ("deliveries", "settings", "test", "verify"))]
    async with browsing(instance.app, None if is_customer else KEY) as browser:
        if is_customer:
            link = await instance.http.post("/v1/portal-links", json={"tenant": instance.tenant, "path": tabs[2]})
            opened = httpx.URL(link.json()["url"]).path
            assert (await browser.submit(opened, opened)).headers["location"] == tabs[2]
        for tab in tabs:
            page = await browser.page(tab)
            assert "Shop" in page.text
            assert set(tabs) <= page.links()
            (current,) = [
                has["href"] for _, has in page.tags if has.get("aria-current") == "page" and path in (has["href"] or "")
            ]
            assert current == tab
            writes = [action for action in page.actions() if action.startswith(path) and action != f"{path}/preview"]
            assert bool(writes) is not is_customer


async def test_a_webhook_has_programs_for_its_receivers(instance: Instance) -> None:
    for scheme in ("v1", "v1a"):
        made = await instance.webhook("http://127.0.0.1:9000/", signature_scheme=scheme)
        async with browsing(instance.app) as browser:
            page = await browser.page(f"/webhooks/{made['id']}/verify")
        shown = page.text.partition("Verify requests")[2]
        for language in LANGUAGES:
            assert language in shown
        assert shown.count(made["public_key"] or f"whsec_{MASK}") == len(LANGUAGES)
        assert made["secret"] not in page.text


@pytest.mark.promise("docs/dashboard.md")
async def test_a_webhook_can_be_paused_resumed_and_enabled(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url)
    path = f"/webhooks/{webhook['id']}"
    async with browsing(instance.app) as browser:
        assert "Pause it while its receiver is down" in (await browser.page(f"{path}/settings")).text
        answer = await browser.submit(path, f"{path}/pause")
        page = await browser.page(answer.headers["location"])
        assert "The webhook is paused" in page.text
        assert f"{path}/resume" in page.actions()
        assert f"{path}/pause" not in page.actions()
        event = await instance.send()
        await instance.until_delivery(event["id"], "held")
        assert (await browser.submit(path, f"{path}/resume")).status_code == 303
        await instance.until_final(event["id"])
        await instance.http.patch(f"/v1{path}", json={"enabled": False})
        page = await browser.page(path)
        assert "Disabled by a person or a program" in page.text
        assert (await browser.submit(path, f"{path}/enable")).status_code == 303
        assert "Disabled by" not in (await browser.page(path)).text
    actions = [item["action"] for item in (await instance.http.get("/v1/audit")).json()["items"]]
    assert {"webhook.pause", "webhook.resume", "webhook.update"} <= set(actions)


async def test_a_test_event_is_sent_and_shown(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url, events=["order.*"])
    path = f"/webhooks/{webhook['id']}"
    async with browsing(instance.app) as browser:
        answer = await browser.submit(path, f"{path}/test", type="my.test", data='{"n": 1}')
        assert answer.status_code == 303
        url, _, mark = answer.headers["location"].partition("#")
        assert f'id="{mark}"' in (await browser.get(url)).text
        await inbox.got(1)
        assert b'"n":1' in inbox.requests[0].body.replace(b" ", b"")
        event_id = url.partition("test=")[2]
        html = await answered_page(browser, url)
        answered = Page(html.partition('id="answer"')[2]).text
        for text in ("succeeded", "200", "OK", " ms", "ok", event_id):
            assert text in answered, text
        assert "data-again" not in html, "nothing more is asked for"
        form = Form(html, f"{path}/test").fields
        assert (form["type"], form["data"]) == ("my.test", '{\r\n  "n": 1\r\n}')
        assert form["id"] != event_id
        for unknown in ("evt_nowhere", "no id!"):
            assert 'id="answer"' not in (await browser.get(f"{path}/test?test={unknown}")).text
        moved = await browser.get(f"{path}?test={event_id}")
        assert moved.headers["location"] == url


async def answered_page(browser: Browser, url: str) -> str:
    """Reload the page, as its script does, until the answer to a test event is there."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            answer = await browser.get(url)
            assert answer.status_code in (200, 503), answer.text
            if "succeeded" in answer.text.partition('id="answer"')[2]:
                return answer.text
            await asyncio.sleep(0.1)


async def test_a_key_that_reads_no_events_sees_that_a_test_was_accepted(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url)
    path = f"/webhooks/{webhook['id']}"
    key = await make_key(instance, instance.tenant, scopes=["webhooks:read", "webhooks:write"])
    async with browsing(instance.app, key["key"]) as browser:
        answer = await browser.submit(path, f"{path}/test")
        page = await browser.page(answer.headers["location"].partition("#")[0])
        assert "The test event was accepted." in page.text
        await inbox.got(1)
        page = await browser.page(answer.headers["location"].partition("#")[0])
        assert "succeeded" not in page.text


async def test_a_test_event_is_sent_once(instance: Instance, inbox: Receiver) -> None:
    """The form has the id of its event, so that a second click sends none."""
    webhook = await instance.webhook(inbox.url)
    path = f"/webhooks/{webhook['id']}"
    async with browsing(instance.app) as browser:
        html = (await browser.get(f"{path}/test")).text
        (event_id,) = re.findall(r'name="id" value="(evt_\w+)"', html)
        for _ in range(2):
            answer = await browser.submit(path, f"{path}/test", id=event_id)
            assert answer.headers["location"] == f"{path}/test?test={event_id}#answer"
    await instance.until_final(event_id)
    assert len(inbox.requests) == 1


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"data": '{"a": '}, 422, "not JSON"),
        ({"data": "[" * 100 + "]" * 100}, 422, "nested deeper"),
        ({"type": "no type!"}, 422, "type"),
        ({"data": HOSTILE}, 422, "not JSON"),
    ],
)
async def test_a_bad_test_event_is_explained_and_kept(
    instance: Instance, fields: dict[str, str], status: int, text: str
) -> None:
    webhook = await instance.webhook("http://127.0.0.1:9000/", name=HOSTILE)
    path = f"/webhooks/{webhook['id']}"
    async with browsing(instance.app) as browser:
        answer = await browser.submit(path, f"{path}/test", **fields)
    assert answer.status_code == status
    assert text in answer.text
    assert "<script>alert" not in answer.text
    page = Page(answer.text)
    assert fields.get("data", "") in page.text


@pytest.mark.promise("docs/dashboard.md")
async def test_webhooks_of_another_tenant_are_not_found(instance: Instance) -> None:
    webhook = await instance.webhook("http://127.0.0.1:9000/", name="Theirs")
    key = await make_key(instance, "someone-else")
    path = f"/webhooks/{webhook['id']}"
    async with browsing(instance.app, key["key"]) as browser:
        assert "Theirs" not in (await browser.page("/webhooks")).text
        assert (await browser.get(f"/webhooks?tenant={instance.tenant}")).status_code == 403
        assert (await browser.get(path)).status_code == 404
        for command in ("pause", "resume", "enable", "test"):
            assert (await browser.submit("/webhooks", f"{path}/{command}")).status_code == 404, command
    assert (await instance.http.get(f"/v1{path}")).json()["paused_at"] is None


async def test_a_key_that_reads_webhooks_sees_neither_buttons_nor_deliveries(instance: Instance) -> None:
    webhook = await instance.webhook("http://127.0.0.1:9000/")
    key = await make_key(instance, instance.tenant, scopes=["webhooks:read"])
    async with browsing(instance.app, key["key"]) as browser:
        page = await browser.page(f"/webhooks/{webhook['id']}")
        assert page.actions() == ["/logout"]
        assert "Deliveries" not in page.text
        assert "Success rate" not in (await browser.page("/webhooks")).text


async def test_a_preview_shows_what_would_be_sent(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url, events=["order.*"], payload={"static": {"source": HOSTILE}})
    path = f"/webhooks/{webhook['id']}"
    async with browsing(instance.app) as browser:
        answer = await browser.submit(path, f"{path}/preview", type="order.paid", data='{"order": 4711}')
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        page = Page(answer.text)
        assert "4711" in page.text.partition("What would be sent")[2]
        assert "For an event of the type order.paid" in page.text
        assert "would not be sent" not in page.text
        answer = await browser.submit(path, f"{path}/preview", type="other.type")
        assert "would not be sent" in answer.text
        assert "not JSON" in (await browser.submit(path, f"{path}/preview", data="{")).text
    assert inbox.requests == []


@pytest.mark.promise("docs/dashboard.md")
async def test_the_signing_key_is_shown_on_request_and_rotated(instance: Instance) -> None:
    webhook = await instance.webhook("http://127.0.0.1:9000/")
    path = f"/webhooks/{webhook['id']}"
    async with browsing(instance.app) as browser:
        answer = await browser.submit(path, f"{path}/secret")
        assert webhook["secret"] in answer.text
        assert answer.headers["cache-control"] == "no-store"
        answer = await browser.submit_as_shown(f"{path}/settings", f"{path}/rotate-secret")
        now = (await instance.http.get(f"/v1{path}/secret")).json()
        assert now["secret"] != webhook["secret"]
        assert now["secret"] in answer.text
        assert "The previous key signs too" in answer.text
        assert now["secret"] not in (await browser.get(f"{path}/settings")).text
    audit = (await instance.http.get("/v1/audit")).json()["items"]
    assert [item["action"] for item in audit if item["object_id"] == webhook["id"]] == [
        "webhook.show-secret",
        "webhook.rotate-secret",
        "webhook.show-secret",
        "webhook.create",
    ]


@pytest.mark.parametrize("command", ["test", "preview"])
async def test_an_error_of_a_test_event_is_shown_at_its_field(instance: Instance, command: str) -> None:
    webhook = await instance.webhook("http://127.0.0.1:9000/")
    path = f"/webhooks/{webhook['id']}"
    async with browsing(instance.app) as browser:
        for field, text in (("type", "order paid"), ("data", "{")):
            wrong = {"type": "order.paid", "data": "{}"} | {field: text}
            answer = await browser.submit(path, f"{path}/{command}", **wrong)
            assert answer.status_code == 422
            marked = [has["name"] for _, has in Page(answer.text).tags if has.get("aria-invalid") == "true"]
            assert marked == [field]
            assert Form(answer.text, f"{path}/test").fields.items() >= wrong.items()


async def test_a_test_event_that_its_schema_refuses_is_explained_at_its_data(idle_instance: Instance) -> None:
    schema = {"type": "object", "properties": {"order": {"type": "integer"}}}
    await idle_instance.http.post("/v1/event-types", json={"name": "order.paid", "schema": schema})
    webhook = await idle_instance.webhook("http://127.0.0.1:9000/")
    path = f"/webhooks/{webhook['id']}"
    async with browsing(idle_instance.app) as browser:
        answer = await browser.submit(path, f"{path}/test", type="order.paid", data='{"order": "x"}')
    assert answer.status_code == 422
    error = answer.text.partition('id="data-error">')[2].partition("</p>")[0]
    assert "order: " in error
    assert "integer" in error


async def test_a_webhook_is_deleted(instance: Instance) -> None:
    webhook = await instance.webhook("http://127.0.0.1:9000/", name="Shop")
    key = await make_key(instance, instance.tenant)
    path = f"/webhooks/{webhook['id']}"
    async with browsing(instance.app, key["key"]) as browser:
        html = (await browser.get(f"{path}/settings")).text
        assert html.index("Delete this webhook…</summary>") < html.index("Delete now"), "it takes two clicks"
        answer = await browser.submit(path, f"{path}/delete")
        assert (answer.status_code, answer.headers["location"]) == (303, "/webhooks?done=delete")
        page = await browser.page("/webhooks?done=delete")
        assert ("Shop" in page.text, "The webhook is deleted." in page.text) == (False, True)
        assert "No webhooks yet" in page.text
        refused = await browser.submit("/webhooks", f"{path}/delete")
        assert (refused.status_code, "/webhooks" in Page(refused.text).links()) == (404, True)
    entry = (await instance.http.get("/v1/audit", params={"tenant": instance.tenant})).json()["items"][0]
    assert (entry["action"], entry["object_id"], entry["key_id"]) == ("webhook.delete", webhook["id"], key["id"])


async def test_a_form_rotates_a_key_once(instance: Instance) -> None:
    """A second click or a reload would end the previous key, which receivers still have."""
    webhook = await instance.webhook("http://127.0.0.1:9000/")
    path = f"/webhooks/{webhook['id']}"
    async with browsing(instance.app) as browser:
        fields = Form((await browser.get(f"{path}/settings")).text, f"{path}/rotate-secret").fields
        answers = await asyncio.gather(
            *(browser.http.post(f"{path}/rotate-secret", data=fields) for _ in range(3)),
        )
        answers.append(await browser.http.post(f"{path}/rotate-secret", data=fields))
        stored = await instance.store.webhooks.get(webhook["id"])
        assert stored and stored.previous_secret == webhook["secret"]
        for answer in answers:
            assert (answer.status_code, stored.secret in answer.text) == (200, True)
            assert "The previous key signs too" in answer.text
        assert "The key was rotated already" in answers[-1].text
        settings = (await browser.get(f"{path}/settings")).text
        assert "It ends the previous key at once" in settings
        assert webhook["secret"] not in settings


async def test_failed_events_are_counted_and_delivered_again(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500, 500)
    webhook = await instance.webhook(inbox.url, retry={"schedule": []})
    path = f"/webhooks/{webhook['id']}"
    for _ in range(2):
        event = await instance.send()
        await instance.until_final(event["id"])
        await until_indexed(instance, event["id"])
    async with browsing(instance.app) as browser:
        page = await browser.page(path)
        assert "2 deliveries have failed" in page.text
        assert {"#recover", f"{path}/deliveries?status=failed"} <= page.links()
        answer = await browser.submit(path, f"{path}/recover", last="1h")
        assert "2 events with failed deliveries" in Page(answer.text).text
        assert len(inbox.requests) == 2, "counting delivers nothing"
        (since,) = re.findall(r'name="since" value="([^"]+)"', answer.text)
        answer = await browser.submit(path, f"{path}/recover", since=since)
        assert answer.status_code == 303, Page(answer.text).text
        await inbox.got(4)
        await until_delivered_again(instance, path)
        assert "deliveries have failed" not in (await browser.page(path)).text
        assert (await browser.submit(path, f"{path}/recover", last="9y")).status_code == 422
        assert (await browser.submit(path, f"{path}/recover", since="then")).status_code == 422


@pytest.mark.promise("docs/dashboard.md")
async def test_what_waits_is_sent_with_one_click(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(503)
    webhook = await instance.webhook(inbox.url, name="Shop", retry={"schedule": [3600]})
    path = f"/webhooks/{webhook['id']}"
    event = await instance.send()
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()["health"]["status"] != "degraded":
            await asyncio.sleep(0.05)
    await until_indexed(instance, event["id"])
    async with browsing(instance.app) as browser:
        for page in (path, f"/webhooks?tenant={instance.tenant}", f"/?tenant={instance.tenant}"):
            assert "Send them now" in (await browser.page(page)).text, page
        assert re.search(r"1 delivery waits\s*, the next attempt", (await browser.page(path)).text)
        answer = await browser.submit(path, f"{path}/recover", status="retrying")
        assert answer.status_code == 303, Page(answer.text).text
        await inbox.got(2)
        followed = await browser.page(answer.headers["location"])
        assert "What waits is sent now, oldest first." in followed.text
        assert re.search(r"What waits\s*: Shop", followed.text), followed.text
        await instance.until_final(event["id"])
        assert "Send them now" not in (await browser.page(path)).text


async def until_delivered_again(instance: Instance, path: str) -> None:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.http.get(f"/v1{path}/deliveries", params={"status": "failed"})).json()["items"]:
            await asyncio.sleep(0.05)


async def test_the_form_for_a_test_offers_the_types_that_the_webhook_gets(idle_instance: Instance) -> None:
    for name, fields in (("order.bare", {}), ("order.paid", {"examples": [{"n": 1}]}), ("user.new", {"examples": [1]})):
        await idle_instance.http.post("/v1/event-types", json={"name": name, **fields})
    webhook = await idle_instance.webhook("http://127.0.0.1:9000/", events=["order.*"])
    path = f"/webhooks/{webhook['id']}/test"
    async with browsing(idle_instance.app) as browser:
        html = (await browser.get(path)).text
    offered = [has["value"] for tag, has in Page(html).tags if tag == "option"]
    assert offered == ["order.paid", "order.bare", "hookkeeper.test"]
    assert Form(html, path).fields["type"] == "order.paid"
