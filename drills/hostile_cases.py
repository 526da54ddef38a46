"""Cases of the neighbour drill: the hostile tenant attacks in one way, at a bounded rate."""

import asyncio
import json
import re
import secrets
from datetime import UTC, datetime, timedelta
from itertools import count, cycle, repeat

import httpx

from drills.hostile_tenant import Attack, Tenant
from drills.hostile_uses import USES, everything

MATCHING_WEBHOOKS = 2000
"""More targets than an event may have."""
FAILED_EVENTS = 3000
EVENT_TYPES = 3000
BOMB = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
FORM = b"&".join(b"field%d=" % n + b"<" * 2048 for n in range(98))
"""As large as the form of a webhook may be, and with as many fields as any; each byte becomes four in a page."""


async def hanging_receivers(tenant: Tenant) -> None:
    """Register many webhooks whose receiver never answers."""
    await tenant.webhooks("hanging", 60, url=f"{tenant.receiver}/hang", timeout=30)
    await tenant.start.wait()
    await tenant.events("hanging", 2)


async def failing_receivers(tenant: Tenant) -> None:
    """Register many webhooks whose receiver answers 500 at once, with a retry each second."""
    await tenant.webhooks("failing", 60, url=f"{tenant.receiver}/fail", retry={"schedule": [1] * 49})
    await tenant.start.wait()
    await tenant.events("failing", 2)


async def failing_templates(tenant: Tenant) -> None:
    """Post batches of events whose template fails: they share runs, and each of them then has a run of its own."""
    payload = {"template": "{{ event.data.missing.name }}"}
    await tenant.webhooks("templates", 1, url=f"{tenant.receiver}/empty", payload=payload)
    content = json.dumps({"events": [{"type": "templates"}] * 200}).encode()
    await tenant.start.wait()
    await tenant.flood("batches", "POST", repeat("/v1/events/batch"), rate=0.5, connections=1, content=content)


async def large_batches(tenant: Tenant) -> None:
    """Post batches of 1,000 small events and of 32 large ones, and large events one by one."""
    await tenant.webhooks("batches", 1, url=f"{tenant.receiver}/empty")
    small = {"type": "batches", "data": {"n": 1}}
    large = {"type": "batches", "data": {"text": "x" * 250_000}}
    bodies = (
        ("batches of 1,000 events", "/v1/events/batch", {"events": [small] * 1000}),
        ("batches of 8 MB", "/v1/events/batch", {"events": [large] * 32}),
        ("events of 250 KB", "/v1/events", large),
    )
    await tenant.start.wait()
    async with asyncio.TaskGroup() as floods:
        for name, path, body in bodies:
            content = json.dumps(body).encode()
            floods.create_task(tenant.flood(name, "POST", repeat(path), rate=2, connections=1, content=content))


async def template_bombs(tenant: Tenant) -> None:
    """Use templates that never end, each in a webhook of its own and further ones in previews."""
    for n in range(60):
        await tenant.webhooks("bombs", 1, url=f"{tenant.receiver}/empty", payload={"template": f"{BOMB}{n}"})
    await tenant.start.wait()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(tenant.events("bombs", 2))
        for n in count():
            webhook = {"url": f"{tenant.receiver}/empty", "payload": {"template": f"{BOMB}preview {n}"}}
            tasks.create_task(tenant.call("previews", "POST", "/v1/webhooks/preview", {"webhook": webhook}))
            await asyncio.sleep(0.2)


async def thousands_of_webhooks(tenant: Tenant) -> None:
    """Post events that go to 1,000 webhooks, and events that match 2,000, which are refused."""
    registering = [
        tenant.webhooks("webhooks", 250, url=f"{tenant.receiver}/empty", events=[["most", "all"], ["all"]][n % 2])
        for n in range(MATCHING_WEBHOOKS // 250)
    ]
    await asyncio.gather(*registering)
    await tenant.start.wait()
    await asyncio.gather(tenant.events("most", 0.5), tenant.events("all", 5))


async def bulk_recovery(tenant: Tenant) -> None:
    """Recover 3,000 failed events at the highest rate."""
    [webhook] = await tenant.webhooks("recovery", 1, url=f"{tenant.receiver}/fail", retry={"schedule": []})
    await tenant.post_all("recovery", [{"type": "recovery"}] * FAILED_EVENTS)
    path = f"/v1/webhooks/{webhook}/recover"
    request = {"since": (datetime.now(UTC) - timedelta(hours=1)).isoformat(), "rate": 100}
    failed = 0
    while failed < FAILED_EVENTS:
        await asyncio.sleep(0.5)
        counted = await tenant.call("counts of failed events", "POST", path, request | {"dry_run": True})
        failed = counted.json()["found"] if counted is not None and counted.is_success else 0
    await tenant.call("recovery", "PATCH", f"/v1/webhooks/{webhook}", {"url": f"{tenant.receiver}/empty"})
    await tenant.call("recovery", "POST", path, request)
    while not tenant.received["/empty"]:  # it brings the index up to date and counts the events first
        await asyncio.sleep(0.1)
    await tenant.start.wait()
    await asyncio.Event().wait()


async def portal_pages(tenant: Tenant) -> None:
    """Fetch pages of the dashboard in five portal sessions, on 20 connections."""
    await tenant.webhooks("webhooks", 20, url=f"{tenant.receiver}/empty", events=["other"])
    await tenant.webhooks("webhooks", 1, url=f"{tenant.receiver}/empty", events=["pages"])
    await tenant.post_all("events", [{"type": "pages"}] * 500)
    await tenant.until_received(500)
    cookies = [await open_portal(tenant) for _ in range(5)]
    paths = ("/", "/events", "/webhooks", "/event-types", "/recoveries", "/schedules")
    await tenant.start.wait()
    async with asyncio.TaskGroup() as floods:
        for cookie in cookies:
            headers = {"cookie": cookie, "accept": "text/html"}
            floods.create_task(tenant.flood("pages", "GET", cycle(paths), rate=40, connections=4, headers=headers))


async def statistics(tenant: Tenant) -> None:
    """Ask for statistics by event type on 8 connections, with thousands of types."""
    await tenant.webhooks("webhooks", 1, url=f"{tenant.receiver}/empty", events=["*"])
    await tenant.post_all("events", [{"type": f"type-{n}"} for n in range(EVENT_TYPES)])
    await tenant.until_received(EVENT_TYPES)
    await tenant.start.wait()
    await tenant.flood("statistics", "GET", repeat("/v1/stats?by=type"), rate=100, connections=8)


async def forms_without_session(tenant: Tenant) -> None:
    """Send the form of a webhook, as large as it may be, without a session, on 40 connections."""
    headers = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
    await tenant.start.wait()
    paths = cycle(("/webhooks/new", "/login"))
    await tenant.flood("forms", "POST", paths, rate=1000, connections=40, headers=headers, content=FORM)


async def bad_portal_links(tenant: Tenant) -> None:
    """Open 20 unknown links a second; a valid link from the same address must work each second."""
    unknown = (f"/portal/{secrets.token_urlsafe(32)}" for _ in count())
    await tenant.start.wait()
    flood = tenant.flood("unknown links", "GET", unknown, rate=20, connections=2, headers={"accept": "text/html"})
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(flood)
        while True:
            await open_portal(tenant)
            await asyncio.sleep(1)


async def open_portal(tenant: Tenant) -> str:
    """Begin a portal session; return its cookie. If a link does not open, it is broken."""
    made = await tenant.call("valid links", "POST", "/v1/portal-links", {})
    if made is None or made.status_code != 201:
        tenant.broken.append("a portal link was not made")
        return ""
    path = "/portal/" + made.json()["url"].rpartition("/")[2]
    async with httpx.AsyncClient(base_url=tenant.http.base_url, trust_env=False, timeout=10, verify=False) as http:
        shown = await http.get(path)
        proof = re.search(r'name="proof" value="(\w+)"', shown.text)
        opened = await http.post(path, data={"proof": proof[1] if proof else ""})
        if opened.status_code != 303:
            tenant.broken.append(f"a valid portal link was answered with {shown.status_code}, {opened.status_code}")
        return "; ".join(f"{name}={value}" for name, value in http.cookies.items())


CASES: dict[str, Attack] = {
    "hanging-receivers": hanging_receivers,
    "failing-receivers": failing_receivers,
    "failing-templates": failing_templates,
    "large-batches": large_batches,
    "template-bombs": template_bombs,
    "thousands-of-webhooks": thousands_of_webhooks,
    "bulk-recovery": bulk_recovery,
    "portal-pages": portal_pages,
    "statistics": statistics,
    "forms-without-session": forms_without_session,
    "bad-portal-links": bad_portal_links,
    **USES,
    "everything": everything,
}
