"""What the benchmarks share: a stack, a receiver that records when each event arrived, and calls of the API."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from hookkeeper.cli import stack
from hookkeeper.cli.datadir import DataDir
from hookkeeper.cli.ports import free_ports

out = Console(highlight=False)


@dataclass
class Sink:
    """A receiver that records when each event arrived."""

    url: str = ""
    arrived: dict[str, float] = field(default_factory=dict)
    requests: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a request makes the condition true."""
        async with asyncio.timeout(300), self.changed:
            await self.changed.wait_for(condition)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer 200 to each request of a connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                now = time.perf_counter()
                headers = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:] if line)
                await reader.readexactly(int(headers["content-length"]))
                self.requests += 1
                self.arrived.setdefault(headers["webhook-id"], now)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                async with self.changed:
                    self.changed.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def running_api(*, encrypt: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    """Run a stack until the block ends, and yield a client of its API."""
    with tempfile.TemporaryDirectory() as folder:
        plan = stack.Plan(data=DataDir(Path(folder)), ports=free_ports(), encrypt=encrypt)
        async with stack.running(plan, on_event=_print_event) as running:
            headers = {"authorization": f"Bearer {running.admin_key}"}
            async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=60) as http:
                yield http


@asynccontextmanager
async def sink() -> AsyncIterator[Sink]:
    state = Sink()
    server = await asyncio.start_server(state.serve, "127.0.0.1", 0)
    state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        yield state


async def register(api: httpx.AsyncClient, receiver: Sink, tenant: str, count: int = 1) -> None:
    """Register webhooks of a tenant."""
    for _ in range(count):
        answer = await api.post("/v1/webhooks", json={"tenant": tenant, "url": receiver.url})
        answer.raise_for_status()


async def post(api: httpx.AsyncClient, tenant: str) -> str:
    """Post an event of about 600 bytes; return its id."""
    event: dict[str, Any] = {"type": "bench.ran", "tenant": tenant, "data": {"text": "x" * 500}}
    answer = await api.post("/v1/events", json=event)
    answer.raise_for_status()
    event_id: str = answer.json()["id"]
    return event_id


def _print_event(name: str, text: str) -> None:
    out.print(f"  [yellow]![/yellow] {name} {text}")
