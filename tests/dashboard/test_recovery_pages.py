"""The page of recoveries: the count first, then the recovery and its progress; pause, resume, cancel."""

import asyncio
import re

import pytest
from browsers import Browser, Page, browsing
from callers import make_key
from test_portal_links import visiting
from test_stats_api import report

from index_rows import until_indexed
from instances import Instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT

START = "/recoveries/start"


async def fail_some(instance: Instance, inbox: Receiver, count: int) -> str:
    """Let this many events fail; return the webhook."""
    inbox.fails(*[500] * count)
    webhook = await instance.webhook(inbox.url, retry={"schedule": []})
    for _ in range(count):
        event = await instance.send()
        await instance.until_final(event["id"])
        await until_indexed(instance, event["id"])
    return str(webhook["id"])


async def until_shown(browser: Browser, text: str) -> Page:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while text not in (page := await browser.page("/recoveries")).text:
            await asyncio.sleep(0.1)
    return page


@pytest.mark.promise("docs/pause-and-recovery.md")
async def test_failed_events_of_a_tenant_are_counted_and_delivered_again(instance: Instance, inbox: Receiver) -> None:
    webhook = await fail_some(instance, inbox, 2)
    key = await make_key(instance, instance.tenant)
    async with browsing(instance.app, key["key"]) as browser:
        for named in ("", webhook):
            answer = await browser.submit("/recoveries", START, last="1h", webhook=named)
            assert answer.status_code == 200, answer.text
            assert "2 events with failed deliveries" in Page(answer.text).text
        assert len(inbox.requests) == 2, "counting delivers nothing"
        (since,) = re.findall(r'name="since" value="([^"]+)"', answer.text)
        answer = await browser.submit("/recoveries", START, since=since)
        assert (answer.status_code, answer.headers["location"]) == (303, "/recoveries?done=start")
        await inbox.got(4)
        page = await until_shown(browser, "finished")
        assert "2 of 2 delivered again" in page.text
        (recovery,) = (await instance.http.get("/v1/recoveries", params={"tenant": instance.tenant})).json()["items"]
        for command in ("pause", "resume", "cancel"):
            answer = await browser.submit("/recoveries", f"/recoveries/{recovery['id']}/{command}")
            assert (answer.status_code, "the recovery has ended" in answer.text) == (409, True)
    entries = (await instance.http.get("/v1/audit", params={"tenant": instance.tenant})).json()["items"]
    assert ("tenant.recover", key["id"]) in [(entry["action"], entry["key_id"]) for entry in entries]


async def test_a_count_is_where_the_reader_looks(instance: Instance) -> None:
    """A long page opens at the form that has the count; the answer to the second step opens at its top."""
    webhook = await instance.webhook("http://127.0.0.1:9000/")
    failed = report(instance.tenant, "evt_1", "http_500", status="failed")
    (delivery,) = failed.deliveries
    of_webhook = delivery.model_copy(update={"id": webhook["id"], "webhook_id": webhook["id"]})
    await instance.store.rows.write([failed._replace(deliveries=(of_webhook,))])
    key = await make_key(instance, instance.tenant)
    async with browsing(instance.app, key["key"]) as browser:
        for path, action, place in (
            (f"/webhooks/{webhook['id']}", f"/webhooks/{webhook['id']}/recover", "recover"),
            ("/recoveries", START, "start"),
        ):
            asking = (await browser.get(path)).text
            assert f'action="{action}#{place}"' in asking
            counted = (await browser.submit(path, action, last="1h", webhook=webhook["id"])).text
            assert f'id="{place}"' in counted
            assert f'action="{action}"' in counted


async def test_a_webhook_is_recovered_for_its_own_tenant_only(instance: Instance) -> None:
    webhook = await instance.webhook("http://127.0.0.1:9000/")
    mine = f"?tenant={instance.tenant}"  # else the page also lists what other tests have started
    async with browsing(instance.app) as browser:
        for tenant, status in ((instance.tenant, 200), ("", 200), ("someone-else", 404)):
            form = {"last": "1h", "tenant": tenant, "webhook": webhook["id"]}
            answer = await browser.submit(f"/recoveries{mine}", f"{START}{mine}", **form)
            assert (answer.status_code, "There is no such webhook" in answer.text) == (status, status == 404)


async def test_a_recovery_is_paused_resumed_and_cancelled(instance: Instance, inbox: Receiver) -> None:
    await fail_some(instance, inbox, 2)
    body = {"tenant": instance.tenant, "since": "2026-01-01T00:00:00Z", "rate": 0.1}
    recovery = (await instance.http.post("/v1/recoveries", json=body)).json()["id"]
    key = await make_key(instance, instance.tenant)
    theirs = await make_key(instance, "someone-else")
    async with browsing(instance.app, theirs["key"]) as other:
        assert recovery not in (await other.page("/recoveries")).text
        assert (await other.submit("/recoveries", f"/recoveries/{recovery}/cancel")).status_code == 404
        assert (await other.get(f"/recoveries?tenant={instance.tenant}")).status_code == 403
        for form in ({"tenant": instance.tenant}, {"webhook": "wh_nowhere"}):
            answer = await other.submit("/recoveries", START, last="1h", **form)
            assert answer.status_code in (403, 404)
    async with browsing(instance.app, key["key"]) as browser:
        await until_shown(browser, recovery)
        html = (await browser.get("/recoveries")).text
        assert f"/recoveries/{recovery}/cancel" in html.partition('<details class="ask"')[2].partition("</details>")[0]
        for command, shown in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
            answer = await browser.submit("/recoveries", f"/recoveries/{recovery}/{command}")
            assert answer.headers["location"] == f"/recoveries?done={command}"
            await until_shown(browser, shown)


async def test_a_portal_without_the_page_has_only_what_customers_began(instance: Instance, inbox: Receiver) -> None:
    """Setup: the operator has begun a recovery, and paused it.
    Proves: a session without the page `recoveries` neither sees nor steers it, and starts none for the whole tenant;
    what a session began on another page has a page for all sessions.
    """
    webhook = await fail_some(instance, inbox, 2)
    body = {"tenant": instance.tenant, "since": "2026-01-01T00:00:00Z", "rate": 0.1}
    of_operator = (await instance.http.post("/v1/recoveries", json=body)).json()["id"]
    assert (await instance.http.post(f"/v1/recoveries/{of_operator}/pause")).status_code == 202
    can = {"capabilities": ["view", "redeliver"]}
    async with visiting(instance, **can) as (one, _), visiting(instance, **can) as (two, _):
        assert (await one.submit("/events", START, last="1h")).status_code == 404
        assert (await one.submit("/events", f"{START}/", last="1h")).status_code == 404
        assert (await one.get(f"/recoveries/{of_operator}")).status_code == 404
        for command in ("pause", "resume", "cancel"):
            assert (await one.submit("/events", f"/recoveries/{of_operator}/{command}")).status_code == 404
        assert (await instance.http.get(f"/v1/recoveries/{of_operator}")).json()["status"] == "paused"

        given = {"action": "acknowledge", "confirmed": "1"}
        begun = await one.submit("/events", f"/events/bulk?webhook={webhook}", **given)
        path = begun.headers["location"].partition("?")[0]
        assert path.rpartition("/")[2] in (await two.page(path)).text
        async with asyncio.timeout(WAIT_TIMEOUT):
            while (await instance.http.get(f"/v1{path}")).json()["status"] != "finished":
                await asyncio.sleep(0.1)
        ended = await two.submit("/events", f"{path}/cancel")
        assert (ended.status_code, of_operator in ended.text) == (409, False)
    async with visiting(instance, **can, pages=["recoveries"]) as (browser, _):
        await until_shown(browser, of_operator)
        answer = await browser.submit("/recoveries", f"/recoveries/{of_operator}/cancel")
        assert answer.headers["location"] == "/recoveries?done=cancel"


async def test_a_customer_returns_to_the_recovery_that_was_steered(instance: Instance) -> None:
    for event_id in ("a", "b"):
        await instance.send(id=event_id)
    async with visiting(instance, capabilities=["view", "redeliver"]) as (browser, _):
        begun = await browser.submit(
            "/events", "/events/bulk?type=order.paid", action="redeliver", confirmed="1", note=""
        )
        path = begun.headers["location"].partition("?")[0]
        answer = await browser.submit("/events", f"{path}/pause")
        assert answer.status_code in (303, 409), "it may have ended"
        assert answer.headers.get("location", path).startswith(path)


async def test_a_bad_form_is_explained(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant)  # an operator would also see other tests' recoveries
    async with browsing(instance.app, key["key"]) as browser:
        bad: tuple[tuple[dict[str, str], int], ...] = (
            ({"last": "9y"}, 422),
            ({"since": "then"}, 422),
            ({"last": "1h", "tenant": "no tenant!"}, 422),
            ({"last": "1h", "webhook": "wh_nowhere"}, 404),
        )
        for fields, status in bad:
            answer = await browser.submit("/recoveries", START, **fields)
            assert (answer.status_code, 'role="alert"' in answer.text) == (status, True), fields


async def test_what_a_filter_matches_is_counted_and_done(instance: Instance, inbox: Receiver) -> None:
    webhook = await fail_some(instance, inbox, 2)
    key = await make_key(instance, instance.tenant)
    listed = f"/events?webhook={webhook}&delivery_status=failed"
    asking = listed.replace("/events", "/events/bulk")
    async with browsing(instance.app, key["key"]) as browser:
        assert "/events/bulk" not in (await browser.get("/events")).text, "without a filter"
        assert asking in (await browser.page(listed)).actions()
        answer = await browser.submit(listed, asking, action="retry")
        page = Page(answer.text)
        assert "Retry events" in page.text and "2 events match" in " ".join(page.text.split())
        assert len(inbox.requests) == 2, "counting delivers nothing"
        (confirming,) = [action for action in page.actions() if action.startswith("/events/bulk")]
        assert "until=" in confirming, "what was counted"
        answer = await browser.submit(listed, confirming, action="retry", confirmed="true")
        path = answer.headers["location"]
        assert path.startswith("/recoveries/rec_") and path.endswith("_retry_" + instance.tenant + "?done=bulk")
        await inbox.got(4)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while "finished" not in (page := await browser.page(path)).text:
                await asyncio.sleep(0.1)
        assert "2 of 2 retried" in page.text
        for bad, status in (({"action": "erase"}, 422), ({"action": "retry", "note": "a\nb"}, 422)):
            answer = await browser.submit(listed, asking, **bad)
            assert (answer.status_code, 'role="alert"' in answer.text) == (status, True)
        assert (await browser.submit(listed, "/events/bulk", action="cancel")).status_code == 422, "no filter"
