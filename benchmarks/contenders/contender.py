"""What a contender is, and what runs while it is measured."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from drills.stack import client, probe

REGISTER_TIMEOUT = 30.0
READY_POLL_INTERVAL = 0.02


@dataclass(frozen=True, slots=True)
class Stored:
    """What a contender has stored until now: bytes without free space, and the number of runs of its events."""

    temporal: int
    registry: int
    runs: int


@dataclass(frozen=True, slots=True)
class SystemUnderTest:
    """A running contender. All have Hookkeeper's routes `/readyz`, `/v1/webhooks` and `/v1/events`."""

    port: int
    key: str
    pid: Callable[[str], int | None]
    """Returns the process of a service; None while it is down."""
    services: tuple[str, ...]
    stored: Callable[[], Awaitable[Stored]] | None = None
    """Measures what it has stored, if that is possible."""

    def pids(self) -> dict[str, int]:
        """Return the process of each service; services that are down are left out."""
        found = {name: self.pid(name) for name in self.services}
        return {name: pid for name, pid in found.items() if pid is not None}

    async def register(self, webhooks: Iterable[tuple[str, str]], **fields: Any) -> None:
        """Register webhooks, each a tenant and a URL, several at once."""
        slots = asyncio.Semaphore(8)

        async def register(http: httpx.AsyncClient, tenant: str, url: str) -> None:
            async with slots:
                answer = await http.post("/v1/webhooks", json={"tenant": tenant, "url": url, **fields})
                answer.raise_for_status()

        async with self.client() as http:
            await asyncio.gather(*(register(http, *webhook) for webhook in webhooks))

    def kill(self) -> None:
        """End all processes at once with `kill -9`; they are started again."""
        for pid in self.pids().values():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    async def ready(self, seconds: float) -> float:
        """Wait until the API is ready, and return the time. Raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            while not await probe(f"http://127.0.0.1:{self.port}/readyz"):
                await asyncio.sleep(READY_POLL_INTERVAL)
        return time.monotonic()

    def client(self) -> httpx.AsyncClient:
        """Make a client of the API."""
        return client(f"http://127.0.0.1:{self.port}", self.key, REGISTER_TIMEOUT)


def _nothing() -> None:
    """Nothing is missing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A system to measure."""

    name: str
    title: str
    running: Callable[[Path, bool], AbstractAsyncContextManager[SystemUnderTest]]
    """Runs it with its data in a folder, encrypted or not (only Hookkeeper encrypts), until the block ends."""
    why_missing: Callable[[], str | None] = _nothing
    """Returns why it cannot run on this machine."""
    is_default: bool = True
    """Measured unless others are named."""
