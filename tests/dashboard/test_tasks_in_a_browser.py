"""What people do in their first hour, mistakes included: on a phone, in Chromium, without scripts.

Then the pages that they saw are opened with scripts: none is wider than the phone, and axe finds no violation.
"""

import re

from accessibility import defects
from playwright.async_api import Browser, Locator, Page, expect
from test_in_a_browser import log_in, reading

from index_rows import until_indexed
from instances import Instance
from receivers import Answer, Receiver

PHONE = 390


class Walk:
    """A person's way through the pages, which are remembered."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.seen: dict[str, None] = {}

    async def open(self, path: str) -> None:
        await self.page.goto(path)
        self.note()

    async def follow(self, name: str, *, within: Locator | None = None) -> None:
        await (within or self.page).get_by_role("link", name=name, exact=True).first.click()
        self.note()

    async def press(self, name: str, *, within: Locator | None = None) -> None:
        await (within or self.page).get_by_role("button", name=name, exact=True).first.click()

    async def fill(self, **fields: str) -> None:
        for label, text in fields.items():
            await self.page.get_by_label(label.replace("_", " "), exact=True).first.fill(text)

    async def unfold(self, summary: str) -> None:
        await self.page.locator("summary", has_text=summary).first.click()

    async def reads(self, *texts: str | re.Pattern[str]) -> None:
        for text in texts:
            await expect(self.page.get_by_text(text).first).to_be_visible()

    def note(self) -> None:
        self.seen[re.sub(r"^https?://[^/]+", "", self.page.url)] = None


async def test_the_first_hour_needs_no_script_and_fits_a_phone(
    chromium: Browser, own_instance: Instance, inbox: Receiver
) -> None:
    """Timeline: a webhook, an event, a failure and its cause; commands; a filter; a key, a link, a type, a schedule."""
    tenant = own_instance.tenant
    inbox.otherwise = Answer(500, "no such order")
    async with reading(chromium, own_instance, width=PHONE, scripts=False, expected="a status of") as page:
        walk = Walk(page)
        await page.get_by_label("API key").fill("hk_wrong")
        await walk.press("Log in")
        await walk.reads("The key is unknown")
        await log_in(page)

        await walk.open("/webhooks/new")
        await walk.fill(Tenant=tenant, URL="ftp://shop.example/", Name="Shop")
        await walk.press("Register")
        await walk.reads(re.compile("must start with http"))
        await expect(page.get_by_label("Name", exact=True)).to_have_value("Shop")
        await walk.fill(URL=inbox.url)
        await walk.press("Register")
        await walk.reads("The webhook is registered.", re.compile(r"\bnew\b"))
        path = re.sub(r"^https?://[^/]+|\?.*", "", page.url)

        await walk.follow("Test")
        await page.get_by_label("Data (JSON)").fill("{order: 4711}")
        await walk.press("Send")
        await walk.reads(re.compile("not valid JSON|not JSON"))
        await expect(page.get_by_label("Data (JSON)")).to_have_value("{order: 4711}")
        await page.get_by_label("Data (JSON)").fill('{"order": 4711}')
        await walk.press("Send")
        await inbox.got(1)
        event = await own_instance.send(data={"order": 4711})
        await own_instance.until_delivery(event["id"], "retrying", attempts=1)
        await until_indexed(own_instance, event["id"])

        await walk.open("/")
        await expect(page.locator(".verdict")).to_contain_text("1 webhook has just begun to fail")
        await walk.follow("Its latest event")
        await walk.reads("no such order")
        await page.get_by_label("Note of the acknowledgement").fill("they know")
        await walk.press("Acknowledge")
        await walk.press("Undo the acknowledgement")
        await walk.press("Hold")
        await walk.press("Release")
        inbox.otherwise = Answer()
        await walk.press("Retry now")
        await own_instance.until_final(event["id"])

        await walk.open(path)
        await walk.press("Pause")
        await walk.reads("The webhook is paused")
        await walk.press("Resume")
        await walk.reads("The webhook was resumed")
        for tab in ("Deliveries", "Verify", "Settings"):
            await walk.follow(tab, within=page.locator("nav.tabs"))
        await walk.unfold("Rotate…")
        await walk.press("Rotate now")
        await walk.reads("The previous key signs too until")

        await walk.open("/events")
        await walk.unfold("Filter")
        await walk.fill(Type="order.paid", Status_code="9xx")
        await walk.press("Filter")
        await expect(page.get_by_label("Status code", exact=True)).to_have_attribute("aria-invalid", "true")
        await expect(page.get_by_label("Type", exact=True)).to_have_value("order.paid")
        await walk.fill(Status_code="", Data="data.order:4711", Tenant=tenant)
        await walk.press("Filter")
        await expect(page.get_by_text(event["id"])).to_be_visible()
        await walk.open(f"/events?tenant={tenant}&status=succeeded")
        await walk.unfold("Do this to all that match")
        await page.get_by_label("Action").select_option("redeliver")
        await walk.press("Count them")
        await walk.press("Deliver events again")
        await page.wait_for_url("**/recoveries/rec_*")
        walk.note()
        await walk.open(f"/events/evt_typo?tenant={tenant}")
        await walk.reads("No such event")

        await walk.open("/keys")
        await walk.press("Create")
        await walk.reads("name a tenant or choose all tenants")
        await walk.fill(Name="backend")
        await page.get_by_label("Tenant", exact=True).last.fill(tenant)
        await page.get_by_label("events:write", exact=True).check()
        await walk.press("Create")
        await walk.reads("It is shown only now")

        await walk.open("/keys/portal-links")
        await page.get_by_label("Tenant", exact=True).last.fill(tenant)
        await walk.fill(Name="ann@acme.example", Opens="webhooks")
        await walk.press("Create")
        await expect(page.locator("[aria-invalid=true]")).to_have_count(1)
        await walk.fill(Opens="/webhooks")
        await walk.press("Create")
        await walk.reads("works once")

        await walk.open("/event-types/new")
        await walk.fill(Name=f"order.{tenant}", Schema="{")
        await walk.press("Save")
        await expect(page.get_by_label("Schema", exact=True)).to_have_attribute("aria-invalid", "true")
        await walk.fill(Schema='{"type": "object"}')
        await walk.press("Save")
        await walk.reads(f"order.{tenant}")
        await walk.open("/schedules/new")
        await walk.fill(Tenant=tenant, Type="report.due", Cron="0 25 * * *")
        await walk.press("Save")
        await expect(page.get_by_label("Cron", exact=True)).to_have_attribute("aria-invalid", "true")
        await walk.fill(Cron="0 9 * * 1")
        await walk.press("Save")
        await walk.open(f"/schedules?tenant={tenant}")
        await walk.reads("report.due")
        assert await defects_with_scripts(chromium, page, [*walk.seen]) == {}
        await walk.open(f"{path}/settings")
        await walk.unfold("Delete this webhook…")
        await walk.press("Delete now")
        await expect(page).to_have_url(re.compile("/webhooks"))
        await walk.press("Log out")
        await walk.open(path)
        await expect(page.get_by_label("API key")).to_be_visible()


async def defects_with_scripts(chromium: Browser, page: Page, paths: list[str]) -> dict[str, str]:
    """Open the pages with scripts, in the session of this one; return those that are too wide or not accessible."""
    assert len(paths) > 10
    found = {}
    context = await chromium.new_context(
        base_url=page.url,
        viewport={"width": PHONE, "height": 860},
        storage_state=await page.context.storage_state(),
    )
    with_scripts = await context.new_page()
    for path in paths:
        await with_scripts.goto(path)
        is_wide = await with_scripts.evaluate("document.scrollingElement.scrollWidth > innerWidth")
        found[path] = await defects(with_scripts) or ("too wide" if is_wide else "")
    await context.close()
    return {path: defect for path, defect in found.items() if defect}
