"""The list of events and the page of one: what they show, what they escape, and their commands."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from browsers import Form, Page, browsing, needing_attention
from callers import make_key
from test_stats_api import report

from dashboard.event import offered
from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.statuses import DeliveryStatus
from hookkeeper.times import utc_now
from index_rows import until_indexed
from instances import KEY, Instance
from receivers import Receiver
from reports import changed
from timeouts import WAIT_TIMEOUT

HOSTILE = "</pre><script>alert('x')</script><img src=x onerror=alert(1)>"


@pytest.mark.promise("docs/dashboard.md")
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


async def test_blanks_around_the_text_of_a_filter_are_ignored(instance: Instance) -> None:
    event = await instance.send()
    await until_indexed(instance, event["id"])
    async with browsing(instance.app) as browser:
        given = {
            "tenant": f" {instance.tenant}",
            "id_prefix": f"{event['id']} ",
            "type": " order.paid ",
            "webhook": " ",
        }
        page = Page((await browser.http.get("/events", params=given)).text)
        assert event["id"] in page.text


async def test_an_id_from_a_log_is_found_without_its_tenant(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant)
    async with browsing(instance.app) as browser:
        answer = await browser.get("/events/evt_1")
        assert (answer.status_code, answer.headers["location"]) == (303, "/events?id_prefix=evt_1")
        assert (await browser.get("/events/evt_1?tenant=acme")).status_code == 404
    async with browsing(instance.app, key["key"]) as browser:
        assert (await browser.get("/events/evt_1")).status_code == 404


async def test_events_of_a_time_are_found(instance: Instance) -> None:
    event = await instance.send()
    await until_indexed(instance, event["id"])
    given = {"tenant": instance.tenant, "since": "2026-01-02T03:04Z", "until": "2999-01-02T03:04Z"}
    async with browsing(instance.app) as browser:
        answer = await browser.http.get("/events", params=given)
        assert event["id"] in answer.text
        shown = fields(answer.text)
        assert (shown["since"], shown["until"], shown["zone"]) == ("2026-01-02T03:04", "2999-01-02T03:04", "UTC")
        assert shown["tenant"] == instance.tenant, "the next search has it too"
        answer = await browser.http.get("/events", params=given | {"until": "2026-01-02T03:05Z"})
        assert event["id"] not in answer.text


@pytest.mark.parametrize(("until", "is_found"), [("09:00", False), ("09:02", True)])
async def test_a_time_of_the_date_picker_is_of_the_zone_that_the_form_names(
    instance: Instance, until: str, is_found: bool
) -> None:
    accepted = changed(report(instance.tenant, "evt_1"), accepted_at=datetime(2026, 1, 2, 0, 1, tzinfo=UTC))
    await instance.store.rows.write([accepted])
    given = {"tenant": instance.tenant, "until": f"2026-01-02T{until}", "zone": "Asia/Tokyo"}
    async with browsing(instance.app) as browser:
        answer = await browser.http.get("/events", params=given)
    assert ("evt_1" in answer.text) is is_found
    shown = fields(answer.text)
    assert (shown["until"], shown["zone"]) == (given["until"], "Asia/Tokyo")
    assert "Until (Asia/Tokyo)" in Page(answer.text).text
    (chip,) = (link for link in Page(answer.text).links() if link == f"/events?tenant={instance.tenant}")
    assert chip


def fields(html: str, action: str = "/events") -> dict[str, str]:
    """Return the values of the filter."""
    return Form(html, action).fields


async def test_a_long_list_has_pages(instance: Instance) -> None:
    ids = [(await instance.send(id=f"evt_{n:03}"))["id"] for n in range(60)]
    await until_indexed(instance, ids[-1])
    seen, path = "", f"/events?tenant={instance.tenant}&type=order.paid"
    async with browsing(instance.app) as browser:
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


async def test_a_filter_that_cannot_be_used_is_explained_at_its_field_and_nothing_typed_is_lost(
    instance: Instance,
) -> None:
    event = await instance.send()
    await until_indexed(instance, event["id"])
    webhook = await instance.webhook("http://127.0.0.1:9000/")
    given = {"status_code": "abc", "type": "order.paid", "since": "soon", "min_attempts": "1"}
    async with browsing(instance.app) as browser:
        for path in ("/events", f"/webhooks/{webhook['id']}/deliveries"):
            answer = await browser.http.get(path, params=given | {"status": "unknown"})
            assert answer.status_code == 422
            for field in ("status_code", "since", "status"):
                shown = answer.text.partition(f'id="filter-{field}-error">')[2].partition("</p>")[0]
                assert "must" in shown or "should" in shown, field
            kept = fields(answer.text, path)
            assert {name: kept[name] for name in (*given, "status")} == given | {"status": "unknown"}
            assert event["id"] not in answer.text, "it is not clear what is searched"
            assert "data-live" not in answer.text.partition("<main")[2].partition("data-live-state")[0]
        answer = await browser.get("/events?status_code=abc&cursor=AAAA")
        assert (answer.status_code, "invalid cursor" in answer.text) == (400, False)


async def test_a_filter_suggests_what_there_is(idle_instance: Instance) -> None:
    tenant = idle_instance.tenant
    webhook = await idle_instance.webhook("http://127.0.0.1:9000/", name="Shop of Ann")
    await idle_instance.webhook("http://127.0.0.1:9000/crm")
    assert (await idle_instance.http.post("/v1/event-types", json={"name": "user.new"})).status_code == 201
    await idle_instance.store.rows.write(
        [
            report(tenant, "evt_1", "http_503", status="failed"),
            report(tenant, "evt_2", "timeout", status="retrying"),
            changed(report("someone-else", "evt_3", "dns", status="failed"), type="their.type"),
        ]
    )
    theirs = await make_key(idle_instance, tenant)
    reader = await make_key(idle_instance, tenant, scopes=["events:read"])
    async with browsing(idle_instance.app, theirs["key"]) as browser:
        html = (await browser.get("/events")).text
        assert suggested(html, "type") == ["order.paid", "user.new"]
        assert suggested(html, "error") == ["http_503", "timeout"]
        assert "tenant" not in fields(html)
        assert webhook["id"] in suggested(html, "webhook")
        assert "Shop of Ann</option>" in html
        assert "http://127.0.0.1:9000/crm</option>" in html, "it has no name"
        named = await browser.http.get("/events", params={"webhook": "shop of ann", "type": "order.paid"})
        by_id = await browser.http.get("/events", params={"webhook": webhook["id"], "type": "order.paid"})
        assert named.status_code == 200
        assert re.findall('data-row="([^"]+)"', named.text) == re.findall('data-row="([^"]+)"', by_id.text)
        refused = await browser.http.get("/events", params={"webhook": "shop of annn"})
        assert (refused.status_code, "did you mean Shop of Ann?" in refused.text) == (422, True)
        of_webhook = (await browser.get(f"/webhooks/{webhook['id']}/deliveries")).text
        assert suggested(of_webhook, "error") == []
    async with browsing(idle_instance.app) as browser:
        html = (await browser.get("/events")).text
        assert tenant in suggested(html, "tenant")
        assert "dns" in suggested(html, "error")
    async with browsing(idle_instance.app, reader["key"]) as browser:
        assert "Shop of Ann" not in (await browser.get("/events")).text


def suggested(html: str, field: str) -> list[str]:
    options = html.partition(f'<datalist id="known-{field}">')[2].partition("</datalist>")[0]
    return re.findall(r'value="([^"]+)"', options)


async def test_each_part_of_a_filter_can_be_removed(instance: Instance) -> None:
    webhook = await instance.webhook("http://127.0.0.1:9000/", name="Shop")
    path = f"/events?type=order.paid&type=a.b&webhook={webhook['id']}&min_attempts=2&last=1h"
    async with browsing(instance.app) as browser:
        html = (await browser.get(path)).text
    assert re.findall(r'aria-label="Remove ([^"]+)"', html) == [
        *("type: order.paid", "type: a.b", "webhook: Shop", "attempts from: 2", "last: hour")
    ]
    assert f"/events?type=a.b&webhook={webhook['id']}&min_attempts=2&last=1h" in Page(html).links()
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', html)
    assert ("type", "a.b") in hidden, "the next search has it too"
    assert re.search(r'name="min_attempts"\s+value="2"', html)


@pytest.mark.promise("docs/dashboard.md")
async def test_each_event_names_its_cause(instance: Instance) -> None:
    """Setup: an event that retries, one of three webhooks of which one has failed, one that is held."""
    tenant = instance.tenant
    shop = (await instance.webhook("http://127.0.0.1:9000/", name="Shop"))["id"]
    crm = (await instance.webhook("http://127.0.0.1:9000/", name="CRM"))["id"]
    later = utc_now() + timedelta(minutes=5)
    refused = Attempt(number=1, started_at=utc_now(), duration_ms=1, status_code=503, error="http_503")
    late = refused.model_copy(update={"number": 2, "status_code": None, "error": "timeout"})
    retrying = Delivery(id=shop, webhook_id=shop, status="retrying", attempts=(refused, late), next_attempt_at=later)
    failed = Delivery(id=crm, webhook_id=crm, status="failed", attempts=(refused,))
    held = Delivery(id=crm, webhook_id=crm, status="held", reason="webhook_paused")
    other = Delivery(id="wh_other", webhook_id="wh_other")
    for event_id, deliveries in (("evt_1", (retrying,)), ("evt_2", (retrying, failed, other)), ("evt_3", (held,))):
        row = needing_attention(report(tenant, event_id))
        await instance.store.rows.write([row._replace(deliveries=deliveries)])
    key = await make_key(instance, tenant)
    async with browsing(instance.app, key["key"]) as browser:
        html = (await browser.get("/events")).text
        shown = {
            re.search(r"evt_\d", row)[0]: " ".join(Page(f"<tr{row}").text.split())  # type: ignore[index]
            for row in html.split("<tr data-row")[1:]
        }
        assert re.search(r"retrying Shop ?timeout · 2 attempts · next at \d", shown["evt_1"])
        assert re.search(r"failed CRM \+2 more ?503 · 1 attempt ", shown["evt_2"])
        assert re.search(r"held CRM ?Its webhook is paused\.", shown["evt_3"])
        assert "delivering" not in "".join(shown.values())
        views = {name: f"/events?{query}" for name, query in VIEWS.items()}
        assert set(views.values()) <= Page(html).links()
        text = " ".join(Page(html).text.split())
        assert "All Needs attention 1 Held 1" in text
        for name, expected in (("Needs attention", {"evt_2"}), ("Held", {"evt_3"})):
            page = (await browser.get(views[name])).text
            assert set(re.findall(r'data-row="[^"]+/(evt_\d)"', page)) == expected
            assert re.search(rf'aria-current="page">{name}', page)


VIEWS = {"Needs attention": "needs_attention=true", "Held": "delivery_status=held"}


@pytest.mark.promise("docs/dashboard.md")
async def test_an_event_shows_its_attempts_and_what_comes_next(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(503)
    await instance.webhook(inbox.url, name="Shop", retry={"schedule": [3600]})
    event = await instance.send(data={"order": 4711})
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    path = f"/events/{event['id']}?tenant={instance.tenant}"
    async with browsing(instance.app) as browser:
        html = (await browser.get(path)).text
        page = Page(html)
        for text in ("order.paid", "Shop", "answer 503", '"order": 4711'):
            assert text in page.text, text
        assert "retrying" in page.text.partition("Deliveries")[0], "the head does not say `delivering`"
        cause = r"The latest attempt has failed: 503 ?\. Next attempt at \d"
        assert re.search(cause, " ".join(page.text.split()))
        assert any(link.startswith("http://temporal-ui.test/") for link in page.links())
        actions = {action.partition("?")[0].rpartition("/")[2] for action in page.actions()}
        assert actions == {"logout", "retry", "cancel", "hold", "acknowledge"}
        asked = "".join(part.partition("</details>")[0] for part in html.split('<details class="ask"')[1:])
        assert {action.rpartition("/")[2].partition("?")[0] for action in Page(asked).actions()} == {"cancel"}
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


@pytest.mark.promise("docs/dashboard.md")
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
        assert "Cannot hold: the event has no webhook." in answer.text
        assert event["id"] in answer.text
        query = f"?tenant={instance.tenant}"
        answer = await browser.submit(path + query, f"{path}/retry{query}", delivery="<b>wh_none</b>")
        assert answer.status_code == 404
        assert "<b>wh_none" not in answer.text


@pytest.mark.promise("docs/dashboard.md")
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


async def test_only_operators_see_links_to_temporal(instance: Instance) -> None:
    """A customer cannot open the web UI of Temporal, which shows all tenants."""
    event = await instance.send()
    schedule = {"cron": ["0 8 * * *"], "event": {"type": "report.due"}, "tenant": instance.tenant}
    made = (await instance.http.post("/v1/schedules", json=schedule)).json()
    key = await make_key(instance, instance.tenant)
    path = f"/events/{event['id']}?tenant={instance.tenant}"
    for used, is_operator in ((key["key"], False), (KEY, True)):
        async with browsing(instance.app, used) as browser:
            assert ("temporal-ui.test" in (await browser.get(path)).text) is is_operator
            async with asyncio.timeout(WAIT_TIMEOUT):
                while made["id"] not in (text := (await browser.get(f"/schedules?tenant={instance.tenant}")).text):
                    await asyncio.sleep(0.1)
            assert ("temporal-ui.test" in text) is is_operator
    await instance.http.delete(f"/v1/schedules/{made['id']}?tenant={instance.tenant}")


@pytest.mark.promise("docs/dashboard.md")
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
