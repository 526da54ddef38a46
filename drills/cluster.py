"""The processes of a drill: PostgreSQL, Temporal, two workers and the APIs. Each is restarted when it dies."""

import asyncio
import os
import random
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil  # type: ignore[import-untyped]

from cli.console import Failed
from cli.datadir import DataDir
from cli.ports import LOCALHOST, Ports, free_ports
from drills import production, stack
from drills.clocks import Clocks, clocks_in
from drills.postgres import Postgres
from drills.relays import Relay, relaying
from drills.schedule import CLOCKS
from drills.shape import EMBEDDED, WORKERS, Shape
from drills.stack import Stack
from drills.supervisor import Service, Supervisor
from hookkeeper.settings import Settings

PORTS = range(20_000, 32_000)
"""The system gives them to no socket that asks for any; chosen at random, for drills that start at the same moment."""
POLL_INTERVAL = 0.25
RECOVERY_TIMEOUT = 180.0
"""Seconds in which a process has to be ready again, while others are killed."""


class Memory(NamedTuple):
    """Resident megabytes of a process, without and with its children."""

    own: float
    whole: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running stack, a client of its API, and what a drill can do to its processes."""

    shape: Shape
    stack: Stack
    http: httpx.AsyncClient
    metrics: str
    """The URL of the first API's metrics."""
    database: Postgres
    clocks: Clocks | None = None
    """None if clocks cannot be set."""
    relays: tuple[Relay, ...] = ()
    """Relays through which the API connects, in production all processes to Temporal, if any."""

    def pid(self, name: str) -> int | None:
        """Return the process id; None while the process is down."""
        return self.stack.supervisor.pid(name)

    def signal(self, name: str, number: signal.Signals, pid: int | None = None) -> int | None:
        """Send a signal to a process, or only to `pid` if given; return its id, or None if it is down."""
        found = self.pid(name)
        if found is None or pid not in (None, found):
            return None
        try:
            os.kill(found, number)
        except ProcessLookupError:  # it has just died, and the supervisor does not know yet
            return None
        return found

    async def until_ready(self, name: str, killed: int | None = None) -> None:
        """Wait until a process is ready, and is not the one that was killed. Raises `Failed`."""
        try:
            async with asyncio.timeout(RECOVERY_TIMEOUT):
                while self.pid(name) in (None, killed) or not await self.stack.services[name].ready():
                    await asyncio.sleep(POLL_INTERVAL)
        except TimeoutError:
            raise Failed(f"{name} was not ready again within {RECOVERY_TIMEOUT:g} s") from None

    async def memory(self, name: str) -> Memory | None:
        """Return the memory of a process; None while it is down."""
        with suppress(psutil.Error):
            if pid := self.pid(name):
                process = psutil.Process(pid)
                own, *others = [each.memory_info().rss / 2**20 for each in (process, *process.children())]
                return Memory(own, own + sum(others))
        return None


@asynccontextmanager
async def running(
    shape: Shape = EMBEDDED,
    *,
    folder: Path | None = None,
    disk: Path | None = None,
    own_clocks: bool = False,
    relayed: bool = False,
    variables: Mapping[str, str] | None = None,
    temporal_config: tuple[str, ...] = (),
    python: str = sys.executable,
) -> AsyncIterator[Cluster]:
    """Run all processes until the block ends.

    Data and logs are in `folder`, and the database's data is on `disk`; each is a temporary folder if not given. With
    `own_clocks`, the clocks of workers and API can be set. If `relayed`, the API connects through relays, and in
    production all processes to Temporal. `variables` are added to the environment of workers and API, and
    `temporal_config` to the dynamic configuration of the embedded server. `python` is the interpreter of workers and
    API, which may be that of another release.
    """
    async with AsyncExitStack() as resources:
        temporary = resources.enter_context(tempfile.TemporaryDirectory(prefix="hookkeeper-drill-"))
        folder, variables = folder or Path(temporary), variables or {}
        clocks: Clocks | None = None
        relays: tuple[Relay, ...] = ()
        if shape.is_production:
            planned = production.planned(shape, folder, disk, variables, relayed)
            made, plan = await resources.enter_async_context(planned)
            database, relays = made.postgres, (made.relay,) if made.relay else ()
            metrics = plan.environments[shape.apis[0]]["HOOKKEEPER_METRICS_ADDRESS"]
        else:
            sockets = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="hookkeeper-pg-")))
            database = Postgres((disk or sockets) / "data", sockets)
            await asyncio.to_thread(database.make)
            ports = free_ports(Ports(*random.sample(PORTS, 4)))
            clocks = clocks_in(folder) if own_clocks else None
            environments = {name: {**variables, **(clocks.environment(name) if clocks else {})} for name in CLOCKS}
            metrics = f"{LOCALHOST}:{ports.metrics}"
            environments["api"] |= {"HOOKKEEPER_METRICS_ADDRESS": metrics}
            if relayed:
                relays, relayed_variables = await resources.enter_async_context(relaying(sockets, ports.temporal))
                environments["api"] |= relayed_variables
            services = (stack.temporal_service(folder, ports, dynamic_config=temporal_config), database.service)

            async def start(supervisor: Supervisor) -> Sequence[Service]:
                await asyncio.gather(*map(supervisor.start, services))
                return services

            plan = stack.StackPlan(
                data=DataDir(folder),
                ports=ports,
                settings=Settings(_env_file=None, database_url=database.url),
                workers=WORKERS,
                foundation=start,
                environments=environments,
            )
        running_stack = await resources.enter_async_context(stack.running(replace(plan, python=python)))
        http = await resources.enter_async_context(stack.client(running_stack.url, running_stack.admin_key))
        yield Cluster(shape, running_stack, http, f"http://{metrics}/metrics", database, clocks, relays)
