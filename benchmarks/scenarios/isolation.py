"""What a hanging endpoint, or a flood of another tenant, does to a healthy endpoint."""

import asyncio

from benchmarks.receiver import ACCEPT, HANG
from benchmarks.scenarios.scenario import Bench, Column, Metrics, check_accepted, scenario
from benchmarks.stream import Stream, percentiles, to_socket

RATE, SECONDS, WARMUP_SECONDS = 10.0, 10.0, 2.0
HANGING_SECONDS = 35.0
"""The first requests time out after 15 seconds, and what waited for them comes back."""
FLOOD_EVENTS, QUIET_RATE, MAX_QUIET_EVENTS = 5000, 4.0, 1200
FLOOD_TIMEOUT = 240.0


@scenario(
    "10 events/s to a healthy endpoint, beside 10 events/s of the same tenant to another one",
    Column("alone_p50_ms", "Alone, p50 ms"),
    Column("alone_p99_ms", "p99"),
    Column("healthy_p99_ms", "Beside a healthy one, p99"),
    Column("hanging_p50_ms", "Beside a hanging one, p50"),
    Column("hanging_p99_ms", "p99"),
    Column("hanging_ratio", "p99 beside the hanging one / alone"),
    contenders=("hookkeeper",),
    needs_fresh_stack_after=True,
)
async def isolation(bench: Bench) -> Metrics:
    """Measure alone, beside a healthy endpoint (the effect of the load) and beside one that never answers."""
    tenant = "isolation"
    for name, behaviour in (("measured", ACCEPT), ("healthy", ACCEPT), ("hanging", HANG)):
        await bench.system.register([(tenant, bench.receiver.url(name, 0, behaviour))], events=[f"bench.{name}"])
    await _times(bench, tenant, "warmup", WARMUP_SECONDS)
    alone = await _times(bench, tenant, "alone", bench.seconds(SECONDS))
    metrics = percentiles("alone", alone, 50, 99)
    for other, seconds in (("healthy", bench.seconds(SECONDS)), ("hanging", bench.seconds(HANGING_SECONDS))):
        beside = _stream(tenant, other, other, seconds, shift=0.5 / RATE)
        noise = asyncio.create_task(bench.load.post(beside))
        metrics |= percentiles(other, await _times(bench, tenant, f"beside-{other}", seconds), 50, 99)
        check_accepted(await noise)
    return {**metrics, "hanging_ratio": metrics["hanging_p99_ms"] / metrics["alone_p99_ms"]}


def _stream(tenant: str, group: str, webhook: str, seconds: float, shift: float = 0.0) -> Stream:
    events = max(2, int(RATE * seconds))
    return Stream(group=group, tenants=(tenant,), type=f"bench.{webhook}", events=events, rate=RATE, shift=shift)


async def _times(bench: Bench, tenant: str, group: str, seconds: float) -> list[float]:
    """Post to the measured endpoint, and return the times from POST to socket."""
    stream = _stream(tenant, group, "measured", seconds)
    before = (await bench.receiver.arrivals("measured")).deliveries
    posted = await bench.load.post(stream)
    check_accepted(posted)
    return to_socket(stream, posted, await bench.delivered("measured", before + len(posted.sent)))


@scenario(
    "4 events/s of one tenant, while another posts 5,000 by 50 clients",
    Column("quiet_p50_ms", "The quiet tenant, p50 ms"),
    Column("quiet_p95_ms", "p95"),
    Column("flood_s", "The flood was delivered in, s"),
    contenders=("hookkeeper",),
    is_default=False,
    timeout=600,
)
async def flood(bench: Bench) -> Metrics:
    quiet, loud = await bench.group("quiet"), await bench.group("loud")
    stream = Stream(group=quiet, events=MAX_QUIET_EVENTS, rate=QUIET_RATE)
    measuring = asyncio.create_task(bench.load.post(stream))
    events = bench.count(FLOOD_EVENTS)
    flooded = await bench.load.post(Stream(group=loud, events=events))
    check_accepted(flooded)
    arrivals = await bench.delivered(loud, events, FLOOD_TIMEOUT)
    await bench.load.stop(quiet)
    posted = await measuring
    check_accepted(posted)
    times = to_socket(stream, posted, await bench.delivered(quiet, len(posted.sent)))
    return {**percentiles("quiet", times, 50, 95), "flood_s": arrivals.last - flooded.sent[0]}
