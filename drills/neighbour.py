"""The neighbour drill: a hostile tenant attacks while a quiet one posts two events a second.

It is judged by the quiet tenant's deliveries, retries and health, the response times of the API, and memory. The tenant
attacks in many ways at once, or in the way of one case.
"""

import asyncio
import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from cli.console import Failed
from drills.answers import always
from drills.drill import print_step
from drills.environment import Environment, environment, meanwhile, until
from drills.event_log import read_json
from drills.event_loops import watched
from drills.hostile import NESTED_TYPE
from drills.hostile_tenant import SECRET, TENANT
from drills.name_server import QUIET, name_server
from drills.open_pages import PageCounts
from drills.shape import EMBEDDED, WORKERS, Shape
from drills.stack import client

QUIET_TENANT, QUIET_TYPE = "quiet", "quiet.ran"
RATE = 2.0
"""Events a second of the quiet tenant."""
ALONE_SECONDS = 10.0
"""Duration of the measurement without the hostile tenant."""
CASE_VARIABLES = {"HOOKKEEPER_MAX_WEBHOOKS_PER_TENANT": "3000", **watched(50)}
HEALTH_INTERVAL, MEMORY_INTERVAL = 0.25, 1.0
START_TIMEOUT, DELIVERY_TIMEOUT = 400.0, 60.0
P95_LIMIT, LATEST_LIMIT, HEALTH_LIMIT = 1.0, 3.0, 0.5
"""Seconds."""
MEMORY_LIMIT = 900.0
"""Megabytes."""
BLOCKED = r"event loop blocked for (\d+) ms"
NESTED_SCHEMA: dict[str, Any] = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "anyOf": [
                {"type": "object", "properties": {"a": {"$ref": "#/$defs/node"}}, "required": ["b"]},
                {"type": "object", "properties": {"a": {"$ref": "#/$defs/node"}}, "required": ["c"]},
                {"type": "object", "properties": {"a": {"$ref": "#/$defs/node"}}, "required": ["d"]},
            ]
        }
    },
}


@dataclass
class Observed:
    """What was measured for the quiet tenant in a period."""

    posted: dict[str, float] = field(default_factory=dict)
    """Time at which each event's POST began, by id."""
    accepted: dict[str, float] = field(default_factory=dict)
    """Time at which each POST was answered with 202."""
    refused: list[str] = field(default_factory=list)
    arrived: dict[str, float] = field(default_factory=dict)
    health: list[float] = field(default_factory=list)
    """Seconds that `/healthz` took; infinite without a response."""

    @property
    def lateness(self) -> list[float]:
        """Seconds from POST to receiver, sorted; infinite for an event that did not arrive."""
        return self._seconds_until(self.arrived)

    @property
    def waits(self) -> list[float]:
        """Seconds from POST to 202, sorted; infinite for an event that was not accepted."""
        return self._seconds_until(self.accepted)

    def _seconds_until(self, times: dict[str, float]) -> list[float]:
        return sorted(times.get(event_id, math.inf) - began for event_id, began in self.posted.items())


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The result of the drill."""

    alone: Observed
    beside: Observed
    memory: dict[str, float]
    """Maximum memory of each process, in megabytes."""
    attempts: list[int]
    """Number of attempts of each of the quiet tenant's deliveries."""
    health: str
    """Health of its webhook at the end."""
    answers: dict[str, dict[str, int]]
    """Responses to the hostile tenant, by attack and status."""
    leaked: bool
    """The hostile tenant got a secret of the operator."""
    received: dict[str, int] = field(default_factory=dict)
    """Requests that its receiver got, by path."""
    broken: list[str] = field(default_factory=list)
    """What a case requires to work beside the attack, and did not."""
    client: float = 0.0
    """CPU seconds of the hostile tenant's client and receivers, which share the cores with the server."""
    blocked: int = 0
    """The most CPU milliseconds for which one step held an event loop of the API or a worker; 0: less than 50.
    It shows whether the server delays the quiet tenant, or a busy machine."""
    pages: PageCounts = field(default_factory=PageCounts)
    """The hostile tenant's open pages."""
    factor: float = 1.0
    """Multiplies the time limits, for a machine that is busy with other work."""

    @property
    def failures(self) -> list[str]:
        """Describe each requirement that is not met."""
        late = self.beside.lateness
        found = {
            f"{len(self.beside.refused)} of the quiet tenant's events were refused": bool(self.beside.refused),
            "an event of the quiet tenant did not arrive": not late or late[-1] == math.inf,
            "the quiet tenant's events were accepted late": quantile(self.beside.waits, 0.95) > P95_LIMIT * self.factor,
            "the quiet tenant's deliveries were late": quantile(late, 0.95) > P95_LIMIT * self.factor,
            "a delivery of the quiet tenant was very late": quantile(late, 1.0) > LATEST_LIMIT * self.factor,
            "/healthz was slow": quantile(self.beside.health, 1.0) > HEALTH_LIMIT * self.factor,
            "a process used too much memory": max(self.memory.values(), default=math.inf) > MEMORY_LIMIT,
            "a delivery of the quiet tenant did not have exactly one attempt": set(self.attempts) != {1},
            f"the quiet tenant's webhook is {self.health}": self.health != "healthy",
            "a secret leaked": self.leaked,
            "the hostile tenant did not attack": not self.answers,
            "the hostile tenant's pages were not live": self.pages.number > 0 and not self.pages.were_live,
        }
        return [description for description, failed in found.items() if failed] + self.broken


def quantile(values: list[float], part: float) -> float:
    """Return the value that this part of the values does not exceed; infinite if there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else math.inf


async def run(
    seed: int, seconds: float, factor: float, pages: int, case: str = "", shape: Shape = EMBEDDED
) -> Neighbour:
    """Measure the quiet tenant alone, then next to the hostile one, which keeps this many pages of the dashboard open.

    With a case, it attacks in this way only, and the quiet tenant is measured alone for less long.
    """
    async with (
        name_server() as address,
        environment(
            seed, shape, variables={"HOOKKEEPER_DNS_SERVERS": address} | (CASE_VARIABLES if case else {})
        ) as env,
    ):
        return await _Drill(env, seed).measure(seconds, factor, pages, case)


class _Drill:
    def __init__(self, env: Environment, seed: int) -> None:
        self._cluster, self._receivers, self._admin = env.cluster, env.receivers, env.http
        self._seed = seed
        self._processes = (*WORKERS, *env.cluster.shape.apis)
        self._memory = dict.fromkeys(self._processes, 0.0)

    async def measure(self, seconds: float, factor: float, pages: int, case: str) -> Neighbour:
        webhook = await self._register_quiet()
        keys = {tenant: await self._key(tenant) for tenant in (QUIET_TENANT, TENANT)}
        async with client(str(self._admin.base_url), keys[QUIET_TENANT]) as quiet:
            alone = await self._observe(quiet, "alone", ALONE_SECONDS / 2 if case else ALONE_SECONDS)
            print_step(f"alone: half of its events arrive within {quantile(alone.lateness, 0.5) * 1000:.0f} ms")
            targets = await self._prepare_targets()
            async with self._hostile(keys[TENANT], seconds, targets, pages, case) as hostile:
                with_pages = f", with {pages} open pages" if pages else ""
                print_step(f"the hostile tenant attacks for {seconds:g} s{with_pages}")
                beside = await self._observe(quiet, "beside", seconds)
                out, _ = await hostile.communicate()
            if hostile.returncode:
                raise Failed(f"the hostile tenant ended with {hostile.returncode}")
            found = json.loads(out)
            attempts = await self._attempts(quiet, beside.posted)
            shown = await read_json(self._admin, f"/v1/webhooks/{webhook}")
        return Neighbour(
            alone,
            beside,
            self._memory,
            attempts,
            shown["health"]["status"] if shown else "unknown",
            found["answers"],
            found["leaked"],
            found["received"],
            found["broken"],
            found["cpu"],
            self._blocked(),
            PageCounts(
                pages, Counter(found["pages"]["loads"]), Counter(found["pages"]["streams"]), found["pages"]["messages"]
            ),
            factor,
        )

    async def _register_quiet(self) -> str:
        url = f"{self._receivers.url.replace('127.0.0.1', QUIET)}/quiet"
        fields = {"tenant": QUIET_TENANT, "url": url, "events": [QUIET_TYPE]}
        return await self._receivers.register(self._admin, "quiet", always(200), **fields)

    async def _prepare_targets(self) -> dict[str, Any]:
        """Create what belongs to the operator and is attacked."""
        race = {
            "tenant": TENANT,
            "url": "http://127.0.0.1:18999/",
            "events": ["race"],
            "headers": {"x-secret": SECRET},
            "retry": {"schedule": [1]},
        }
        # An expensive schema may be refused when it is saved; then events of the type are not checked.
        await self._admin.post("/v1/event-types", json={"name": NESTED_TYPE, "schema": NESTED_SCHEMA})
        operator = self._admin.headers["authorization"].removeprefix("Bearer ")
        race_id = (await self._create("/v1/webhooks", race))["id"]
        return {"race": race_id, "page_key": await self._key(TENANT), "operator": operator}

    async def _key(self, tenant: str) -> str:
        return str((await self._create("/v1/keys", {"name": tenant, "tenant": tenant}))["key"])

    async def _create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._admin.post(path, json=body)
        answer.raise_for_status()
        made: dict[str, Any] = answer.json()
        return made

    @asynccontextmanager
    async def _hostile(
        self, key: str, seconds: float, targets: dict[str, Any], pages: int, case: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run the hostile tenant's process until the block ends; the block begins when its attacks do."""
        argv = (str(self._admin.base_url), key, str(seconds), str(self._seed), json.dumps(targets), str(pages), case)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "drills.hostile", *argv, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_TIMEOUT):
                if not await process.stdout.readline():
                    raise Failed("the hostile tenant did not start")
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()

    async def _observe(self, quiet: httpx.AsyncClient, name: str, seconds: float) -> Observed:
        """Post events of the quiet tenant, and watch the API and the processes meanwhile."""
        seen = Observed()
        clock = asyncio.get_running_loop().time
        async with meanwhile(self._watch_health(seen), self._watch_memory()):
            began = clock()
            async with asyncio.TaskGroup() as posts:
                for n in range(int(seconds * RATE)):
                    await asyncio.sleep(began + n / RATE - clock())
                    posts.create_task(self._post(quiet, f"{name}-{self._seed}-{n}", seen))
            requests = self._receivers.requests
            await until(lambda: seen.posted.keys() <= {each.event_id for each in requests}, DELIVERY_TIMEOUT)
        for request in reversed(requests):  # the first request of each event counts
            if request.event_id in seen.posted:
                seen.arrived[request.event_id] = request.arrived
        return seen

    async def _post(self, quiet: httpx.AsyncClient, event_id: str, seen: Observed) -> None:
        seen.posted[event_id] = time.time()
        try:
            answer = await quiet.post("/v1/events", json={"id": event_id, "type": QUIET_TYPE, "data": {"n": 1}})
        except httpx.TransportError as error:
            seen.refused.append(f"{event_id}: {error!r}")
            return
        if answer.is_success:
            seen.accepted[event_id] = time.time()
        else:
            seen.refused.append(f"{event_id}: {answer.status_code} {answer.text}")

    async def _watch_health(self, seen: Observed) -> None:
        async with httpx.AsyncClient(base_url=self._admin.base_url, trust_env=False, timeout=10) as probe:
            while True:
                began = time.monotonic()
                try:
                    is_well = (await probe.get("/healthz")).is_success
                except httpx.TransportError:
                    is_well = False
                seen.health.append(time.monotonic() - began if is_well else math.inf)
                await asyncio.sleep(HEALTH_INTERVAL)

    async def _watch_memory(self) -> None:
        while True:
            for name in self._processes:
                if memory := await self._cluster.memory(name):
                    self._memory[name] = max(self._memory[name], memory.own)
            await asyncio.sleep(MEMORY_INTERVAL)

    def _blocked(self) -> int:
        """Read from the logs for how long a step has held an event loop, if the processes watch theirs."""
        logs = self._cluster.stack.data_dir / "logs"
        texts = [(logs / f"{name}.log").read_text(errors="replace") for name in self._processes]
        return max((int(found) for text in texts for found in re.findall(BLOCKED, text)), default=0)

    async def _attempts(self, quiet: httpx.AsyncClient, event_ids: Iterable[str]) -> list[int]:
        """Count the attempts of each event's delivery; 0 if they cannot be read."""
        counted = dict.fromkeys(event_ids, 0)
        with suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_TIMEOUT):
                while unread := [event_id for event_id, count in counted.items() if not count]:
                    for event_id in unread:
                        shown = await read_json(quiet, f"/v1/events/{event_id}")
                        counted[event_id] = len(shown["deliveries"][0]["attempts"]) if shown else 0
                    await asyncio.sleep(0.1)
        return [*counted.values()]
