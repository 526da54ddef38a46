"""Ten thousand runs that wait for a retry: what they cost, and whether they fire on time when all has been killed."""

import asyncio
import math
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from temporalio.client import Client

from drills import cluster
from drills.answers import Answer
from drills.cluster import Cluster
from drills.drill import TENANT, register
from drills.faults import Faults
from drills.load_generator import LoadGenerator
from drills.memory import Memory, memory_of
from drills.observations import Request
from drills.postgres import Postgres
from drills.receiver import Receivers, receiving
from drills.schedule import EVERYTHING, WORKERS, Fault
from hookkeeper import ids

RESTART = 90.0
"""Seconds from the last event to the first retry: for a look, and for a restart of everything."""
PATIENCE = 120.0
READ_AT_ONCE = 10

WORKER_LIMIT, API_LIMIT = 300.0, 200.0
"""Megabytes."""
LATENESS_LIMIT = 2.0
"""Seconds, for 99 of 100."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Waited:
    """What was measured."""

    runs: int
    twice: int
    """Retries that came a second time."""
    memory: dict[str, Memory]
    restart: float
    """Seconds until everything was ready again."""
    lateness: list[float]
    """Seconds from when a timer should have fired to the request at the receiver; sorted."""

    def quantile(self, part: float) -> float:
        """Give the lateness that this part of the runs did not exceed."""
        return self.lateness[max(0, math.ceil(part * len(self.lateness)) - 1)] if self.lateness else math.inf

    @property
    def fired(self) -> int:
        """Runs whose retry came."""
        return len(self.lateness)

    @property
    def passed(self) -> bool:
        return (
            self.fired == self.runs
            and not self.twice
            and all(self.memory[name].own < WORKER_LIMIT for name in WORKERS)
            and self.memory["api"].own < API_LIMIT
            and self.quantile(0.99) < LATENESS_LIMIT
        )


async def run(seed: int, runs: int, rate: float, tell: Tell) -> Waited:
    """Let so many runs wait, kill everything, and see when they go on."""
    with (
        tempfile.TemporaryDirectory(prefix="hookkeeper-pg-") as sockets,
        tempfile.TemporaryDirectory(prefix="hookkeeper-drill-") as folder,
    ):
        registry = Postgres(Path(sockets) / "data", Path(sockets))
        await asyncio.to_thread(registry.make)
        async with cluster.running(Path(folder), registry) as built, receiving() as receivers:
            return await _wait(built, receivers, LoadGenerator(built.http, TENANT, seed), runs, rate, tell)


async def _wait(
    built: Cluster, receivers: Receivers, poster: LoadGenerator, runs: int, rate: float, tell: Tell
) -> Waited:
    wait = runs / rate + RESTART
    await register(built.http, receivers, "waits", _refuses_once, retry={"schedule": [wait]})
    tell(f"posting {runs} events in {runs / rate:.0f} s; each is refused, and waits for {wait:.0f} s")
    await poster.post(runs / rate, rate)
    await _until(receivers, runs, delivered=False)
    memory = {name: await memory_of(built.pid(name) or 0) for name in (*WORKERS, "api")}
    tell(f"all {runs} wait; killing everything")
    faults = Faults(built, None)
    await faults.carry_out([Fault(0.0, "kill everything", EVERYTHING)])
    restart = faults.windows[0].ended - faults.windows[0].began
    tell(f"everything is back after {restart:.1f} s; waiting for the retries")
    with suppress(TimeoutError):
        async with asyncio.timeout(1.1 * wait + PATIENCE):  # a step may be a tenth longer than it says
            await _until(receivers, runs, delivered=True)
    retries = [each for each in receivers.requests if each.is_delivery]
    lateness = await _lateness(built.temporal, retries)
    return Waited(runs, len(retries) - len(lateness), memory, restart, lateness)


def _refuses_once(_: str, number: int) -> Answer:
    return Answer(503 if number == 1 else 200, 0.0)


async def _until(receivers: Receivers, runs: int, *, delivered: bool) -> None:
    """Wait until so many runs have been refused, or delivered."""
    while sum(each.is_delivery is delivered for each in receivers.requests) < runs:
        await asyncio.sleep(0.5)


async def _lateness(client: Client, retries: list[Request]) -> list[float]:
    """Give the seconds from when each run's timer should have fired to its request, sorted."""
    arrived = {each.event_id: each.arrived for each in reversed(retries)}  # the first of each
    slots = asyncio.Semaphore(READ_AT_ONCE)

    async def late(event_id: str) -> float:
        async with slots:
            return arrived[event_id] - await _due(client, event_id)

    return sorted(await asyncio.gather(*map(late, arrived)))


async def _due(client: Client, event_id: str) -> float:
    """Read in a run's history when its timer should have fired."""
    history = await client.get_workflow_handle(ids.workflow_id(TENANT, event_id)).fetch_history()
    started = next(each for each in history.events if each.HasField("timer_started_event_attributes"))
    seconds = started.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta().total_seconds()
    return started.event_time.ToDatetime(UTC).timestamp() + seconds
