"""A server ends each connection after a while: every five minutes by default."""

import asyncio
from pathlib import Path

import pytest
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest

from hookkeeper.temporal.server.connection import LateClient
from temporal_processes import configured_server
from timeouts import WAIT_TIMEOUT

pytestmark = pytest.mark.processes

CALLERS, SECONDS = 20, 6.0
"""Without repeats, a call failed in each of four runs."""


async def test_a_call_that_meets_the_end_of_its_connection_is_made_again(tmp_path: Path) -> None:
    """Setup: a server that ends each connection after a second."""
    made = 0
    values = ('frontend.keepAliveMaxConnectionAge="1s"', "frontend.rps=100000")
    async with configured_server(tmp_path, *values) as address:
        client = LateClient(address=address)
        await client.until_connected(WAIT_TIMEOUT)
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
