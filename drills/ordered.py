"""A hundred events for an ordered webhook: in order, although each third request fails and all workers die twice."""

import asyncio
import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from drills import cluster
from drills.answers import Answer
from drills.cluster import Cluster
from drills.drill import TENANT, register
from drills.faults import Faults
from drills.load_generator import LoadGenerator
from drills.observations import Request
from drills.postgres import Postgres
from drills.receiver import Answers, Receivers, receiving
from drills.schedule import WORKERS, Fault

NAME = "ordered"
DELAY = 0.05
"""Seconds that the receiver takes: so there is always something in flight at a kill."""
KILLS = (1 / 3, 2 / 3)
"""When so much of all has been delivered, every worker is killed."""
RETRIES = {"schedule": [0.2] * 49}
PATIENCE = 60.0
"""Seconds that posting and delivering may take, whatever their number; each event may take one more."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ordered:
    """What was seen."""

    accepted: list[str]
    """Ids of events in the order of their acceptance."""
    requests: list[Request]
    """As they arrived."""
    kills: int
    seconds: float
    """From the first post to the last delivery."""
    open: int
    """Events that the API does not call succeeded."""

    @property
    def received(self) -> list[str]:
        """Ids as a receiver sees them that drops what it has had."""
        return list(dict.fromkeys(each.event_id for each in self.requests))

    @property
    def repeated(self) -> int:
        """Requests for an event that had been delivered: those in flight at a kill."""
        return sum(each.is_delivery for each in self.requests) - len(self.received)

    @property
    def failed(self) -> int:
        return sum(not each.is_delivery for each in self.requests)

    @property
    def passed(self) -> bool:
        return self.received == self.accepted and not self.open and self.kills == len(KILLS) * len(WORKERS)


async def run(seed: int, events: int, tell: Tell) -> Ordered:
    """Post so many events one after another, killing all workers twice."""
    with (
        tempfile.TemporaryDirectory(prefix="hookkeeper-pg-") as sockets,
        tempfile.TemporaryDirectory(prefix="hookkeeper-drill-") as folder,
    ):
        registry = Postgres(Path(sockets) / "data", Path(sockets))
        await asyncio.to_thread(registry.make)
        async with cluster.running(Path(folder), registry) as built, receiving() as receivers:
            webhook = await register(built.http, receivers, NAME, _fails_every_third(), retry=RETRIES)
            (await built.http.patch(f"/v1/webhooks/{webhook}", json={"ordered": True})).raise_for_status()
            async with asyncio.timeout(PATIENCE + events):
                return await _deliver(built, receivers, LoadGenerator(built.http, TENANT, seed), events, tell)


async def _deliver(built: Cluster, receivers: Receivers, poster: LoadGenerator, events: int, tell: Tell) -> Ordered:
    began = time.time()
    faults = Faults(built, None)
    tell(f"posting {events} events, one after another")
    posting = asyncio.create_task(_post(poster, events))
    for part in KILLS:
        await _until_delivered(receivers, int(part * events))
        tell(f"{int(part * events)} are delivered; killing all workers")
        await faults.carry_out([Fault(0.0, "kill", name) for name in WORKERS])
    await posting
    await _until_delivered(receivers, events)
    requests = sorted(receivers.requests, key=lambda each: each.arrived)
    seconds = max(each.ended for each in requests) - began
    accepted = [each.event_id for each in poster.accepted]
    return Ordered(accepted, requests, len(faults.windows), seconds, await _open(built.http, accepted))


def _fails_every_third() -> Answers:
    """Fail each third request, whichever event it is of."""
    count = itertools.count(1)
    return lambda event_id, number: Answer(503 if next(count) % 3 == 0 else 200, DELAY)


async def _post(poster: LoadGenerator, events: int) -> None:
    for n in range(events):
        await poster.send(n, PATIENCE)


async def _until_delivered(receivers: Receivers, events: int) -> None:
    while len({each.event_id for each in receivers.requests if each.is_delivery}) < events:
        await asyncio.sleep(0.02)


async def _open(http: httpx.AsyncClient, event_ids: list[str]) -> int:
    """Count the events that do not become `succeeded`."""
    left = set(event_ids)
    try:
        async with asyncio.timeout(PATIENCE / 4):
            while left:
                for event_id in sorted(left):
                    shown = await http.get(f"/v1/events/{event_id}", params={"tenant": TENANT})
                    if shown.is_success and shown.json()["status"] == "succeeded":
                        left.discard(event_id)
                await asyncio.sleep(0.1)
    except TimeoutError:
        return len(left)
    return 0
