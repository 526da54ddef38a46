"""A Temporal server in its own process, for tests that suspend it."""

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client

from cli.ports import Ports
from drills.stack import temporal_service
from drills.supervisor import Supervisor
from hookkeeper.temporal.server.data_converter import data_converter
from timeouts import WAIT_TIMEOUT


@dataclass(frozen=True)
class TemporalProcess:
    """A running server."""

    client: Client
    pid: int

    def stop(self) -> None:
        """Suspend it: it keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


async def connected(address: str) -> Client:
    """Connect, also to a server whose port is open and which says "Frontend is not healthy yet"."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            try:
                return await Client.connect(address, data_converter=data_converter())
            except RuntimeError:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def configured_server(folder: Path, *dynamic_config: str) -> AsyncIterator[str]:
    """Run a server with these values of its dynamic configuration until the block ends; yield its address."""
    ports = free_ports()
    async with Supervisor(folder) as supervisor:
        await supervisor.start(temporal_service(folder, ports, dynamic_config=dynamic_config))
        yield f"127.0.0.1:{ports.temporal}"


@asynccontextmanager
async def temporal_process() -> AsyncIterator[TemporalProcess]:
    """Run a server until the block ends."""
    ports = free_ports()
    with tempfile.TemporaryDirectory() as folder:
        async with Supervisor(Path(folder)) as supervisor:
            await supervisor.start(temporal_service(Path(folder), ports))
            address = f"127.0.0.1:{ports.temporal}"
            client = await connected(address)
            pid = supervisor.pid("temporal")
            assert pid
            process = TemporalProcess(client, pid)
            try:
                yield process
            finally:
                process.go_on()
        await asyncio.sleep(0.05)  # see docs/internals/temporal.md: Temporal's threads need a moment at the end


def free_ports() -> Ports:
    """Return ports that are free, and different from those of other test processes."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return Ports(temporal=one.getsockname()[1], ui=two.getsockname()[1])
