"""A server ends each connection after a while: every five minutes by default."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from temporalio.api.workflowservice.v1 import GetSystemInfoRequest

from drills.stack import temporal_service
from drills.supervisor import Supervisor
from hookkeeper.temporal.server.connection import LateClient
from temporal_processes import free_ports
from timeouts import WAIT_TIMEOUT

CALLERS, SECONDS = 20, 6.0
"""Without repeats, a call failed in each of four runs."""


@asynccontextmanager
async def impatient_server(folder: Path) -> AsyncIterator[LateClient]:
    """Run a server that ends each connection after a second; yield a client as API and worker have it."""
    ports = free_ports()
    service = temporal_service(folder, ports)
    values = ('frontend.keepAliveMaxConnectionAge="1s"', "frontend.rps=100000")
    async with Supervisor(folder) as supervisor:
        await supervisor.start(
            replace(service, argv=[*service.argv, *(f"--dynamic-config-value={value}" for value in values)])
        )
        client = LateClient(address=f"127.0.0.1:{ports.temporal}")
        await client.until_connected(WAIT_TIMEOUT)
        yield client


async def test_a_call_that_meets_the_end_of_its_connection_is_made_again(tmp_path: Path) -> None:
    made = 0
    async with impatient_server(tmp_path) as client:
        end = asyncio.get_running_loop().time() + SECONDS

        async def call() -> None:
            nonlocal made
            while asyncio.get_running_loop().time() < end:
                await client.workflow_service.get_system_info(GetSystemInfoRequest())
                made += 1

        async with asyncio.TaskGroup() as callers:
            for _ in range(CALLERS):
                callers.create_task(call())
    assert made > CALLERS
