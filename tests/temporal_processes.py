"""A Temporal server in a process of its own, for tests that stop it for a while."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from temporalio.client import Client

from hookkeeper import ids
from hookkeeper.cli.temporal_server import DYNAMIC_CONFIG, find_binary
from hookkeeper.temporal.data_converter import data_converter
from patience import PATIENCE


@dataclass(frozen=True)
class TemporalProcess:
    """A running server."""

    client: Client
    process: asyncio.subprocess.Process

    def stop(self) -> None:
        """Suspend it: it keeps its connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def temporal_process() -> AsyncIterator[TemporalProcess]:
    """Run a server in memory until the block ends."""
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        str(find_binary()),
        *("server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port), "--log-level", "error"),
        *(part for value in DYNAMIC_CONFIG for part in ("--dynamic-config-value", value)),
        *(part for name, type_ in ids.SEARCH_ATTRIBUTES.items() for part in ("--search-attribute", f"{name}={type_}")),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield TemporalProcess(await _connected(f"127.0.0.1:{port}"), process)
    finally:
        if process.returncode is None:
            process.kill()  # also of one that is suspended
        await process.wait()
        await asyncio.sleep(0.05)  # see docs/temporal.md: Temporal's threads need a moment at the end


async def _connected(address: str) -> Client:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await Client.connect(address, data_converter=data_converter())
            except RuntimeError:
                await asyncio.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
