"""The hostile tenant: its requests, and what became of them."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import aiohttp
import httpx
from aiohttp import web

TENANT = "hostile"
SECRET = "a-secret-that-no-key-of-the-tenant-may-read"
BATCH = 200
"""Events of a batch: so few that a busy machine accepts all of them in time."""
REFUSED_PAUSE = 0.2

Attack = Callable[["Tenant"], Coroutine[Any, Any, None]]
"""Prepares itself, waits for `start`, and continues until it is cancelled."""


@dataclass
class Tenant:
    """The hostile tenant's client, its receiver, and the number of responses by status."""

    http: httpx.AsyncClient
    random: Random
    targets: dict[str, Any]
    """What the operator has created for the drill: `race` is a webhook with a secret header, `page_key` a key for the
    session of the open pages. `operator` is the operator's own key."""
    start: asyncio.Barrier
    """All attacks begin at once, when all are prepared."""
    receiver: str = ""
    """Its HTTP receiver: `/empty` answers at once, `/fail` with 500, `/hang` never, `/seen` records whether the secret
    arrived."""
    answers: dict[str, Counter[int]] = field(default_factory=dict)
    received: Counter[str] = field(default_factory=Counter)
    """Requests that the receiver got, by path."""
    broken: list[str] = field(default_factory=list)
    """What must work beside the attack, and did not."""
    leaked: bool = False
    name: str = TENANT

    @asynccontextmanager
    async def another(self, name: str, start: asyncio.Barrier) -> AsyncIterator["Tenant"]:
        """Return another tenant with a key of its own, and the same receiver and counters."""
        made = await self.operate("keys", "POST", "/v1/keys", {"name": name, "tenant": name})
        assert made is not None
        async with client(str(self.http.base_url), made.json()["key"]) as http:
            yield replace(self, name=name, http=http, start=start)

    def record(self, request: web.Request) -> None:
        """Record a request that the receiver got, and whether it has the secret."""
        self.received[request.path] += 1
        self.leaked |= SECRET in request.headers.values() and request.path == "/seen"

    async def operate(self, attack: str, method: str, path: str, body: Any = None) -> httpx.Response | None:
        """Send a request of the operator, as `call` does."""
        return await self.call(attack, method, path, body, {"authorization": f"Bearer {self.targets['operator']}"})

    async def call(
        self, attack: str, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response | None:
        """Send a request, and count its status; 0 without a response."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        counted = self.answers.setdefault(attack, Counter())
        try:
            answer = await self.http.request(method, path, content=content, headers=headers)
        except httpx.TransportError:
            counted[0] += 1
            return None
        counted[answer.status_code] += 1
        return answer

    async def webhooks(self, attack: str, count: int, **fields: Any) -> list[str]:
        """Register webhooks, or as many as the API accepts; return their ids."""
        made = []
        for n in range(count):
            webhook = {"events": [attack], **fields, "name": f"{n}"}
            answer = await self.call(attack, "POST", "/v1/webhooks", webhook)
            while answer is not None and answer.status_code == 429:
                await asyncio.sleep(REFUSED_PAUSE)
                answer = await self.call(attack, "POST", "/v1/webhooks", webhook)
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

    async def post_all(self, attack: str, events: list[dict[str, Any]]) -> None:
        """Post events in batches, and those that are refused again."""
        while events:
            batch, events = events[:BATCH], events[BATCH:]
            answer = await self.call(attack, "POST", "/v1/events/batch", {"events": batch})
            items = answer.json().get("items", []) if answer is not None else []
            refused = [event for n, event in enumerate(batch) if not items or items[n]["status"] not in (200, 202)]
            events = refused + events
            await asyncio.sleep(REFUSED_PAUSE if refused else 0)

    async def until_received(self, count: int) -> None:
        """Wait until the receiver has got this many requests."""
        while self.received.total() < count:
            await asyncio.sleep(REFUSED_PAUSE)

    async def flood(
        self,
        attack: str,
        method: str,
        paths: Iterator[str],
        *,
        rate: float,
        connections: int,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> None:
        """Send requests on some connections until cancelled, `rate` a second at most; by default with the key.

        aiohttp's client is cheaper than httpx: the flood shares the cores with the server.
        """
        counted = self.answers.setdefault(attack, Counter())
        clock = asyncio.get_running_loop().time

        async def send_all(due: float) -> None:
            while True:
                await asyncio.sleep(due - clock())
                due = max(due, clock()) + connections / rate
                try:
                    async with http.request(method, next(paths), data=content, allow_redirects=False) as answer:
                        await answer.read()
                except (aiohttp.ClientError, TimeoutError):
                    counted[0] += 1
                else:
                    counted[answer.status] += 1

        session = aiohttp.ClientSession(
            str(self.http.base_url),
            headers=self.http.headers if headers is None else headers,
            connector=aiohttp.TCPConnector(limit=connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=30),
        )
        async with session as http, asyncio.TaskGroup() as tasks:
            for n in range(connections):
                tasks.create_task(send_all(clock() + n / rate))


def client(url: str, key: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    limits = httpx.Limits(max_connections=200)
    return httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=10, limits=limits)
