"""Temporal without Hookkeeper: the same embedded server, and the smallest API and worker that deliver an event."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.client import Client

from benchmarks.contenders.bare_temporal_app import TASK_QUEUE
from benchmarks.contenders.contender import SystemUnderTest
from benchmarks.contenders.services import api_answers, python_service
from drills.stack import temporal_service
from drills.supervisor import Supervisor
from hookkeeper.cli.ports import LOCALHOST, free_ports
from hookkeeper.cli.startup import read_settings
from hookkeeper.temporal.server.readiness import is_polled

MODULE = "benchmarks.contenders.bare_temporal_app"


@asynccontextmanager
async def running(folder: Path, _: bool) -> AsyncIterator[SystemUnderTest]:
    ports = free_ports()
    address = f"{LOCALHOST}:{ports.temporal}"
    env = {"BENCH_TEMPORAL": address, "BENCH_PORT": str(ports.api), "BENCH_FOLDER": str(folder)}
    async with Supervisor(folder / "logs") as supervisor:
        temporal = temporal_service(folder, ports, read_settings().dev_synchronous, search_attributes={})
        await supervisor.start(temporal)
        client = await Client.connect(address)

        async def is_working() -> bool:
            return await is_polled(client, TASK_QUEUE)

        await supervisor.start(python_service("worker", MODULE, is_working, env))
        await supervisor.start(python_service("api", MODULE, api_answers(ports.api), env))
        yield SystemUnderTest(ports.api, "none", supervisor.pid, ("temporal", "worker", "api"))
