"""`make bench`: how long from an event to its delivery, and how many events a second. Embedded server, one machine.

Idle latency is measured one event at a time; throughput with 50 in flight. These are times of this machine at this
moment: compare ratios within one run, not absolute figures across runs. `make bench ARGS=--encrypt` encrypts all.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from cli import stack
from cli.datadir import DataDir
from cli.demo import free_ports
from cli.processes import run

IDLE_EVENTS = 200
BUSY_EVENTS = 600
IN_FLIGHT = 50
PAUSE = 0.03
out = Console(highlight=False)


@dataclass
class Sink:
    """A receiver that only notes when each event arrived."""

    url: str = ""
    arrived: dict[str, float] = field(default_factory=dict)
    requests: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a request makes the condition true."""
        async with asyncio.timeout(60), self.changed:
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
async def sink() -> AsyncIterator[Sink]:
    state = Sink()
    server = await asyncio.start_server(state.serve, "127.0.0.1", 0)
    state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        yield state


async def main(encrypt: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = DataDir(Path(folder))
        async with (
            sink() as receiver,
            stack.running(data, "127.0.0.1", free_ports(), encrypt=encrypt, on_ready=_quiet, on_event=_loud) as house,
            httpx.AsyncClient(
                base_url=house.url, headers={"authorization": f"Bearer {house.admin_key}"}, timeout=60
            ) as api,
        ):
            how = "encrypted" if encrypt else "not encrypted"
            out.print(f"[bold]Hookkeeper bench[/bold]  embedded Temporal server, SQLite, one worker process, {how}\n")
            await idle(api, receiver)
            for webhooks in (1, 10):
                await busy(api, receiver, webhooks)


async def idle(api: httpx.AsyncClient, receiver: Sink) -> None:
    """Measure one event at a time."""
    await _register(api, receiver, "idle", 1)
    for _ in range(20):
        await _post(api, "idle")
    accepted: dict[str, tuple[float, float]] = {}
    for _ in range(IDLE_EVENTS):
        begun = time.perf_counter()
        event_id = await _post(api, "idle")
        accepted[event_id] = (begun, time.perf_counter())
        await receiver.until(partial(receiver.arrived.__contains__, event_id))
        await asyncio.sleep(PAUSE)
    posts = [answered - begun for begun, answered in accepted.values()]
    after = [receiver.arrived[event_id] - answered for event_id, (_, answered) in accepted.items()]
    whole = [receiver.arrived[event_id] - begun for event_id, (begun, _) in accepted.items()]
    out.print(f"  Idle, {IDLE_EVENTS} events one at a time [dim](ms)[/dim]    p50     p95     p99")
    _row("POST /v1/events answered", posts)
    _row("accepted -> request received", after)
    _row("POST sent -> request received", whole)


async def busy(api: httpx.AsyncClient, receiver: Sink, webhooks: int) -> None:
    """Measure events a second with many in flight."""
    tenant = f"busy-{webhooks}"
    await _register(api, receiver, tenant, webhooks)
    before, begun = receiver.requests, time.perf_counter()
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        async with slots:
            event_id = await _post(api, tenant)
            await receiver.until(partial(receiver.arrived.__contains__, event_id))

    await asyncio.gather(*(one() for _ in range(BUSY_EVENTS)))
    await receiver.until(lambda: receiver.requests - before >= BUSY_EVENTS * webhooks)
    seconds = time.perf_counter() - begun
    out.print(
        f"\n  {IN_FLIGHT} in flight, {webhooks} webhook{'s' * (webhooks > 1)} an event:"
        f" {BUSY_EVENTS / seconds:.0f} events/s, {BUSY_EVENTS * webhooks / seconds:.0f} deliveries/s"
    )


def _row(name: str, seconds: list[float]) -> None:
    cuts = statistics.quantiles(seconds, n=100)
    out.print(f"  {name:<40} {cuts[49] * 1e3:7.1f} {cuts[94] * 1e3:7.1f} {cuts[98] * 1e3:7.1f}")


async def _register(api: httpx.AsyncClient, receiver: Sink, tenant: str, count: int) -> None:
    for _ in range(count):
        answer = await api.post("/v1/webhooks", json={"tenant": tenant, "url": receiver.url})
        answer.raise_for_status()


async def _post(api: httpx.AsyncClient, tenant: str) -> str:
    event: dict[str, Any] = {"type": "bench.ran", "tenant": tenant, "data": {"text": "x" * 500}}
    answer = await api.post("/v1/events", json=event)
    answer.raise_for_status()
    event_id: str = answer.json()["id"]
    return event_id


def _quiet(_: str) -> None:
    """Say nothing of services that start as they should."""


def _loud(name: str, text: str) -> None:
    out.print(f"  [yellow]![/yellow] {name} {text}")


if __name__ == "__main__":
    run(main("--encrypt" in sys.argv[1:]))
