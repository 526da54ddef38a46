"""Keeps the processes of a stack running: starts them, waits until they are ready, restarts them, and stops them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cli.local.child_process import KeptProcess, ProcessFailed

MAX_STARTS = 3
"""Starts of a service that dies before it is ready: processes of Temporal may all make the same record, and fail."""


@dataclass(frozen=True)
class Service:
    """A command, and the check whether it is ready."""

    name: str
    argv: Sequence[str]
    ready: Callable[[], Awaitable[bool]]
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the supervisor's own environment."""
    stop_timeout: float = 60.0
    """Seconds between SIGTERM and SIGKILL: more than the own deadline of a worker."""
    start_timeout: float = 120.0
    """Seconds until it has to be ready; for workers, this includes the start of Temporal."""


def listens(address: str, port: int) -> Callable[[], Awaitable[bool]]:
    """Return the check whether a server listens there."""

    async def is_listening() -> bool:
        try:
            _, writer = await asyncio.open_connection(address, port)
        except OSError:
            return False
        writer.close()
        return True

    return is_listening


class Supervisor:
    """Runs services until the block ends."""

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._processes: dict[str, KeptProcess] = {}

    async def start(self, service: Service) -> None:
        """Start a service, return when it is ready, and restart it whenever it dies. Raises `ProcessFailed`."""
        for left in reversed(range(MAX_STARTS)):
            process = await self._start(service.name, service.argv, service.env, service.stop_timeout)
            try:
                await process.until_ready(service.ready, service.start_timeout)
                return
            except ProcessFailed:
                # It is late, has died too often, or was stopped.
                if process.pid or not left or service.name not in self._processes:
                    raise
                await process.stop()  # what it has started may hold its port

    async def run(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Run a command to its end. Raises `ProcessFailed` if its exit code is not 0."""
        await (await self._start(name, argv, env, 0.0)).until_ended()

    async def _start(self, name: str, argv: Sequence[str], env: Mapping[str, str], stop_timeout: float) -> KeptProcess:
        process = self._processes[name] = KeptProcess(name, argv, env, self._log_dir / f"{name}.log", stop_timeout)
        await process.start()
        return process

    async def replace(self, service: Service) -> None:
        """Stop the service of this name, and start this one in its place. Raises `ProcessFailed`."""
        await self.end(service.name)
        await self.start(service)

    async def end(self, name: str) -> None:
        """Stop a service for good."""
        await self._processes.pop(name).stop()

    def pid(self, name: str) -> int | None:
        """Return the process id of a service; None while it is down."""
        process = self._processes.get(name)
        return process.pid if process else None

    async def stop(self) -> None:
        """Stop everything, last started first."""
        while self._processes:
            _, process = self._processes.popitem()
            await process.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
