"""The list of events and the page of one: what they show, what they escape, and their commands."""

import asyncio
import json

import pytest
from browsers import Page, browsing
from callers import make_key

from dashboard.event import offered
from hookkeeper.messages.event import DeliveryStatus
from index_rows import until_indexed
from instances import KEY, Instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT

HOSTILE = "</pre><script>alert('x')</script><img src=x onerror=alert(1)>"


async def test_events_are_listed_newest_first_with_filters(instance: Instance) -> None:
    first, second = await instance.send("order.paid"), await instance.send("order.sent")
    for event in (first, second):
        await instance.until_final(event["id"])
        await until_indexed(instance, event["id"])
    async with browsing(instance.app) as browser:
        page = await browser.page(f"/events?tenant={instance.tenant}")
        assert page.text.index(second["id"]) < page.text.index(first["id"])
        page = await browser.page(f"/events?tenant={instance.tenant}&type=order.paid&status=&webhook=&last=1h")
        assert first["id"] in page.text
        assert second["id"] not in page.text
        assert "No event matches" in (await browser.page(f"/events?tenant={instance.tenant}&status=failed")).text


async def test_blanks_around_the_text_of_a_filter_are_ignored(idle_instance: Instance) -> None:
    event = await idle_instance.send()
    await until_indexed(idle_instance, event["id"])
    async with browsing(idle_instance.app) as browser:
        given = {
            "tenant": f" {idle_instance.tenant}",
            "id_prefix": f"{event['id']} ",
            "type": " order.paid ",
            "webhook": " ",
        }
        page = Page((await browser.http.get("/events", params=given)).text)
        assert event["id"] in page.text


async def test_an_id_from_a_log_is_found_without_its_tenant(idle_instance: Instance) -> None:
    key = await make_key(idle_instance, idle_instance.tenant)
    async with browsing(idle_instance.app) as browser:
        answer = await browser.get("/events/evt_1")
        assert (answer.status_code, answer.headers["location"]) == (303, "/events?id_prefix=evt_1")
        assert (await browser.get("/events/evt_1?tenant=acme")).status_code == 404
    async with browsing(idle_instance.app, key["key"]) as browser:
        assert (await browser.get("/events/evt_1")).status_code == 404


async def test_events_of_a_time_are_found(idle_instance: Instance) -> None:
    event = await idle_instance.send()
    await until_indexed(idle_instance, event["id"])
    given = {"tenant": idle_instance.tenant, "since": "2026-01-02T03:04Z", "until": "2999-01-02T03:04Z"}
    async with browsing(idle_instance.app) as browser:
        answer = await browser.http.get("/events", params=given)
        assert event["id"] in answer.text
        shown = {
            has["name"]: has.get("value") for tag, has in Page(answer.text).tags if tag == "input" and "name" in has
        }
        assert {name: shown[name] for name in given} == given, "the next search has them too"
        answer = await browser.http.get("/events", params=given | {"until": "2026-01-02T03:05Z"})
        assert event["id"] not in answer.text
        assert "error" in shown


async def test_a_long_list_has_pages(idle_instance: Instance) -> None:
    ids = [(await idle_instance.send(id=f"evt_{n:03}"))["id"] for n in range(60)]
    await until_indexed(idle_instance, ids[-1])
    seen, path = "", f"/events?tenant={idle_instance.tenant}&type=order.paid"
    async with browsing(idle_instance.app) as browser:
        for _ in range(3):
            page = await browser.page(path)
            seen += page.text
            older = [link for link in page.links() if "cursor=" in link]
            if not older:
                break
            assert "type=order.paid" in older[0]
            path = older[0]
        forged = await browser.get("/events?cursor=AAAA")
        assert (forged.status_code, "cursor" in forged.text) == (400, True)
    assert [event_id for event_id in ids if event_id not in seen] == []


async def test_a_filter_that_cannot_be_used_is_explained(idle_instance: Instance) -> None:
    async with browsing(idle_instance.app) as browser:
        answer = await browser.get("/events?status_code=abc&status=unknown")
    assert answer.status_code == 422
    assert "status_code" in answer.text
    assert answer.headers["content-type"].startswith("text/html")


async def test_an_event_shows_its_attempts_and_what_comes_next(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(503)
    await instance.webhook(inbox.url, name="Shop", retry={"schedule": [3600]})
    event = await instance.send(data={"order": 4711})
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    path = f"/events/{event['id']}?tenant={instance.tenant}"
    async with browsing(instance.app) as browser:
        page = await browser.page(path)
        for text in ("order.paid", "retrying", "Shop", "503", "answer 503", "Next attempt", '"order": 4711'):
            assert text in page.text, text
        assert any(link.startswith("http://temporal-ui.test/") for link in page.links())
        actions = {action.partition("?")[0].rpartition("/")[2] for action in page.actions()}
        assert actions == {"logout", "retry", "cancel", "hold", "acknowledge"}
        (delivery,) = (await instance.event(event["id"]))["deliveries"]
        action = f"/events/{event['id']}/retry?tenant={instance.tenant}"
        answer = await browser.submit(path, action, delivery=delivery["id"])
        assert (answer.status_code, "sent=retry" in answer.headers["location"]) == (303, True)
        await instance.until_final(event["id"])
        page = await browser.page(answer.headers["location"])
        assert "An attempt was requested." in page.text
        assert "Attempt 2" in page.text
    assert [entry["action"] for entry in await audit(instance)] == ["event.retry"]


async def audit(instance: Instance) -> list[dict[str, str]]:
    items = (await instance.http.get("/v1/audit", params={"tenant": instance.tenant})).json()["items"]
    return [item for item in items if item["action"].startswith("event.")]


@pytest.mark.parametrize(
    ("command", "status", "then"),
    [("hold", "held", "release"), ("cancel", "cancelled", "redeliver")],
)
async def test_a_button_sends_its_command_to_all_deliveries(
    instance: Instance, inbox: Receiver, command: str, status: str, then: str
) -> None:
    inbox.fails(500)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    event = await instance.send()
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    path = f"/events/{event['id']}"
    query = f"?tenant={instance.tenant}"
    async with browsing(instance.app) as browser:
        assert (await browser.submit(path + query, f"{path}/{command}{query}")).status_code == 303
        await instance.until_delivery(event["id"], status)
        assert (await browser.submit(path + query, f"{path}/{then}{query}")).status_code == 303
        if then == "redeliver":
            await instance.until_final(event["id"])
            assert len(inbox.requests) == 2


async def test_a_command_that_makes_no_sense_is_explained_on_the_page(instance: Instance) -> None:
    event = await instance.send()
    await instance.until_final(event["id"])
    path = f"/events/{event['id']}"
    async with browsing(instance.app) as browser:
        answer = await browser.submit(f"{path}?tenant={instance.tenant}", f"{path}/hold?tenant={instance.tenant}")
        assert answer.status_code == 409
        assert "Cannot hold: the event has already succeeded." in answer.text
        assert event["id"] in answer.text
        query = f"?tenant={instance.tenant}"
        answer = await browser.submit(path + query, f"{path}/retry{query}", delivery="<b>wh_none</b>")
        assert answer.status_code == 404
        assert "<b>wh_none" not in answer.text


async def test_texts_of_tenants_and_receivers_are_escaped(instance: Instance, inbox: Receiver) -> None:
    inbox.answers += [type(inbox.otherwise)(500, HOSTILE)]
    await instance.webhook(inbox.url, name=HOSTILE, retry={"schedule": [3600]})
    event = await instance.send(data={HOSTILE: [HOSTILE]})
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    async with browsing(instance.app) as browser:
        answer = await browser.get(f"/events/{event['id']}?tenant={instance.tenant}")
    page = Page(answer.text)
    assert "<img src=x" not in answer.text
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [
        attributes for tag, attributes in page.tags if tag == "script" and attributes.get("src")
    ]
    assert page.text.count("alert('x')") == 4, "name, answer, and twice in the data"
    assert json.dumps(HOSTILE) in page.text


async def test_only_operators_see_links_to_temporal(idle_instance: Instance) -> None:
    """A customer cannot open the web UI of Temporal, which shows all tenants."""
    event = await idle_instance.send()
    schedule = {"cron": ["0 8 * * *"], "event": {"type": "report.due"}, "tenant": idle_instance.tenant}
    made = (await idle_instance.http.post("/v1/schedules", json=schedule)).json()
    key = await make_key(idle_instance, idle_instance.tenant)
    path = f"/events/{event['id']}?tenant={idle_instance.tenant}"
    for used, is_operator in ((key["key"], False), (KEY, True)):
        async with browsing(idle_instance.app, used) as browser:
            assert ("temporal-ui.test" in (await browser.get(path)).text) is is_operator
            async with asyncio.timeout(WAIT_TIMEOUT):
                while made["id"] not in (text := (await browser.get(f"/schedules?tenant={idle_instance.tenant}")).text):
                    await asyncio.sleep(0.1)
            assert ("temporal-ui.test" in text) is is_operator
    await idle_instance.http.delete(f"/v1/schedules/{made['id']}?tenant={idle_instance.tenant}")


async def test_events_of_another_tenant_are_not_found(instance: Instance) -> None:
    event = await instance.send()
    await instance.until_final(event["id"])
    await until_indexed(instance, event["id"])
    theirs, mine = await make_key(instance, "someone-else"), await make_key(instance, instance.tenant)
    path = f"/events/{event['id']}"
    async with browsing(instance.app, theirs["key"]) as browser:
        assert event["id"] not in (await browser.page("/events")).text
        assert (await browser.get(path)).status_code == 404
        assert (await browser.get(f"{path}?tenant={instance.tenant}")).status_code == 404
        assert (await browser.get(f"/events?tenant={instance.tenant}")).status_code == 403
        for command in ("retry", "cancel", "hold", "release", "redeliver"):
            for query in ("", f"?tenant={instance.tenant}"):
                answer = await browser.submit("/events", f"{path}/{command}{query}")
                assert answer.status_code == 404, command
    async with browsing(instance.app, mine["key"]) as browser:
        assert event["id"] in (await browser.page("/events")).text
        assert "nothing to deliver" in (await browser.page(path)).text


async def test_a_key_that_reads_sees_no_buttons(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    await instance.webhook(inbox.url, name="Secret name", retry={"schedule": [3600]})
    event = await instance.send()
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    key = await make_key(instance, instance.tenant, scopes=["events:read"])
    async with browsing(instance.app, key["key"]) as browser:
        page = await browser.page(f"/events/{event['id']}")
    assert page.actions() == ["/logout"]
    assert "Secret name" not in page.text, "names of webhooks need webhooks:read"


async def test_many_deliveries_have_pages_with_the_failed_ones_first(instance: Instance, inbox: Receiver) -> None:
    for n in range(25):
        await instance.webhook(f"{inbox.url}/{n}", retry={"schedule": []})
    inbox.fails(*[200] * 24, 500)
    event = await instance.send()
    await instance.until_final(event["id"])
    path = f"/events/{event['id']}?tenant={instance.tenant}"
    async with browsing(instance.app) as browser:
        first, second = await browser.page(path), await browser.page(f"{path}&page=2")
        assert "There are no more deliveries" in (await browser.page(f"{path}&page=3")).text
    shown = [
        [attributes["class"] or "" for tag, attributes in page.tags if tag == "article"] for page in (first, second)
    ]
    assert [len(articles) for articles in shown] == [20, 5]
    assert "failed" in shown[0][0]
    assert "24 succeeded" in first.text


@pytest.mark.parametrize(
    ("status", "commands"),
    [
        ("pending", ["retry", "hold", "cancel"]),
        ("retrying", ["retry", "hold", "cancel"]),
        ("held", ["retry", "release", "cancel"]),
        ("sent", ["redeliver", "cancel"]),
        ("succeeded", ["redeliver"]),
        ("failed", ["retry", "redeliver"]),
        ("cancelled", ["retry", "redeliver"]),
    ],
)
def test_a_delivery_has_the_buttons_of_its_status(status: DeliveryStatus, commands: list[str]) -> None:
    assert offered([status], is_scheduled=False) == commands


def test_an_event_has_the_buttons_of_its_deliveries() -> None:
    assert offered(["held", "succeeded"], is_scheduled=False, for_all=True) == ["release", "redeliver", "cancel"]
    assert offered(["pending"], is_scheduled=True, for_all=True) == ["release", "hold", "cancel"]
    assert offered([], is_scheduled=False, for_all=True) == []
