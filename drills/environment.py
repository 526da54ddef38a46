"""What a drill runs in: the processes, receivers, a load generator and a fault injector."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from drills import answers, cluster
from drills.cluster import Cluster
from drills.disk import SmallDisk
from drills.event_log import EventLog
from drills.fault_injector import FaultInjector
from drills.load_generator import RETRYABLE, LoadGenerator
from drills.observations import Observations, Window
from drills.receiver import Receivers, receiving
from drills.schedule import EVERYTHING, Fault
from drills.shape import EMBEDDED, WORKERS, Shape

TENANT = "drill"
RETRIES: dict[str, Any] = {"schedule": [1.0] * 49}
"""Every second, as often as a schedule allows: requests that fail at random do not fail that often in a row."""
TIMEOUT = 600.0
"""Seconds that any step may take."""
STUCK_TIMEOUT = 120.0
"""Seconds in which something has to happen while a run is open: twice the longest pause that Hookkeeper makes."""


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

    async def register(self, name: str, answer: answers.Answers, retry: dict[str, Any] = RETRIES, **fields: Any) -> str:
        """Register a webhook whose receiver answers as given; return its id."""
        usual = {"tenant": TENANT, "timeout": answers.WEBHOOK_TIMEOUT, "events": ["drill.*"], "retry": retry}
        return await self.receivers.register(self.http, name, answer, **{**usual, **fields})

    async def until_received(self, count: int) -> None:
        """Wait until the receivers have got this many events."""
        if not await until(lambda: len({request.event_id for request in self.receivers.requests}) >= count, TIMEOUT):
            raise TimeoutError(f"the receivers did not get {count} events")

    async def kill_workers(self) -> None:
        """Kill all workers at once; return when all are ready again."""
        await self.faults.inject([Fault(0.0, "kill", name) for name in WORKERS])

    async def kill_everything(self) -> Window:
        """Kill all processes at once; return when all are ready again."""
        await self.faults.inject([Fault(0.0, "kill everything", EVERYTHING)])
        return self.faults.windows[-1]

    async def observe(self, webhooks: dict[str, str], **more: Any) -> Observations:
        """Wait until all events are final, and return what was recorded of these webhooks, whose names are by id."""
        log = EventLog(self.http, TENANT, webhooks)
        await log.until_final(STUCK_TIMEOUT, self.receivers.latest)
        await log.read([accepted.event_id for accepted in self.load.accepted])
        return Observations(
            webhooks=tuple(webhooks.values()),
            accepted=tuple(self.load.accepted),
            requests=tuple(self.receivers.requests),
            logged=tuple(log.attempts),
            statuses=log.statuses,
            windows=tuple(self.faults.windows),
            unaccepted=tuple(self.load.unaccepted),
            **{"refused": tuple(self.load.refused), **more},
        )

    async def request(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Make a request, and repeat it while the server is busy or does not answer. Raises TimeoutError."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                with suppress(httpx.TransportError):
                    response = await self.http.request(method, path, json=body)
                    if response.status_code not in RETRYABLE:
                        return response
                await asyncio.sleep(1)

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


async def until(is_met: Callable[[], bool], seconds: float) -> bool:
    """Wait until the condition is met, or the time is over; return whether it is met."""
    ends = time.monotonic() + seconds
    while not is_met() and time.monotonic() < ends:
        await asyncio.sleep(0.05)
    return is_met()


@asynccontextmanager
async def meanwhile(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do something until the block ends; an error of it ends the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
        yield
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def environment(
    seed: int,
    shape: Shape = EMBEDDED,
    *,
    disk: SmallDisk | None = None,
    on_fault: Callable[[float, str], None] = lambda at, text: None,
    **options: Any,
) -> AsyncIterator[Environment]:
    """Start everything, and stop it when the block ends. The options are those of `cluster.running`."""
    async with (
        cluster.running(shape, disk=disk.folder if disk else None, **options) as started,
        receiving() as receivers,
    ):
        load = LoadGenerator(started.http, TENANT, seed)
        yield Environment(started, receivers, load, FaultInjector(started, disk, on_fault))
