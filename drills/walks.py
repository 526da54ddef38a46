"""What the drills of release and recovery share: many events of one webhook, everything killed midway, the count."""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from drills import cluster
from drills.cluster import Cluster
from drills.drill import TENANT
from drills.explaining import was_in_flight
from drills.faults import Faults
from drills.load_generator import LoadGenerator
from drills.observations import Request, Window
from drills.postgres import Postgres
from drills.receiver import Receivers, receiving
from drills.schedule import EVERYTHING, Fault
from hookkeeper.cli.console import out
from hookkeeper.cli.processes import run

PATIENCE = 600.0
"""Seconds that anything may take."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that such a drill needs."""

    built: Cluster
    receivers: Receivers
    poster: LoadGenerator
    faults: Faults

    async def until_seen(self, count: int) -> None:
        """Wait until the receiver has got so many events."""
        async with asyncio.timeout(PATIENCE):
            while len({each.event_id for each in self.receivers.requests}) < count:
                await asyncio.sleep(0.05)

    async def kill_everything(self) -> Window:
        """Kill all processes at once; return when all are back."""
        await self.faults.carry_out([Fault(0.0, "kill everything", EVERYTHING)])
        return self.faults.windows[-1]

    async def until(self, path: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask until the answer is as wanted, whoever is down meanwhile."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    answer = await self.built.http.get(path)
                    if answer.status_code == 200 and is_so(answer.json()):
                        return answer.json()  # type: ignore[no-any-return]
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.5)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a receiver got of what it should get once."""

    wanted: int
    seen: int
    """Events that came."""
    again: int
    """Requests for an event that had come."""
    unexplained: int
    """Of these, such that were not under way, nor was the one before, when everything was killed."""
    in_flight: int
    """Requests that were."""

    @property
    def passed(self) -> bool:
        return self.seen == self.wanted and not self.unexplained and self.again <= self.in_flight


def count(wanted: int, requests: list[Request], windows: list[Window]) -> Counted:
    """Hold what came against what should have come."""
    seen: dict[str, list[Request]] = {}
    for each in sorted(requests, key=lambda request: request.arrived):
        seen.setdefault(each.event_id, []).append(each)
    counts = Counter({event_id: len(got) - 1 for event_id, got in seen.items()})
    unexplained = sum(
        not any(was_in_flight(each, windows) for each in got[: n + 1])
        for got in seen.values()
        for n in range(1, len(got))
    )
    in_flight = sum(was_in_flight(each, windows) for each in requests)
    return Counted(wanted, len(seen), counts.total(), unexplained, in_flight)


@asynccontextmanager
async def stage(seed: int) -> AsyncIterator[Stage]:
    """Start everything for the length of the block."""
    with (
        tempfile.TemporaryDirectory(prefix="hookkeeper-pg-") as sockets,
        tempfile.TemporaryDirectory(prefix="hookkeeper-drill-") as folder,
    ):
        registry = Postgres(Path(sockets) / "data", Path(sockets))
        await asyncio.to_thread(registry.make)
        async with cluster.running(Path(folder), registry) as built, receiving() as receivers:
            yield Stage(built, receivers, LoadGenerator(built.http, TENANT, seed), Faults(built, None))


def tell(text: str) -> None:
    out.print(f"  [dim]{text}[/dim]")


def print_counted(counted: Counted) -> None:
    out.print(f"  {counted.seen} of {counted.wanted} events came")
    out.print(
        f"  {counted.again} came again, {counted.unexplained} of them unexplained;"
        f" {counted.in_flight} were under way when everything was killed"
    )


def main(drill: Callable[[int, int, float], Awaitable[bool]], events: int, rate: float, description: str) -> None:
    """Carry a drill out, and end with its code."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the events")
    parser.add_argument("--events", type=int, default=events, help="how many (%(default)d)")
    parser.add_argument("--rate", type=float, default=rate, help="events a second that are posted (%(default)g)")
    asked = parser.parse_args()
    passed: list[bool] = []

    async def work() -> None:
        passed.append(await drill(asked.seed, asked.events, asked.rate))

    run(work())
    out.print("\n[green]PASS[/green]" if passed == [True] else "\n[red]FAIL[/red]")
    raise SystemExit(0 if passed == [True] else 1)
