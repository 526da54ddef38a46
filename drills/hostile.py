"""A hostile tenant, in its own process: it does at once everything that has affected another tenant before.

    python -m drills.hostile URL KEY SECONDS SEED TARGETS PAGES   prints the responses to its requests, as JSON

Every loop is limited in rate and time. Requests that the API refuses are counted, and a smaller variant is tried.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
from aiohttp import web

from drills.hostile_receivers import certificate_chain, costly_tls, recording, unreading
from drills.name_server import SILENT
from drills.open_pages import open_pages, session

TENANT = "hostile"
SECRET = "a-secret-that-no-key-of-the-tenant-may-read"
NESTED_TYPE, NESTED_DEPTH = "nested", 20
LARGE_KEY, ALLOWED_KEY = 8192, 4096
PREPARATION_TIMEOUT = 120.0
NICENESS = 5
"""A real tenant's clients run on other machines."""

Attack = Callable[["Tenant"], Coroutine[Any, Any, None]]


@dataclass
class Tenant:
    """The hostile tenant's client, its receivers, and the number of responses by status."""

    http: httpx.AsyncClient
    random: Random
    plain: str
    """Its HTTP receiver: `/empty` answers at once, `/hang` never, `/seen` records whether the secret arrived."""
    unread: str
    """A receiver that accepts connections and never reads."""
    tls: str
    """Its HTTPS receiver, with a long chain of certificates with large keys."""
    authority: dict[int, str]
    """Certificate authorities of that receiver as PEM, by the size of their keys."""
    targets: dict[str, Any]
    """What the operator has created for the drill: `race` is a webhook with a secret header, `page_key` a key for the
    session of the open pages."""
    start: asyncio.Barrier
    """All attacks begin at once, when all are prepared."""
    answers: dict[str, Counter[int]] = field(default_factory=dict)
    leaked: bool = False

    def record(self, request: web.Request) -> None:
        """Record whether the secret has arrived."""
        self.leaked |= SECRET in request.headers.values() and request.path == "/seen"

    async def call(self, attack: str, method: str, path: str, body: Any = None) -> httpx.Response | None:
        """Send a request, and count its status; 0 without a response."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        counted = self.answers.setdefault(attack, Counter())
        try:
            answer = await self.http.request(method, path, content=content)
        except httpx.TransportError:
            counted[0] += 1
            return None
        counted[answer.status_code] += 1
        return answer

    async def webhooks(self, attack: str, count: int, **fields: Any) -> list[str]:
        """Register webhooks, or as many as the API accepts; return their ids."""
        made = []
        for n in range(count):
            answer = await self.call(attack, "POST", "/v1/webhooks", {"events": [attack], **fields, "name": f"{n}"})
            while answer is not None and answer.status_code == 429:
                await asyncio.sleep(0.2)
                answer = await self.call(attack, "POST", "/v1/webhooks", {"events": [attack], **fields, "name": f"{n}"})
            if answer is None or not answer.is_success:
                break
            made.append(answer.json()["id"])
        return made

    async def events(self, attack: str, rate: float, data: Any = None) -> None:
        """Post events of the attack's type until cancelled."""
        async with asyncio.TaskGroup() as posts:
            while True:
                posts.create_task(self.call(attack, "POST", "/v1/events", {"type": attack, "data": data}))
                await asyncio.sleep(self.random.uniform(0.5, 1.5) / rate)


# The attacks. Each prepares itself, then continues until it is cancelled.


async def secret_header(tenant: Tenant) -> None:
    """Keep a masked header while changing the URL to the tenant's own host."""
    webhook, elsewhere = tenant.targets["race"], tenant.plain.replace("127.0.0.1", "127.0.0.2")
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
        if await tenant.webhooks("headers", 1, url=f"{tenant.plain}/empty", headers=words):
            break
    await tenant.start.wait()
    await tenant.events("headers", 10)


async def many_filters(tenant: Tenant) -> None:
    """Post batches of large events to many webhooks with filters."""
    await tenant.webhooks("filters", 60, url=f"{tenant.plain}/empty", filter="event.data.text.contains('y')")
    events = [{"type": "filters", "data": {"text": "x" * 250_000}} for _ in range(20)]
    batch = json.dumps({"events": events}).encode()
    await tenant.start.wait()
    while True:
        await asyncio.gather(*(tenant.call("filters", "POST", "/v1/events/batch", batch) for _ in range(2)))
        await asyncio.sleep(0.5)


async def large_bodies(tenant: Tenant) -> None:
    """Turn small events into large bodies, for a receiver that never reads them."""
    template = '{"text": "{% for i in range(%d) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}"}'
    for size in (1_000_000, 500_000):
        payload = {"template": template.replace("%d", str(size // 50))}
        if await tenant.webhooks("bodies", 4, url=f"{tenant.unread}/", payload=payload, timeout=30):
            break
    await tenant.start.wait()
    await tenant.events("bodies", 10)


async def hanging_receivers(tenant: Tenant) -> None:
    """Register many webhooks whose receiver never answers."""
    await tenant.webhooks("hanging", 60, url=f"{tenant.plain}/hang", timeout=30)
    await tenant.start.wait()
    await tenant.events("hanging", 2)


async def silent_names(tenant: Tenant) -> None:
    """Register many webhooks with host names that no name server resolves."""
    for n in range(40):
        await tenant.webhooks("names", 1, url=f"http://{n}.{SILENT}/", timeout=30)
    await tenant.start.wait()
    await tenant.events("names", 2)


async def expensive_handshakes(tenant: Tenant) -> None:
    """Use a receiver whose certificates are expensive to verify, with the tenant's own authority."""
    for size in (LARGE_KEY, ALLOWED_KEY):
        if await tenant.webhooks("handshakes", 3, url=tenant.tls, tls={"ca": tenant.authority[size]}, timeout=30):
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


ATTACKS: tuple[Attack, ...] = (
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


async def attack(url: str, key: str, seconds: float, seed: int, targets: dict[str, Any], pages: int) -> dict[str, Any]:
    """Attack for some seconds; return the number of responses, and whether the secret arrived.

    Before and meanwhile, so many pages of the dashboard are open, in a session with a key of their own: the key of the
    attacks has reached its rate.
    """
    async with AsyncExitStack() as stack:
        limits = httpx.Limits(max_connections=200)
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        start = asyncio.Barrier(len(ATTACKS) + 1)
        http = httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=10, limits=limits)
        tenant = Tenant(await stack.enter_async_context(http), Random(seed), "", "", "", {}, targets, start)
        tenant.plain = await stack.enter_async_context(recording(tenant.record))
        tenant.unread = await stack.enter_async_context(unreading())
        chains = {size: certificate_chain(size) for size in (LARGE_KEY, ALLOWED_KEY)}
        tenant.authority = {size: chain[-1] for size, (chain, _) in chains.items()}
        tenant.tls = await stack.enter_async_context(costly_tls(*chains[ALLOWED_KEY]))
        reader = await stack.enter_async_context(session(url, targets["page_key"]))
        opened = await stack.enter_async_context(open_pages(reader, pages))
        async with asyncio.timeout(PREPARATION_TIMEOUT):
            while pages and not opened.were_live:
                await asyncio.sleep(0.1)
        tasks = [asyncio.create_task(attack_with(tenant)) for attack_with in ATTACKS]
        async with asyncio.timeout(PREPARATION_TIMEOUT):
            await start.wait()
        print("attacking", flush=True)  # noqa: T201
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        counted = {name: {str(status): n for status, n in found.items()} for name, found in tenant.answers.items()}
        return {"answers": counted, "leaked": tenant.leaked, "pages": vars(opened)}


if __name__ == "__main__":
    os.nice(NICENESS)
    url, key, seconds, seed, targets, pages = sys.argv[1:]
    found = asyncio.run(attack(url, key, float(seconds), int(seed), json.loads(targets), int(pages)))
    print(json.dumps(found))  # noqa: T201
