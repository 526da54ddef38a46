"""`python -m benchmarks.isolation [dead] [flood]`: the effect of a dead endpoint and of a flooding tenant on others.

Events to a healthy endpoint are measured alone, next to as many events to another healthy endpoint, and next to as many
to a dead one. The second measurement shows how much of the difference is only the additional load.

It uses the embedded server on one machine: compare ratios within one run, not absolute times.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from random import Random

import httpx

from benchmarks.rig import Sink, out, post, register, running_api, sink
from hookkeeper.cli.processes import run

RATE = float(os.environ.get("BENCH_RATE", "10"))
"""Events a second to the healthy endpoint, and to the other one, at alternating times."""
SECONDS = float(os.environ.get("BENCH_SECONDS", "40"))
SCATTER = os.environ.get("BENCH_SCATTER")
"""If set, events come at random times instead (a Poisson process, the same in each part)."""
FLOOD = 5000
MAX_FLOOD_REQUESTS = 50
QUIET_RATE = 2.0


async def main(parts: list[str]) -> None:
    async with (
        sink() as receiver,
        dead_end() as dead,
        running_api() as api,
    ):
        out.print("[bold]Isolation[/bold]  embedded Temporal server, SQLite, one worker process\n")
        await register(api, receiver, "healthy")
        await register(api, receiver, "other-healthy")
        await register(api, dead, "other-dead")
        if "dead" in parts:
            await dead_endpoint(api, receiver)
        if "flood" in parts:
            await register(api, receiver, "flood")
            await flood(api, receiver)


@asynccontextmanager
async def dead_end() -> AsyncIterator[Sink]:
    """Accept connections and never answer."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        yield Sink(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def dead_endpoint(api: httpx.AsyncClient, receiver: Sink) -> None:
    """Compare a healthy endpoint's times without and with another one that gets as many events."""
    out.print(f"  {RATE:g} events/s to a healthy endpoint, {SECONDS:g} s [dim](ms)[/dim]   p50     p95     p99")
    await steady(api, receiver, "healthy", RATE, 5)
    alone = await steady(api, receiver, "healthy", RATE, SECONDS)
    _row("alone", alone)
    for other, into in (("healthy", receiver), ("dead", None)):
        noise = asyncio.create_task(steady(api, into, f"other-{other}", RATE, SECONDS, shift=0.5 / RATE))
        beside = await steady(api, receiver, "healthy", RATE, SECONDS)
        _row(f"next to as many to a {other} one", beside)
        await noise
        ratio = statistics.quantiles(beside, n=100)[98] / statistics.quantiles(alone, n=100)[98]
        out.print(f"  p99 is {ratio:.2f} times what it is alone")


async def flood(api: httpx.AsyncClient, receiver: Sink) -> None:
    """Measure one tenant's times while another posts thousands of events as fast as it can."""
    done = asyncio.Event()

    async def pour() -> None:
        slots = asyncio.Semaphore(MAX_FLOOD_REQUESTS)

        async def one() -> str:
            async with slots:
                return await post(api, "flood")

        ids = await asyncio.gather(*(one() for _ in range(FLOOD)))
        posted = time.perf_counter() - began
        for event_id in ids:
            await receiver.until(partial(receiver.arrived.__contains__, event_id))
        done.set()
        whole = time.perf_counter() - began
        out.print(f"\n  {FLOOD} events of one tenant: posted in {posted:.0f} s, delivered in {whole:.0f} s")

    began = time.perf_counter()
    pouring = asyncio.create_task(pour())
    others = await steady(api, receiver, "healthy", QUIET_RATE, None, done)
    await pouring
    out.print("  another tenant meanwhile [dim](ms)[/dim]                p50     p95     p99")
    _row(f"{len(others)} events", others)


async def steady(
    api: httpx.AsyncClient,
    receiver: Sink | None,
    tenant: str,
    rate: float,
    seconds: float | None,
    until: asyncio.Event | None = None,
    shift: float = 0.0,
) -> list[float]:
    """Post at a rate, the first after `shift` seconds; return the times from sending each to its arrival."""
    times: list[float] = []

    async def one() -> None:
        began = time.perf_counter()
        event_id = await post(api, tenant)
        if receiver:
            await receiver.until(partial(receiver.arrived.__contains__, event_id))
            times.append(receiver.arrived[event_id] - began)

    loop = asyncio.get_running_loop()
    posting: list[asyncio.Task[None]] = []
    random, due = Random(tenant), loop.time() + shift
    while not (until and until.is_set()) and (seconds is None or len(posting) < rate * seconds):
        await asyncio.sleep(max(0.0, due - loop.time()))
        posting.append(asyncio.create_task(one()))
        due += random.expovariate(rate) if SCATTER else 1 / rate
    await asyncio.gather(*posting)
    return times


def _row(name: str, seconds: list[float]) -> None:
    cuts = statistics.quantiles(seconds, n=100)
    out.print(f"  {name:<46} {cuts[49] * 1e3:7.1f} {cuts[94] * 1e3:7.1f} {cuts[98] * 1e3:7.1f}")


if __name__ == "__main__":
    run(main(sys.argv[1:] or ["dead", "flood"]))
