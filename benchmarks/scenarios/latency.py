"""Events at a rate that a contender should keep up with: one at a time, in bursts, of many tenants."""

from benchmarks import measure
from benchmarks.scenarios.scenario import CPU, Bench, Column, Metrics, check_accepted, scenario
from benchmarks.stream import Stream, percentiles, to_answer, to_socket

IDLE_EVENTS, IDLE_PAUSE = 50, 0.08
BURST, BURSTS, BURST_INTERVAL = 50, 4, 2.0
TENANTS, TENANTS_SECONDS = 500, 8.0
TICKS_PER_S = 100
CONNECTIONS = 200
MODERATE_TENANTS = 100
MODERATE_SECONDS, MODERATE_EVENTS = 10, 500
"""At each rate, events are posted for ten seconds, and longer if these are fewer than 500 events."""
MODERATE_RATES = (10, 50, 300)
"""Events a second."""
ON_TIME_MS = 1000.0


@scenario(
    "one event at a time",
    Column("answered_p50_ms", "POST answered, p50 ms"),
    Column("answered_p95_ms", "p95"),
    Column("socket_p50_ms", "POST to socket, p50 ms", is_ratio=True),
    Column("socket_p95_ms", "p95"),
)
async def idle(bench: Bench) -> Metrics:
    group = await bench.group("idle")
    stream = Stream(group=group, events=bench.count(IDLE_EVENTS), clients=1, pause=IDLE_PAUSE, size=512)
    done = await bench.deliver(stream)
    socket = to_socket(stream, done.posted, done.arrivals)
    return {**percentiles("answered", to_answer(done.posted), 50, 95), **percentiles("socket", socket, 50, 95)}


@scenario(
    "50 events at once, every two seconds",
    Column("socket_p50_ms", "POST to socket, p50 ms", is_ratio=True),
    Column("socket_p95_ms", "p95"),
    CPU,
)
async def bursts(bench: Bench) -> Metrics:
    group = await bench.group("bursts")
    events = BURST * bench.count(BURSTS)
    stream = Stream(group=group, events=events, rate=1 / BURST_INTERVAL, burst=BURST)
    done = await bench.deliver(stream)
    socket = to_socket(stream, done.posted, done.arrivals)
    return {**percentiles("socket", socket, 50, 95), **done.cpu_metrics()}


@scenario(
    "10, 50 and 300 events/s of 100 tenants, after a first event of each",
    *(
        column
        for rate in MODERATE_RATES
        for column in (
            Column(f"socket_p50_ms_at_{rate}", f"{rate}/s: POST to socket, p50 ms"),
            Column(f"socket_p95_ms_at_{rate}", "p95"),
            Column(f"cores_at_{rate}", "cores"),
            Column(f"cpu_ms_at_{rate}", "CPU per event, ms", by_process=True),
            Column(f"events_per_run_at_{rate}", "events per run"),
            Column(f"temporal_kb_at_{rate}", "KB per event in Temporal"),
            Column(f"registry_kb_at_{rate}", "in the registry"),
        )
    ),
    contenders=("hookkeeper",),
    is_default=False,
    needs_fresh_stack_after=True,
)
async def moderate(bench: Bench) -> Metrics:
    """Post at moderate rates for some seconds, each to tenants of its own, after a first event of each tenant, and
    measure what they store.
    """
    metrics: Metrics = {}
    for rate in MODERATE_RATES:
        group = f"moderate-{rate}"
        names = tuple(f"{group}-{number}" for number in range(MODERATE_TENANTS))
        await _deliver_first(bench, group, names)
        events = bench.count(max(rate * MODERATE_SECONDS, MODERATE_EVENTS))
        before = bench.system.stored and await bench.system.stored()
        stream = Stream(group=group, tenants=names, events=events, rate=rate, clients=CONNECTIONS)
        done = await bench.deliver(stream, delivered_before=len(names))
        times = percentiles("socket", to_socket(stream, done.posted, done.arrivals), 50, 95)
        cores = sum(done.cpu[name] for name in done.services if name in done.cpu) / done.seconds
        metrics |= {f"{name}_at_{rate}": value for name, value in times.items()} | {f"cores_at_{rate}": cores}
        metrics |= {
            f"cpu_ms_at_{rate}{name.removeprefix('cpu_ms')}": value
            for name, value in done.cpu_metrics().items()
            if name.startswith("cpu_ms")
        }
        if bench.system.stored and before:
            after = await bench.system.stored()
            metrics |= {
                f"events_per_run_at_{rate}": events / (after.runs - before.runs),
                f"temporal_kb_at_{rate}": (after.temporal - before.temporal) / 1000 / events,
                f"registry_kb_at_{rate}": (after.registry - before.registry) / 1000 / events,
            }
    return metrics


async def _deliver_first(bench: Bench, group: str, tenants: tuple[str, ...]) -> None:
    """Register a webhook of each tenant, and deliver its first event, whose success is written to the registry."""
    await bench.system.register((tenant, bench.receiver.url(group)) for tenant in tenants)
    check_accepted(await bench.load.post(Stream(group=f"{group}-first", tenants=tenants, events=len(tenants))))
    await bench.delivered(group, len(tenants))
    await measure.settle(bench.system.pids)


@scenario(
    "500 tenants, one event a second each, after a first event of each",
    Column("socket_p50_ms", "POST to socket, p50 ms"),
    Column("socket_p95_ms", "p95"),
    Column("within_1s_percent", "within 1 s, %"),
    CPU,
    contenders=("hookkeeper", "celery"),
    needs_fresh_stack_after=True,
)
async def tenants(bench: Bench) -> Metrics:
    count = bench.count(TENANTS)
    names = tuple(f"tenant-{number}" for number in range(count))
    group = "tenants"
    await _deliver_first(bench, group, names)
    stream = Stream(
        group=group,
        tenants=names,
        events=count * int(TENANTS_SECONDS),
        rate=TICKS_PER_S,
        burst=max(1, count // TICKS_PER_S),
        clients=CONNECTIONS,
    )
    done = await bench.deliver(stream, delivered_before=count)
    socket = to_socket(stream, done.posted, done.arrivals)
    on_time = 100 * sum(time <= ON_TIME_MS for time in socket) / len(socket)
    return {**percentiles("socket", socket, 50, 95), "within_1s_percent": on_time, **done.cpu_metrics()}
