"""Pages of the dashboard, loaded over HTTP from the real API, with Temporal, on a registry with an index of events."""

import re
import tempfile
from functools import partial
from html import unescape
from pathlib import Path

import httpx

from benchmarks.index_reports import TENANTS, TYPES, WEBHOOKS, tenant_name, webhook_id
from benchmarks.timing import time_in_turn
from cli.console import Failed
from cli.datadir import DataDir
from cli.ports import free_ports
from drills import stack
from drills.open_pages import session
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.health import AttemptResult
from hookkeeper.settings import Settings
from hookkeeper.times import utc_now

LOAD_TIMEOUT = 30.0
WEBHOOK, TENANT = webhook_id(0, 0), tenant_name(0)
CHART = '<svg class="chart"'
PAGES = {
    "page: overview": ("/", CHART),
    "page: overview, 30 days": ("/?range=30d", CHART),
    "page: overview of a tenant": (f"/?tenant={TENANT}", CHART),
    "page: events": ("/events", "evt_"),
    "page: events, failed, of a type": (f"/events?status=failed&type={TYPES[0]}", "evt_"),
    "page: events that need attention": ("/events?needs_attention=true", "evt_"),
    "page: events of a tenant, failed": (f"/events?tenant={TENANT}&status=failed", "evt_"),
    "page: events of a webhook, of an unknown type": (f"/events?webhook={WEBHOOK}&type=none", "No event matches"),
    "page: webhook": (f"/webhooks/{WEBHOOK}", CHART),
    "page: deliveries of a webhook": (f"/webhooks/{WEBHOOK}/deliveries", "evt_"),
    "page: webhooks, with sparklines": ("/webhooks", CHART),
}
"""Path, and a text that only the page that is meant has."""
SECOND_PAGE = "page: events, page 2"


async def time_pages(database_url: str, repeats: int) -> None:
    """Time the pages, as an operator with the admin key sees them."""
    await _add_webhooks(database_url)
    with tempfile.TemporaryDirectory(prefix="hookkeeper-pages-") as folder:
        # Without a worker: it would look for the runs of made-up events, and remove their rows.
        plan = stack.StackPlan(
            data=DataDir(Path(folder)),
            ports=free_ports(),
            settings=Settings(database_url=database_url),
            workers=(),
        )
        async with stack.running(plan) as running, session(running.url, running.admin_key) as browser:
            second = await _older(browser, "/events"), "evt_"
            pages = {**PAGES, SECOND_PAGE: second}
            await time_in_turn({name: partial(_load, browser, *page) for name, page in pages.items()}, repeats)


async def _add_webhooks(database_url: str) -> None:
    """Add the webhooks that the events have gone to, unless they are there. The last of each tenant is failing."""
    store = Store.connect(database_url)
    try:
        ids = {(tenant, number): webhook_id(tenant, number) for tenant in range(TENANTS) for number in range(WEBHOOKS)}
        known = (await store.webhooks.many(set(ids.values()))).readable
        for (tenant, number), id_ in ids.items():
            if id_ not in known:
                url = f"https://{tenant_name(tenant)}.example/hooks/{number}"
                await store.webhooks.add(
                    Webhook(id=id_, tenant=tenant_name(tenant), url=url, events=["*"], secret="whsec_b25l")
                )
            if number == WEBHOOKS - 1:
                failed = AttemptResult(id_, "failed", utc_now(), status_code=503, error="http_503", text="no database")
                await store.health.record([failed])
    finally:
        await store.close()


async def _older(browser: httpx.AsyncClient, path: str) -> str:
    """Return the path of the next page of a list."""
    found = re.search(r'href="([^"]+)" rel="next"', await _load(browser, path, ""))
    if not found:
        raise Failed(f"{path} has one page")
    return unescape(found[1])


async def _load(browser: httpx.AsyncClient, path: str, text: str) -> str:
    """Load a page. Raises `Failed`, also if the page is another one than was meant."""
    try:
        answer = await browser.get(path, timeout=LOAD_TIMEOUT)
    except httpx.TransportError as error:
        raise Failed(repr(error)) from error
    if answer.status_code != 200:
        raise Failed(f"{path} was answered with {answer.status_code}")
    if text not in answer.text:
        raise Failed(f"{path} has no {text!r}")
    return answer.text
