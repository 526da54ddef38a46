"""The pages in Chromium: what scripts, the content security policy and a person's clicks do together.

Each test fails for an error in the browser's console, and for a request to another host.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest
from accessibility import Scheme, check_in_both_schemes, defects
from browsers import needing_attention
from callers import make_key
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Request, Route, expect
from sockets import serving
from test_stats_api import report

from api.state import ApiState
from hookkeeper.registry.webhooks.health import AttemptResult
from hookkeeper.times import utc_now
from index_rows import until_indexed
from instances import KEY, Instance
from receivers import Receiver
from reports import changed
from timeouts import WAIT_TIMEOUT

PATIENCE = WAIT_TIMEOUT * 1000
"""Milliseconds."""
ZONE = "Asia/Tokyo"
"""The time zone of the reader."""
BODY = "\n{{ event.data.text }}\r\n"
REPEATED = "the server responded with a status of 503"
"""A busy machine is late, and the page asks again."""

expect.set_options(timeout=PATIENCE)


@asynccontextmanager
async def reading(
    chromium: Browser,
    instance: Instance,
    scheme: Scheme = "light",
    width: int = 1280,
    expected: str = REPEATED,
    scripts: bool = True,
) -> AsyncIterator[Page]:
    """Return a page of the instance, at the login."""
    complaints: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and expected not in message.text:
            complaints.append(message.text)

    def watch(request: Request) -> None:
        if not request.url.startswith(origin):
            complaints.append(f"request to {request.url}")

    async with serving(instance.app) as server:
        origin = f"http://127.0.0.1:{server.port}"
        context = await chromium.new_context(
            base_url=origin,
            color_scheme=scheme,
            timezone_id=ZONE,
            viewport={"width": width, "height": 860},
            java_script_enabled=scripts,
        )
        page = await context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", hear)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", watch)
        try:
            await page.goto("/events")
            yield page
        finally:
            await context.close()
    assert complaints == []


async def log_in(page: Page, key: str = KEY) -> None:
    await page.get_by_label("API key").fill(key)
    await page.get_by_label("API key").press("Enter")
    await page.wait_for_url("**/events")


async def test_an_event_appears_is_retried_and_succeeds_without_reloading(
    chromium: Browser, own_instance: Instance, inbox: Receiver
) -> None:
    """Setup: a receiver that fails once, a schedule of an hour. Timeline: log in, send, open the event, retry.

    Proves: list and event follow what happens by themselves, and the button does what the command does.
    """
    inbox.fails(503)
    await own_instance.webhook(inbox.url, name="Shop", retry={"schedule": [3600]})
    async with reading(chromium, own_instance) as page:
        await log_in(page)
        await expect(page.get_by_text("No events yet")).to_be_visible()
        await page.evaluate("window.notReloaded = true")
        event = await own_instance.send(data={"order": 4711})
        await expect(page.locator("td time")).to_have_text(re.compile(r":\d\d [AP]M$"))
        await page.get_by_role("link", name="order.paid").click(timeout=PATIENCE)
        await expect(page.get_by_text("Attempt 1")).to_be_visible()
        await expect(page.get_by_text(re.compile(r"Next attempt in \d+ minutes"))).to_be_visible()
        await expect(page.get_by_text("answer 503")).to_be_visible()
        await page.get_by_role("button", name="Retry now").first.click()
        await expect(page.get_by_text("An attempt was requested.")).to_be_visible()
        await expect(page.get_by_text("Attempt 2")).to_be_visible()
        await expect(page.locator("h1")).to_contain_text("succeeded")
        await expect(page.locator("article")).to_contain_text("200 OK")
        assert len(inbox.requests) == 2
        assert event["id"] in page.url


async def test_all_times_of_a_page_are_in_one_zone(chromium: Browser, idle_instance: Instance) -> None:
    """Timeline: the overview in the zone of the reader, who chooses UTC; the list of events, with the same choice.

    Proves: the page names its zone once, and times, bars and the axis of the chart follow it, also after an update.
    """
    at = utc_now() - timedelta(minutes=1)
    event = needing_attention(report(idle_instance.tenant, "evt_1", "http_500", status="failed"))
    await idle_instance.store.rows.write([changed(event, accepted_at=at)])
    shown = set()
    async with reading(chromium, idle_instance) as page:
        await log_in(page)
        await page.goto("/?range=30d")
        for zone in (ZONE, "UTC"):
            await expect(page.locator("[data-zone-name]")).to_have_text(f"Times in {zone}")
            await expect(page.locator("td time").first).to_contain_text(f"{at.astimezone(ZoneInfo(zone)):%-I:%M}")
            midnight = await page.locator("svg.axis line").first.get_attribute("x1")
            bar = await page.locator("svg.chart title").first.text_content()
            shown.add((midnight, bar))
            await page.get_by_label("UTC", exact=True).check()
        await idle_instance.store.rows.write([changed(event, id="evt_2", accepted_at=at)])
        await expect(page.get_by_text("2 events have failed")).to_be_visible()
        await expect(page.locator("td time").first).to_contain_text(f"{at:%-I:%M}")
        assert len({midnight for midnight, _ in shown}) == len({bar for _, bar in shown}) == 2
        await page.goto("/events")
        await expect(page.get_by_text("Times in UTC")).to_be_visible()
        await expect(page.locator("td time").first).to_contain_text(f"{at:%-I:%M}")


async def test_events_are_read_beside_the_list(chromium: Browser, own_instance: Instance, inbox: Receiver) -> None:
    """Timeline: open an event, go to the next with an arrow key, see its attempt appear, close; then a narrow screen.

    Proves: the list stays, the panel follows the event, and its page is one click away.
    """
    inbox.fails(503)
    await own_instance.webhook(inbox.url, retry={"schedule": [3600]})
    first, second = [(await own_instance.send(data={"n": n}))["id"] for n in range(2)]
    for event in (first, second):
        await until_indexed(own_instance, event)
    async with reading(chromium, own_instance) as page:
        await log_in(page)
        panel, rows = page.locator("#panel"), rows_of(page)
        await expect(rows).to_have_count(2)
        await rows.first.click()
        await expect(panel).to_contain_text(second)
        await check_in_both_schemes(page)
        await page.keyboard.press("ArrowDown")
        await expect(panel).to_contain_text(first)
        await expect(rows.nth(1)).to_have_attribute("aria-current", "true")
        await own_instance.command(first, "redeliver")
        await expect(panel).to_contain_text("Attempt 2")
        assert page.url.endswith("/events")
        await page.keyboard.press("Escape")
        await expect(panel).to_be_hidden()
        await expect(rows.nth(1)).to_be_focused()
        await rows.first.click()
        await panel.get_by_role("link", name="Open its page").click()
        await expect(page.locator("h1")).to_contain_text("order.paid")
        assert second in page.url
    async with reading(chromium, own_instance, width=800) as page:
        await log_in(page)
        await rows_of(page).first.click()
        await page.wait_for_url(f"**/events/{second}*")


async def test_new_rows_wait_while_the_reader_points_at_the_list(chromium: Browser, idle_instance: Instance) -> None:
    """Timeline: two events; the mouse on the list; two more come, and one changes; a click; the mouse away; one more.

    Proves: rows do not move under the mouse, but say what is; new ones come by a click, or by themselves.
    """
    tenant, write = idle_instance.tenant, idle_instance.store.rows.write
    begun = [report(tenant, f"evt_{n}", "http_503", status="retrying") for n in (1, 2)]
    await write(begun)
    async with reading(chromium, idle_instance) as page:
        await log_in(page)
        rows, news = page.locator("tr[data-row]"), page.locator("[data-news]")
        await expect(rows).to_have_count(2)
        await expect(news).to_be_hidden()
        await rows.first.hover()
        top = await rows.first.bounding_box()
        done = report(tenant, "evt_1", None)
        ended = changed(done, accepted_at=begun[0].event.accepted_at, as_of=utc_now(), status="succeeded")
        await write([*(report(tenant, f"evt_{n}", "dns", status="retrying") for n in (3, 4)), ended])
        await expect(news).to_have_text("2 new")
        await expect(page.locator(f'tr[data-row="{tenant}/evt_1"]')).to_contain_text("succeeded")
        await expect(rows).to_have_count(2)
        assert await rows.first.bounding_box() == top
        await check_in_both_schemes(page)
        await news.click()
        await expect(rows).to_have_count(4)
        await expect(news).to_be_hidden()
        await page.mouse.move(0, 0)
        await write([report(tenant, "evt_5", "dns", status="retrying")])
        await expect(rows).to_have_count(5)


async def test_the_filter_is_folded_on_a_phone_and_shows_times_in_the_readers_zone(
    chromium: Browser, idle_instance: Instance
) -> None:
    await idle_instance.store.rows.write([report(idle_instance.tenant, "evt_1", "http_503", status="failed")])
    for width in (1280, 390):
        async with reading(chromium, idle_instance, width=width) as page:
            await log_in(page)
            await page.goto("/events?since=2026-01-02T03:04Z")
            picker = page.get_by_label("From (Asia/Tokyo)")
            if width == 390:
                await expect(picker).to_be_hidden()
                await page.get_by_text("Filter", exact=True).first.click()
            await expect(picker).to_have_value("2026-01-02T12:04")
            assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            await check_in_both_schemes(page)
            await page.get_by_label("Delivery", exact=True).select_option("failed")
            await page.get_by_role("button", name="Filter", exact=True).click()
            await expect(page.get_by_label("Remove delivery: failed")).to_be_visible()
            await expect(page.locator("tr[data-row]")).to_contain_text("503")
            await page.get_by_label(re.compile("Remove from")).click()
            await page.wait_for_url(re.compile(r"/events\?delivery_status=failed$"))


@pytest.mark.parametrize("width", [1280, 390])
async def test_event_types_schedules_and_links_are_made_and_deleted_after_a_question(
    chromium: Browser, idle_instance: Instance, width: int
) -> None:
    """Proves: no script is needed, nothing is wider than the window, and axe finds nothing, with open questions too."""
    tenant = idle_instance.tenant
    async with reading(chromium, idle_instance, width=width, expected="a status of 422") as page:
        await log_in(page)
        await page.goto("/event-types/new")
        await page.get_by_label("Name", exact=True).fill("order.paid")
        await page.get_by_label("Schema", exact=True).fill('{"type": 1}')
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_label("Schema", exact=True)).to_have_attribute("aria-invalid", "true")
        await check_width_and_schemes(page)
        await page.get_by_label("Schema", exact=True).fill('{"type": "object"}')
        await page.get_by_role("button", name="Save").click()
        await page.get_by_label("Delete order.paid…").click()
        await check_width_and_schemes(page)
        await page.get_by_role("button", name="Delete order.paid").click()
        await expect(page.get_by_text("The event type is deleted.")).to_be_visible()
        await page.goto("/schedules/new")
        await page.get_by_label("Tenant", exact=True).fill(tenant)
        await page.get_by_label("Cron", exact=True).fill("0 9 * * 1")
        await page.get_by_label("Type", exact=True).fill("report.due")
        await check_width_and_schemes(page)
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("The schedule is created.")).to_be_visible()
        await page.goto("/keys/portal-links")
        await page.get_by_label("Tenant", exact=True).last.fill(tenant)
        await page.get_by_role("button", name="Create").click()
        await expect(page.get_by_text(re.compile(r"http://.*/portal/"))).to_be_visible()
        await page.get_by_label("Revoke Customer portal…").click()
        await check_width_and_schemes(page)
        await page.get_by_role("button", name="Revoke Customer portal").click()
        await expect(page.get_by_text("It is over")).to_be_visible()


async def check_width_and_schemes(page: Page) -> None:
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    await check_in_both_schemes(page)


def rows_of(page: Page) -> Locator:
    return page.get_by_role("link", name="order.paid")


async def ask_seldom(route: Route) -> None:
    """Let a list ask by itself after minutes only."""
    answer = await route.fetch()
    await route.fulfill(response=answer, body=(await answer.text()).replace('data-live="3"', 'data-live="600"'))


async def test_the_overview_has_first_steps_and_the_list_follows_a_stream(
    chromium: Browser, own_instance: Instance
) -> None:
    """Setup: an empty product. Timeline: the overview; the list, while a first event comes.

    Proves: a list that is told of news does not ask.
    """
    state: ApiState = own_instance.app.state.api
    async with reading(chromium, own_instance) as page:
        await log_in(page)
        await page.get_by_role("link", name="Overview").click()
        await expect(page.get_by_role("button", name="Copy the command of step 1")).to_be_visible()
        await check_in_both_schemes(page)
        await page.route("**/events", ask_seldom)
        async with page.expect_response("**/live"):
            await page.get_by_role("link", name="Events", exact=True).click()
        await own_instance.send("user.created")
        await expect(page.get_by_role("link", name="user.created")).to_be_visible()
        await page.get_by_role("button", name="Pause updates").click()
        async with asyncio.timeout(WAIT_TIMEOUT):
            while state.feed.count:
                await asyncio.sleep(0.05)


async def test_live_updates_can_be_paused_and_keep_open_rows(
    chromium: Browser, instance: Instance, inbox: Receiver
) -> None:
    inbox.fails(500)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    event = await instance.send()
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    async with reading(chromium, instance) as page:
        await log_in(page)
        await page.goto(f"/events/{event['id']}?tenant={instance.tenant}")
        await page.get_by_text("Exchange", exact=True).click()
        await page.get_by_role("button", name="Pause updates").click()
        await expect(page.get_by_role("status")).to_have_text("Paused")
        await instance.command(event["id"], "hold")
        await instance.until_delivery(event["id"], "held")
        await page.wait_for_timeout(1500)
        await expect(page.locator("article")).to_have_class(re.compile("retrying"))
        await page.get_by_role("button", name="Resume updates").click()
        await expect(page.locator("article")).to_have_class(re.compile("held"))
        await expect(page.get_by_label("Headers of the response to attempt 1")).to_be_visible()  # still unfolded


async def test_a_list_can_be_used_by_keyboard_and_fits_a_narrow_page(chromium: Browser, instance: Instance) -> None:
    event = await instance.send("a." + "long-type-" * 12)
    await until_indexed(instance, event["id"])
    async with reading(chromium, instance, scheme="dark", width=360) as page:
        await expect(page.get_by_label("API key")).to_be_focused()
        await page.keyboard.type(KEY)
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/events")
        await page.keyboard.press("Tab")
        await expect(page.get_by_text("Skip to content")).to_be_focused()
        assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 17, 22)"


async def test_long_words_stay_on_the_page(chromium: Browser, instance: Instance) -> None:
    webhook = await instance.webhook("http://127.0.0.1:9000/", name="W" * 100, description="x" * 300)
    deliver_at = (utc_now() + timedelta(days=26, hours=1)).isoformat()
    event = await instance.send(deliver_at=deliver_at)
    async with reading(chromium, instance, width=390) as page:
        await log_in(page)
        at = f"/webhooks/{webhook['id']}"
        for path in (at, f"{at}/settings", f"{at}/edit", f"/events/{event['id']}?tenant={instance.tenant}"):
            await page.goto(path)
            assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
        await expect(page.get_by_text("Next attempt in 26 days")).to_be_visible()
        await expect(page).to_have_title(f"order.paid {event['id']} · Hookkeeper")


@pytest.mark.parametrize("width", [1280, 400])
async def test_the_overview_shows_all_columns_of_failing_webhooks(
    chromium: Browser, idle_instance: Instance, width: int
) -> None:
    webhook = await idle_instance.webhook("http://127.0.0.1:9000/" + "path-of-a-receiver/" * 4)
    text = "Service Unavailable: " + "the-database-does-not-answer" * 4
    result = AttemptResult(webhook["id"], "failed", utc_now(), status_code=503, error="http_503", text=text)
    await idle_instance.store.health.record([result])
    await idle_instance.store.rows.write([report(idle_instance.tenant, "evt_1", "http_500", status="failed")])
    async with reading(chromium, idle_instance, width=width) as page:
        await log_in(page)
        await page.goto("/")
        table = page.locator(".failing")
        await expect(table.get_by_text("path-of-a-receiver")).to_be_visible()
        assert await table.evaluate("box => box.scrollWidth <= box.clientWidth")


async def test_a_webhook_is_registered_tested_paused_and_resumed(
    chromium: Browser, instance: Instance, inbox: Receiver
) -> None:
    async with reading(chromium, instance) as page:
        await log_in(page)
        await page.get_by_role("link", name="Webhooks").click()
        await page.get_by_role("link", name="New webhook").click()
        await page.get_by_label("Tenant").fill(instance.tenant)
        await page.get_by_label("URL", exact=True).fill(inbox.url)
        await page.get_by_label("Name", exact=True).fill("Shop")
        await page.get_by_label("Metadata").fill("team: shop\nurl: https://acme.example/")
        await expect(page.get_by_label("Template of the body")).to_be_hidden()
        await page.get_by_role("button", name="Next").press("Enter")
        await page.get_by_label("Template of the body").fill('{"n": {{ event.data.order | nope }}}')
        await expect(page.get_by_text("filter nope is unknown (line 1, column 29)")).to_be_visible()
        await expect(page.get_by_label("Template of the body")).to_have_attribute("aria-invalid", "true")
        body = '{"n": {{ event.data.order }}, "team": "{{ webhook.metadata.team }}"}'
        await page.get_by_label("Template of the body").fill(body)
        await page.get_by_label("Data (JSON)").first.fill('{"order": 4711}')
        await expect(page.get_by_label("Request", exact=True)).to_contain_text('{"n": 4711, "team": "shop"}')
        await expect(page.locator(".error:visible")).to_have_count(0)
        await page.get_by_text("Email 1").first.click()
        await page.get_by_label("To", exact=True).first.fill("ann@acme.example\nnobody")
        await expect(page.get_by_text("entry 2: 'nobody' is not an email address")).to_be_visible()
        await check_in_both_schemes(page)
        await page.get_by_label("To", exact=True).first.fill("")
        await page.get_by_role("button", name="Register", exact=True).click()
        await expect(page.get_by_text("The webhook is registered")).to_be_visible()
        webhook_id = re.findall(r"wh_[a-z0-9]+", page.url)[0]
        await page.get_by_role("link", name="Test", exact=True).click()
        await page.get_by_label("Data (JSON)").fill('{"order": 4711}')
        await page.get_by_role("button", name="Send").click()
        answer = page.get_by_label("Answer to the test event")
        await expect(answer).to_contain_text("200 OK")
        await expect(answer.get_by_label("Response to attempt 1", exact=True)).to_have_text("ok")
        assert inbox.requests[0].body == b'{"n": 4711, "team": "shop"}'
        await check_in_both_schemes(page)
        await page.get_by_role("link", name="Verify", exact=True).click()
        await expect(page.get_by_label("Program in Python")).to_contain_text("whsec_********")
        await check_in_both_schemes(page)
        await page.get_by_role("button", name="Pause", exact=True).click()
        await expect(page.get_by_text("The webhook is paused")).to_be_visible()
        assert (await instance.http.get(f"/v1/webhooks/{webhook_id}")).json()["paused_at"]
        await page.get_by_role("button", name="Resume", exact=True).click()
        await expect(page.get_by_text("The webhook was resumed")).to_be_visible()


async def test_two_clicks_register_one_webhook(chromium: Browser, instance: Instance) -> None:
    async with reading(chromium, instance) as page:
        await log_in(page)
        await page.goto("/webhooks/new")
        await page.get_by_label("Tenant").fill(instance.tenant)
        await page.get_by_label("URL", exact=True).fill("http://127.0.0.1:9000/hook")
        register = page.get_by_role("button", name="Register", exact=True)
        await register.evaluate("button => { button.click(); setTimeout(() => button.click(), 15); }")
        await expect(page.get_by_text("The webhook is registered.")).to_be_visible()
    listed = (await instance.http.get("/v1/webhooks", params={"tenant": instance.tenant})).json()["items"]
    assert len(listed) == 1


async def test_a_request_is_copied_as_curl_and_sent_again(
    chromium: Browser, instance: Instance, inbox: Receiver
) -> None:
    """Proves: what the buttons copy is the body that was sent, and a command that a shell runs."""
    await instance.webhook(inbox.url, retry={"schedule": []}, payload={"content_type": "text/plain", "template": BODY})
    event = await instance.send(data={"text": "it's \n $(id) </pre> é"})
    await instance.until_final(event["id"])
    async with reading(chromium, instance) as page:
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await log_in(page)
        await page.goto(f"/events/{event['id']}?tenant={instance.tenant}")
        await page.get_by_role("link", name="Request").click()
        await page.get_by_role("button", name="Copy body").click()
        await expect(page.get_by_role("button", name="Copied")).to_be_visible()
        copied: str = await page.evaluate("navigator.clipboard.readText()")
        assert copied.encode() == inbox.requests[0].body
        await page.get_by_role("button", name="Show as curl").click()
        await page.get_by_role("button", name="Copy as curl").click()
        await expect(page.get_by_role("button", name="Copied")).to_be_visible()
        command: str = await page.evaluate("navigator.clipboard.readText()")
        await expect(page.get_by_role("button", name="Copy as curl")).to_be_visible()
        await check_in_both_schemes(page)
    process = await asyncio.create_subprocess_exec("sh", "-c", command)
    assert await process.wait() == 0
    assert inbox.requests[1].body == inbox.requests[0].body


async def test_no_page_has_an_accessibility_violation(chromium: Browser, instance: Instance, inbox: Receiver) -> None:
    """Proves: axe finds no violation on any page, light or dark, with waiting and succeeded deliveries."""
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, name="Shop", retry={"schedule": [3600]})
    event = await instance.send()
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    await instance.send("order.sent")
    await until_indexed(instance, event["id"])
    of_tenant = {"tenant": instance.tenant}
    await make_key(instance, instance.tenant)
    await instance.http.post("/v1/suppressions", json=of_tenant | {"address": "ann@acme.example"})
    await instance.http.post("/v1/recoveries", json=of_tenant | {"since": "2026-01-01T00:00:00Z"})
    found = {}
    async with reading(chromium, instance) as page:

        async def check(path: str, *, in_dark: bool = False) -> None:
            """Look in light colours; pages of the same parts have the same dark ones."""
            found[path] = await defects(page)
            if in_dark:
                await page.emulate_media(color_scheme="dark")
                found[f"{path}, dark"] = await defects(page, "dark")
                await page.emulate_media(color_scheme="light")

        await check("/login", in_dark=True)
        await log_in(page)
        event_path = f"/events/{event['id']}?tenant={instance.tenant}"
        webhook_path = f"/webhooks/{webhook['id']}"
        lists = (
            "/event-types",
            "/schedules",
            "/recoveries",
            "/suppressions",
            f"/limits?tenant={instance.tenant}",
            "/keys",
            "/audit",
        )
        tabs = [f"{webhook_path}/{tab}" for tab in ("deliveries", "settings", "test")]
        for path in ("/", "/events", event_path, "/webhooks", webhook_path, *tabs, "/webhooks/new", *lists):
            await page.goto(path)
            await check(path, in_dark=path in ("/", "/events", event_path, webhook_path, "/webhooks/new"))
        await page.goto(f"/events?tenant={instance.tenant}&status=delivering")
        await page.get_by_text("Do this to all that match").click()
        await page.get_by_role("button", name="Count them").click()
        await check("/events/bulk")
        await page.get_by_role("button", name="Retry events").click()
        await page.wait_for_url("**/recoveries/rec_*")
        await check("/recoveries/{id}")
    assert {path: report for path, report in found.items() if report} == {}
    assert len(found) == 19 + 6


async def test_a_link_to_the_portal_opens_from_another_site(chromium: Browser, instance: Instance) -> None:
    """The browser comes from a page of another site, whose requests bring no cookie of ours (SameSite=Strict)."""
    webhook = await instance.webhook("http://127.0.0.1:9000/", name="Shop")
    path = f"/webhooks/{webhook['id']}"
    body = {"tenant": instance.tenant, "name": "ann@acme.example", "path": path}
    url = httpx.URL((await instance.http.post("/v1/portal-links", json=body)).json()["url"])
    async with reading(chromium, instance) as page:
        origin = page.url.removesuffix("/login?next=%2Fevents")
        await page.goto("about:blank")
        await page.set_content(f'<a href="{origin}{url.path}">Webhooks</a>')
        await page.get_by_role("link").click()
        await expect(page.get_by_role("heading", name="Open the portal")).to_be_visible()
        await check_in_both_schemes(page)
        await page.get_by_role("button", name="Open").click()
        await page.wait_for_url(f"**{path}")
        await expect(page.get_by_role("heading", name="Shop")).to_be_visible()
        await expect(page.get_by_text("ann@acme.example")).to_be_visible()
        await expect(page.get_by_role("button", name="Pause", exact=True)).to_have_count(0)
        await page.goto("about:blank")
        await page.set_content(f'<a href="{origin}{path}">Webhook</a>')
        await page.get_by_role("link").click()
        await expect(page.get_by_role("heading", name="Shop")).to_be_visible()


def application(frames: dict[str, str]) -> FastAPI:
    """Return the application of a customer, whose page shows the portal in a frame."""
    app = FastAPI()

    @app.get("/{page}")
    async def show(page: str) -> HTMLResponse:
        frame = f'<iframe src="{frames[page]}" width=900 height=700>'
        return HTMLResponse(f'<!doctype html><link rel=icon href="data:,"><title>{page}</title>{frame}')

    return app


async def test_the_portal_works_in_a_frame_of_a_named_origin_and_of_no_other(
    chromium: Browser, instance: Instance
) -> None:
    """Setup: the portal at 127.0.0.1, applications at two ports of localhost, which is another site.

    Proves: the browser keeps the cookie of a frame of another site and sends it with forms there; it refuses
    the frame to another origin; a form of that origin changes nothing.
    """
    webhook = await instance.webhook("http://127.0.0.1:9000/", name="Shop")
    path = f"/webhooks/{webhook['id']}"
    frames: dict[str, str] = {}
    async with (
        serving(instance.app) as portal,
        serving(application(frames)) as ours,
        serving(application(frames)) as other,
    ):
        body = {
            "tenant": instance.tenant,
            "capabilities": ["manage_webhooks"],
            "path": path,
            "frame_origins": [f"http://localhost:{ours.port}"],
            "theme": {"name": "Acme", "accent": "#ffd500", "mode": "dark"},
        }
        for name in ("first", "second"):
            link = (await instance.http.post("/v1/portal-links", json=body)).json()
            frames[name] = f"http://127.0.0.1:{portal.port}{httpx.URL(link['url']).path}"
        context = await chromium.new_context()
        page = await context.new_page()
        page.set_default_timeout(PATIENCE)
        refusals: list[str] = []
        page.on("console", lambda message: refusals.append(message.text) if message.type == "error" else None)

        await page.goto(f"http://localhost:{other.port}/first")
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not (page.frames[1].url.startswith("chrome-error:") and "frame-ancestors" in str(refusals)):
                await page.wait_for_timeout(50)
        refusals.clear()

        await page.goto(f"http://localhost:{ours.port}/second")
        frame = page.frame_locator("iframe")
        await expect(frame.get_by_role("heading", name="Shop")).to_be_visible()  # without a click: a script opens it
        await expect(frame.get_by_text("Acme")).to_be_visible()
        link = "document.querySelector('nav a[aria-current]')"
        colours = f"[document.body, {link}].map(element => getComputedStyle(element))"
        assert await page.frames[1].evaluate(f"(([body, link]) => [body.backgroundColor, link.color])({colours})") == [
            "rgb(14, 17, 22)",
            "rgb(255, 213, 0)",
        ]
        await frame.get_by_role("button", name="Pause", exact=True).click()
        await expect(frame.get_by_text("The webhook is paused")).to_be_visible()
        assert (await instance.http.get(f"/v1{path}")).json()["paused_at"]
        (cookie,) = await context.cookies(f"http://127.0.0.1:{portal.port}")
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "None")
        assert cookie["partitionKey"] == "http://localhost"

        # Scripts of the page around it cannot send the form, which lacks the proof, nor read the answer.
        forged = f"fetch('http://127.0.0.1:{portal.port}{path}/resume', {{method: 'POST', mode: 'no-cors', "
        forged += "credentials: 'include', headers: {'content-type': 'application/x-www-form-urlencoded'}})"
        await page.evaluate(f"{forged}.catch(() => 0)")
        assert (await instance.http.get(f"/v1{path}")).json()["paused_at"]
        await frame.get_by_role("button", name="Log out").click()
        await expect(frame.get_by_role("heading", name="The session has ended")).to_be_visible()
        await context.close()


async def test_a_form_outlives_its_session(chromium: Browser, instance: Instance) -> None:
    """A script says that the session has ended, and takes up the one that another tab begins."""
    async with reading(chromium, instance, expected="a status of 40") as page:
        await log_in(page)
        await page.goto("/webhooks/new")
        await page.context.clear_cookies()
        await page.get_by_label("Name", exact=True).fill("Shop")
        await expect(page.get_by_text("Your session has ended: log in in another tab.")).to_be_visible()
        other = await page.context.new_page()
        await other.goto("/events")
        await log_in(other, (await make_key(instance, instance.tenant))["key"])
        await page.get_by_label("URL", exact=True).fill("http://127.0.0.1:9000/")
        await expect(page.get_by_text("Your session has ended")).to_be_hidden()
        await page.get_by_role("button", name="Register", exact=True).click()
        await expect(page.get_by_role("heading", name="Shop")).to_be_visible()
