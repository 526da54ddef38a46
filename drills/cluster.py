"""The processes of a drill: PostgreSQL, Temporal, two workers and the API, each real, each restarted when it dies."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from temporalio.client import Client

from drills.clocks import Clocks, clocks_in
from drills.postgres import Postgres
from drills.schedule import CLOCKS, WORKERS
from hookkeeper import ids
from hookkeeper.cli import local, temporal_server
from hookkeeper.cli.console import Failed
from hookkeeper.cli.datadir import DataDir
from hookkeeper.cli.local import Ports
from hookkeeper.cli.run_migrate import migrate_registry
from hookkeeper.cli.supervisor import Service, Supervisor
from hookkeeper.cli.temporal import is_polled
from hookkeeper.settings import Settings
from hookkeeper.temporal.namespace import prepare

POLL = 0.25
RECOVERY = 180.0
"""Seconds in which a process has to be itself again, whatever else is being killed meanwhile."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """All processes by name, and a client of the API."""

    supervisor: Supervisor
    services: dict[str, Service]
    http: httpx.AsyncClient
    temporal: Client
    clocks: Clocks | None
    """None where no clock can be set."""

    def pid(self, name: str) -> int | None:
        """Give the process id; None while the process is down."""
        return self.supervisor.pid(name)

    def signal(self, name: str, number: signal.Signals, pid: int | None = None) -> int | None:
        """Send a signal to a process, where it must be `pid` if that is given; give its id, None where it is down."""
        found = self.pid(name)
        if found is None or pid not in (None, found):
            return None
        try:
            os.kill(found, number)
        except ProcessLookupError:  # it has just died, and is not missed yet
            return None
        return found

    async def until_again(self, name: str, killed: int | None = None) -> None:
        """Wait until a process is there and ready, another one than was killed. Raises `Failed`."""
        try:
            async with asyncio.timeout(RECOVERY):
                while self.pid(name) in (None, killed) or not await self.services[name].ready():
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise Failed(f"{name} was not itself again within {RECOVERY:g} s") from None


@asynccontextmanager
async def running(
    folder: Path, registry: Postgres, *, own_clocks: bool = False, more: Mapping[str, str] | None = None
) -> AsyncIterator[Cluster]:
    """Start everything, with data and logs in `folder`; stop everything when the block ends.

    With `own_clocks`, workers and API have clocks that can be set, where that is possible here. `more` is added to
    their environment.
    """
    data, ports = DataDir(folder), free_ports()
    said = Settings(_env_file=None, database_url=registry.url)
    settings = local.settings_for(said, data, "127.0.0.1", ports, send_emails=False, encrypt=False)
    assert settings.admin_key is not None
    url = local.url("127.0.0.1", ports)
    async with (
        Supervisor(data.logs) as supervisor,
        httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {settings.admin_key.get_secret_value()}"},
            trust_env=False,
            timeout=10,
        ) as http,
        # A client of its own: the other is busy with what the API does not answer.
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=5) as probe,
    ):
        services = {each.name: each for each in (registry.service, _temporal(folder, ports))}
        await asyncio.gather(*(supervisor.start(each) for each in services.values()))
        client = await Client.connect(f"127.0.0.1:{ports.temporal}")
        await prepare(client, settings.retention)
        await migrate_registry(settings)
        environment = local.environment(settings, ports) | dict(more or {})
        clocks = clocks_in(folder) if own_clocks else None
        clock = {name: clocks.environment(name) if clocks else {} for name in CLOCKS}
        workers = (_worker(name, client, environment | clock[name]) for name in WORKERS)
        ours = [*workers, _api(probe, environment | clock["api"])]
        services |= {each.name: each for each in ours}
        await asyncio.gather(*(supervisor.start(each) for each in ours))
        yield Cluster(supervisor, services, http, client, clocks)


def _temporal(folder: Path, ports: Ports) -> Service:
    command = temporal_server.command(
        temporal_server.find_binary(),
        data_dir=folder,
        host="127.0.0.1",
        port=ports.temporal,
        ui_port=ports.ui,
        search_attributes=ids.SEARCH_ATTRIBUTES,
    )

    async def serves() -> bool:
        return await temporal_server.is_serving("127.0.0.1", ports.temporal)

    return Service("temporal", command, serves, temporal_server.ENVIRONMENT)


def _worker(name: str, client: Client, environment: dict[str, str]) -> Service:
    async def polls() -> bool:
        return await is_polled(client, environment.get("HOOKKEEPER_TASK_QUEUE", "hookkeeper"))

    return Service(name, [sys.executable, "-m", "hookkeeper", "worker"], polls, environment, stop_timeout=45.0)


def _api(probe: httpx.AsyncClient, environment: dict[str, str]) -> Service:
    async def answers() -> bool:
        try:
            return (await probe.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    return Service("api", [sys.executable, "-m", "hookkeeper", "api"], answers, environment)


def free_ports() -> Ports:
    """Give three ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(3)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return Ports(*(each.getsockname()[1] for each in sockets))
    finally:
        for each in sockets:
            each.close()
