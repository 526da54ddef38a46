"""What a drill runs in: the processes, receivers, a load generator and a fault injector."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from drills import answers, cluster
from drills.cluster import Cluster
from drills.disk import SmallDisk
from drills.fault_injector import FaultInjector
from drills.load_generator import LoadGenerator
from drills.observations import Window
from drills.receiver import Answers, Receivers, receiving
from drills.schedule import EVERYTHING, Fault
from drills.shape import EMBEDDED, WORKERS, Shape

TENANT = "drill"
RETRIES: dict[str, Any] = {"schedule": [1.0] * 49}
"""Every second, as often as a schedule allows: requests that fail at random do not fail that often in a row."""
TIMEOUT = 600.0
"""Seconds that any step may take."""

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything that a drill needs."""

    cluster: Cluster
    receivers: Receivers
    load: LoadGenerator
    faults: FaultInjector

    @property
    def http(self) -> httpx.AsyncClient:
        """A client of the API with the admin key."""
        return self.cluster.http

    async def register(self, name: str, answer: Answers, retry: dict[str, Any] = RETRIES, **fields: Any) -> str:
        """Register a webhook whose receiver answers as given; return its id."""
        url = f"{self.receivers.url}/{name}"
        webhook = await self.create_webhook(
            **{"events": ["drill.*"], "url": url, "name": name, "retry": retry, **fields}
        )
        self.receivers.answers[name], self.receivers.secrets[name] = answer, webhook["secret"]
        webhook_id: str = webhook["id"]
        return webhook_id

    async def create_webhook(self, **fields: Any) -> dict[str, Any]:
        response = await self.http.post(
            "/v1/webhooks", json={"tenant": TENANT, "timeout": answers.WEBHOOK_TIMEOUT, **fields}
        )
        webhook: dict[str, Any] = response.raise_for_status().json()
        return webhook

    async def until_received(self, count: int) -> None:
        """Wait until the receivers have got this many events."""
        async with asyncio.timeout(TIMEOUT):
            while len({request.event_id for request in self.receivers.requests}) < count:
                await asyncio.sleep(0.05)

    async def kill_workers(self) -> None:
        """Kill all workers at once; return when all are ready again."""
        await self.faults.inject([Fault(0.0, "kill", name) for name in WORKERS])

    async def kill_everything(self) -> Window:
        """Kill all processes at once; return when all are ready again."""
        await self.faults.inject([Fault(0.0, "kill everything", EVERYTHING)])
        return self.faults.windows[-1]

    async def until(self, path: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read a resource until it meets the condition; errors are retried. A TimeoutError has the last answer."""
        latest = "no answer"
        try:
            async with asyncio.timeout(TIMEOUT):
                while True:
                    try:
                        response = await self.http.get(path)
                        if response.status_code == 200 and condition(resource := response.json()):
                            return resource  # type: ignore[no-any-return]
                        latest = f"{response.status_code}: {response.text[:500]}"
                    except httpx.TransportError as error:
                        latest = repr(error)
                    await asyncio.sleep(0.5)
        except TimeoutError:
            raise TimeoutError(f"GET {path} did not become what the drill waits for; last answer: {latest}") from None


@asynccontextmanager
async def environment(
    seed: int,
    shape: Shape = EMBEDDED,
    *,
    folder: Path | None = None,
    disk: SmallDisk | None = None,
    own_clocks: bool = False,
    relayed: bool = False,
    variables: Mapping[str, str] | None = None,
    temporal_config: tuple[str, ...] = (),
    python: str = sys.executable,
    on_fault: Callable[[float, str], None] = lambda at, text: None,
) -> AsyncIterator[Environment]:
    """Start everything, and stop it when the block ends."""
    running = cluster.running(
        shape,
        folder=folder,
        disk=disk.folder if disk else None,
        own_clocks=own_clocks,
        relayed=relayed,
        variables=variables,
        temporal_config=temporal_config,
        python=python,
    )
    async with running as started, receiving() as receivers:
        load = LoadGenerator(started.http, TENANT, seed)
        yield Environment(started, receivers, load, FaultInjector(started, disk, on_fault))
