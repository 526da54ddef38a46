"""Many events at once: waiting for a retry, or closed."""

import asyncio

from benchmarks import measure
from benchmarks.receiver import REFUSE
from benchmarks.scenarios.scenario import Bench, Column, Metrics, check_accepted, scenario
from benchmarks.stream import Stream

WAITING_EVENTS, RETRY_AFTER, BESIDE_EVENTS = 10_000, 3600, 500
WAITING_TIMEOUT, IDLE_SECONDS = 600.0, 5.0
GROWTH_EVENTS, FILL_TIMEOUT = 5000, 3600.0


@scenario(
    "10,000 events that wait for a retry, and 500 others",
    Column("worker_mb", "Worker, MB"),
    Column("api_mb", "API, MB"),
    Column("temporal_mb", "Temporal, MB"),
    Column("idle_cpu_percent", "CPU while they wait, % of a core"),
    Column("events_per_s", "Events/s beside them"),
    contenders=("hookkeeper",),
    is_default=False,
    needs_fresh_stack_after=True,
    timeout=1800,
)
async def waiting(bench: Bench) -> Metrics:
    group, events = "waiting", bench.count(WAITING_EVENTS)
    await bench.system.register([(group, bench.receiver.url(group, 0, REFUSE))], retry={"schedule": [RETRY_AFTER]})
    stream = Stream(group=group, events=events, seconds=WAITING_TIMEOUT)
    check_accepted(await bench.load.post(stream))
    await bench.delivered(group, events, WAITING_TIMEOUT)
    await measure.settle(bench.system.pids)
    memory, before = measure.memory_mb(bench.system.pids()), sum(measure.cpu_seconds(bench.system.pids()).values())
    await asyncio.sleep(IDLE_SECONDS)
    idle = sum(measure.cpu_seconds(bench.system.pids()).values()) - before
    beside = await bench.group("beside")
    done = await bench.deliver(Stream(group=beside, events=bench.count(BESIDE_EVENTS)))
    return {
        **{f"{name}_mb": value for name, value in memory.items()},
        "idle_cpu_percent": 100 * idle / IDLE_SECONDS,
        "events_per_s": done.events_per_s,
    }


@scenario(
    "throughput after 0, 10,000 and 100,000 closed events (`--closed`)",
    Column("events_per_s_empty", "Events/s at first"),
    Column("events_per_s_full", "at last"),
    Column("growth_ratio", "Ratio"),
    Column("cpu_ms_empty", "CPU per event at first, ms"),
    Column("cpu_ms_full", "at last"),
    Column("memory_mb_empty", "Memory at first, MB"),
    Column("memory_mb_full", "at last"),
    contenders=("hookkeeper",),
    is_default=False,
    needs_fresh_stack_after=True,
    timeout=7200,
)
async def growth(bench: Bench) -> Metrics:
    """Measure throughput at each number of closed events. Events of 512 bytes fill the databases."""
    metrics: Metrics = {}
    closed = 0
    fill = await bench.group("fill")
    for size in bench.closed:
        await _fill(bench, fill, closed, size)
        group = await bench.group("growth")
        done = await bench.deliver(Stream(group=group, events=bench.count(GROWTH_EVENTS)))
        closed = max(closed, size)
        measured = {"events_per_s": done.events_per_s, "memory_mb": done.memory, **done.cpu_metrics()}
        metrics |= {f"{name}_{size}": value for name, value in measured.items()}
    first, last = bench.closed[0], bench.closed[-1]
    for metric in ("events_per_s", "cpu_ms", "memory_mb"):
        metrics |= {f"{metric}_empty": metrics[f"{metric}_{first}"], f"{metric}_full": metrics[f"{metric}_{last}"]}
    return {**metrics, "growth_ratio": metrics["events_per_s_full"] / metrics["events_per_s_empty"]}


async def _fill(bench: Bench, tenant: str, closed: int, size: int) -> None:
    """Post and deliver events until this many are closed."""
    if size <= closed:
        return
    group = f"fill-to-{size}"
    stream = Stream(group=group, tenants=(tenant,), events=size - closed, size=512, seconds=FILL_TIMEOUT)
    check_accepted(await bench.load.post(stream))
    await bench.delivered(tenant, size, FILL_TIMEOUT)
    await measure.settle(bench.system.pids)
