"""`make bench`: time from an event to its delivery, and events a second, with the embedded server on one machine.

Idle latency is measured one event at a time; throughput with 50 in flight. Absolute times depend on the machine and its
load: compare ratios within one run. `make bench ARGS=--encrypt` encrypts all.
"""

import asyncio
import statistics
import sys
import time
from functools import partial

import httpx

from benchmarks.rig import Sink, out, post, register, running_api, sink
from hookkeeper.cli.processes import run

IDLE_EVENTS = 200
BUSY_EVENTS = 600
IN_FLIGHT = 50
PAUSE = 0.03


async def main(encrypt: bool) -> None:
    async with (
        sink() as receiver,
        running_api(encrypt=encrypt) as api,
    ):
        how = "encrypted" if encrypt else "not encrypted"
        out.print(f"[bold]Hookkeeper bench[/bold]  embedded Temporal server, SQLite, one worker process, {how}\n")
        await idle(api, receiver)
        for webhooks in (1, 10):
            await busy(api, receiver, webhooks)


async def idle(api: httpx.AsyncClient, receiver: Sink) -> None:
    """Measure one event at a time."""
    await register(api, receiver, "idle", 1)
    for _ in range(20):
        await post(api, "idle")
    accepted: dict[str, tuple[float, float]] = {}
    for _ in range(IDLE_EVENTS):
        began = time.perf_counter()
        event_id = await post(api, "idle")
        accepted[event_id] = (began, time.perf_counter())
        await receiver.until(partial(receiver.arrived.__contains__, event_id))
        await asyncio.sleep(PAUSE)
    posts = [answered - began for began, answered in accepted.values()]
    after = [receiver.arrived[event_id] - answered for event_id, (_, answered) in accepted.items()]
    whole = [receiver.arrived[event_id] - began for event_id, (began, _) in accepted.items()]
    out.print(f"  Idle, {IDLE_EVENTS} events one at a time [dim](ms)[/dim]    p50     p95     p99")
    _row("POST /v1/events answered", posts)
    _row("accepted -> request received", after)
    _row("POST sent -> request received", whole)


async def busy(api: httpx.AsyncClient, receiver: Sink, webhooks: int) -> None:
    """Measure events a second with many in flight."""
    tenant = f"busy-{webhooks}"
    await register(api, receiver, tenant, webhooks)
    before, began = receiver.requests, time.perf_counter()
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        async with slots:
            event_id = await post(api, tenant)
            await receiver.until(partial(receiver.arrived.__contains__, event_id))

    await asyncio.gather(*(one() for _ in range(BUSY_EVENTS)))
    await receiver.until(lambda: receiver.requests - before >= BUSY_EVENTS * webhooks)
    seconds = time.perf_counter() - began
    out.print(
        f"\n  {IN_FLIGHT} in flight, {webhooks} webhook{'s' * (webhooks > 1)} an event:"
        f" {BUSY_EVENTS / seconds:.0f} events/s, {BUSY_EVENTS * webhooks / seconds:.0f} deliveries/s"
    )


def _row(name: str, seconds: list[float]) -> None:
    cuts = statistics.quantiles(seconds, n=100)
    out.print(f"  {name:<40} {cuts[49] * 1e3:7.1f} {cuts[94] * 1e3:7.1f} {cuts[98] * 1e3:7.1f}")


if __name__ == "__main__":
    run(main("--encrypt" in sys.argv[1:]))
