"""A hostile tenant, in its own process. It does at once all that has affected another tenant before, or one case.

    python -m drills.hostile URL KEY SECONDS SEED TARGETS PAGES CASE   prints what became of its requests, as JSON

Every loop is limited in rate and time. Requests that the API refuses are counted, and a smaller variant is tried.
"""

import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack
from random import Random
from typing import Any

from drills.hostile_cases import CASES, hanging_receivers
from drills.hostile_receivers import certificate_chain, costly_tls, recording, unreading
from drills.hostile_tenant import Attack, Tenant, client
from drills.name_server import SILENT
from drills.open_pages import open_pages, session

NESTED_TYPE, NESTED_DEPTH = "nested", 20
LARGE_KEY, ALLOWED_KEY = 8192, 4096
PREPARATION_TIMEOUT = 300.0
NICENESS = 5
"""A real tenant's clients run on other machines."""


async def secret_header(tenant: Tenant) -> None:
    """Keep a masked header while changing the URL to the tenant's own host."""
    webhook, elsewhere = tenant.targets["race"], tenant.receiver.replace("127.0.0.1", "127.0.0.2")
    slow = {"template": "{% for i in range(20000) %}{% endfor %}{{ event.data }}"}
    await tenant.start.wait()
    while True:
        shown = await tenant.call("secret header", "GET", f"/v1/webhooks/{webhook}")
        if shown is not None and shown.is_success:
            kept = {"headers": shown.json()["headers"], "payload": slow}
            keeping = asyncio.create_task(tenant.call("secret header", "PATCH", f"/v1/webhooks/{webhook}", kept))
            await asyncio.sleep(tenant.random.uniform(0, 0.2))
            await tenant.call("secret header", "PATCH", f"/v1/webhooks/{webhook}", {"url": f"{elsewhere}/seen"})
            await keeping
            await tenant.call("secret header", "POST", f"/v1/webhooks/{webhook}/test")
        await asyncio.sleep(0.5)


async def nested_event(tenant: Tenant) -> None:
    """Post small events that are expensive to check against a recursive schema."""
    data: Any = 1
    for _ in range(NESTED_DEPTH):
        data = {"a": data}
    await tenant.start.wait()
    await tenant.events(NESTED_TYPE, 5, data)


async def many_addresses(tenant: Tenant) -> None:
    """Read and preview webhooks with as many addresses as allowed."""
    ids: list[str] = []
    for count in (1000, 100):
        addresses = [f"reader-{n}@hostile.example" for n in range(count)]
        ids = ids or await tenant.webhooks("addresses", 4, emails=[{"to": addresses, "subject": "x", "text": "x"}])
    await tenant.start.wait()
    while True:
        for id_ in ids:
            await asyncio.gather(
                tenant.call("addresses", "GET", f"/v1/webhooks/{id_}"),
                tenant.call("addresses", "POST", "/v1/webhooks/preview", {"webhook_id": id_}),
            )
        await asyncio.sleep(0.2)


async def large_headers(tenant: Tenant) -> None:
    """Register a webhook with as many header bytes as allowed, which are masked in each response."""
    for count in (30, 3):
        words = {f"x-{n}": " ".join("ab" for _ in range(1365)) for n in range(count)}
        if await tenant.webhooks("headers", 1, url=f"{tenant.receiver}/empty", headers=words):
            break
    await tenant.start.wait()
    await tenant.events("headers", 10)


async def many_filters(tenant: Tenant) -> None:
    """Post batches of large events to many webhooks with filters."""
    await tenant.webhooks("filters", 60, url=f"{tenant.receiver}/empty", filter="event.data.text.contains('y')")
    events = [{"type": "filters", "data": {"text": "x" * 250_000}} for _ in range(20)]
    batch = json.dumps({"events": events}).encode()
    await tenant.start.wait()
    while True:
        await asyncio.gather(*(tenant.call("filters", "POST", "/v1/events/batch", batch) for _ in range(2)))
        await asyncio.sleep(0.5)


async def large_bodies(tenant: Tenant) -> None:
    """Turn small events into large bodies, for a receiver that never reads them."""
    template = '{"text": "{% for i in range(%d) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}"}'
    async with unreading() as url:
        for size in (1_000_000, 500_000):
            payload = {"template": template.replace("%d", str(size // 50))}
            if await tenant.webhooks("bodies", 4, url=f"{url}/", payload=payload, timeout=30):
                break
        await tenant.start.wait()
        await tenant.events("bodies", 10)


async def silent_names(tenant: Tenant) -> None:
    """Register many webhooks with host names that no name server resolves."""
    for n in range(40):
        await tenant.webhooks("names", 1, url=f"http://{n}.{SILENT}/", timeout=30)
    await tenant.start.wait()
    await tenant.events("names", 2)


async def expensive_handshakes(tenant: Tenant) -> None:
    """Use a receiver whose certificates are expensive to verify, with the tenant's own authority."""
    large, allowed = [await asyncio.to_thread(certificate_chain, size) for size in (LARGE_KEY, ALLOWED_KEY)]
    async with costly_tls(*allowed) as url:
        for (*_, root), _ in (large, allowed):
            if await tenant.webhooks("handshakes", 3, url=url, tls={"ca": root}, timeout=30):
                break
        await tenant.start.wait()
        await tenant.events("handshakes", 5)


async def many_schedules(tenant: Tenant) -> None:
    """Create as many schedules as allowed, each as frequent as allowed."""
    await tenant.start.wait()
    for every in (1, 10):
        for n in range(60):
            schedule = {"id": f"s{every}-{n}", "event": {"type": "schedules"}, "every": every, "overlap": "allow_all"}
            answer = await tenant.call("schedules", "POST", "/v1/schedules", schedule)
            if answer is not None and answer.status_code in (409, 422):
                break
    await asyncio.Event().wait()


AT_ONCE: tuple[Attack, ...] = (
    secret_header,
    nested_event,
    many_addresses,
    large_headers,
    many_filters,
    large_bodies,
    hanging_receivers,
    silent_names,
    expensive_handshakes,
    many_schedules,
)


async def attack(
    url: str, key: str, seconds: float, seed: int, targets: dict[str, Any], pages: int, case: str
) -> dict[str, Any]:
    """Attack for some seconds, in the way of the case, or without one in all others at once; return what was counted.

    Before and meanwhile, `pages` pages of the dashboard are open, in a session with a key of their own: the key of
    the attacks has reached its rate.
    """
    attacks = [CASES[case]] if case else AT_ONCE
    async with AsyncExitStack() as stack:
        start = asyncio.Barrier(len(attacks) + 1)
        tenant = Tenant(await stack.enter_async_context(client(url, key)), Random(seed), targets, start)
        tenant.receiver = await stack.enter_async_context(recording(tenant.record))
        reader = await stack.enter_async_context(session(url, targets["page_key"]))
        opened = await stack.enter_async_context(open_pages(reader, pages))
        async with asyncio.timeout(PREPARATION_TIMEOUT):
            while pages and not opened.were_live:
                await asyncio.sleep(0.1)
        tasks = [asyncio.create_task(attack_with(tenant)) for attack_with in attacks]
        started = asyncio.create_task(start.wait())
        done, _ = await asyncio.wait(
            [started, *tasks], timeout=PREPARATION_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            task.result()
        if not done:
            raise TimeoutError("the attacks were not prepared in time")
        print("attacking", flush=True)  # noqa: T201
        tenant.received.clear()
        cpu = time.process_time()
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        cpu = time.process_time() - cpu
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        counted = {name: {str(status): n for status, n in found.items()} for name, found in tenant.answers.items()}
        return {
            "answers": counted,
            "received": tenant.received,
            "broken": tenant.broken,
            "leaked": tenant.leaked,
            "cpu": cpu,
            "pages": vars(opened),
        }


if __name__ == "__main__":
    os.nice(NICENESS)
    url, key, seconds, seed, targets, pages, case = sys.argv[1:]
    found = asyncio.run(attack(url, key, float(seconds), int(seed), json.loads(targets), int(pages), case))
    print(json.dumps(found))  # noqa: T201
