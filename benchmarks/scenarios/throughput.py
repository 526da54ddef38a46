"""Events as fast as they are accepted."""

import os
import signal

from benchmarks import measure
from benchmarks.scenarios.scenario import CPU, MEMORY, Bench, Column, Metrics, check_accepted, cpu_metrics, scenario
from benchmarks.stream import Stream

EVENTS, BATCHED_EVENTS, FANOUT_EVENTS, INGEST_EVENTS = 1000, 4000, 300, 500
WEBHOOKS = 10
BATCH, BATCH_CLIENTS = 1000, 2


@scenario(
    "1,000 events of 1 KB, posted by 50 clients, one webhook",
    Column("events_per_s", "Events/s", is_ratio=True),
    CPU,
    *MEMORY,
)
async def throughput(bench: Bench) -> Metrics:
    group = await bench.group("throughput")
    done = await bench.deliver(Stream(group=group, events=bench.count(EVENTS)))
    return {"events_per_s": done.events_per_s, **done.cpu_metrics(), **done.memory_metrics()}


@scenario(
    "4,000 events of 1 KB in requests of 1,000 events, one webhook",
    Column("events_per_s", "Events/s", is_ratio=True),
    CPU,
    contenders=("hookkeeper",),
)
async def batches(bench: Bench) -> Metrics:
    group = await bench.group("batches")
    events = bench.count(BATCHED_EVENTS)
    stream = Stream(group=group, events=events, batch=BATCH, clients=BATCH_CLIENTS)
    done = await bench.deliver(stream)
    return {"events_per_s": done.events_per_s, **done.cpu_metrics()}


@scenario(
    "300 events of 1 KB, posted by 50 clients, ten webhooks",
    Column("deliveries_per_s", "Deliveries/s", is_ratio=True),
    CPU,
)
async def fanout(bench: Bench) -> Metrics:
    group = await bench.group("fanout", WEBHOOKS)
    done = await bench.deliver(Stream(group=group, events=bench.count(FANOUT_EVENTS)), WEBHOOKS)
    return {"deliveries_per_s": WEBHOOKS * done.events_per_s, **done.cpu_metrics()}


@scenario(
    "500 events of 1 KB, posted by 50 clients, while the worker is stopped",
    Column("accepted_per_s", "Accepted/s", is_ratio=True),
    CPU,
    needs_fresh_stack_after=True,
)
async def ingest(bench: Bench) -> Metrics:
    """Measure only the accepting: the worker is stopped, and the stack is thrown away afterwards."""
    group = await bench.group("ingest")
    os.killpg(bench.system.pids()["worker"], signal.SIGSTOP)
    try:
        before = measure.cpu_seconds(bench.pids())
        posted = await bench.load.post(Stream(group=group, events=bench.count(INGEST_EVENTS)))
        check_accepted(posted)
        await measure.settle(bench.system.pids)
        after = measure.cpu_seconds(bench.pids())
    finally:
        os.killpg(bench.system.pids()["worker"], signal.SIGCONT)
    seconds = max(filter(None, posted.answered)) - posted.sent[0]
    cpu = {name: after[name] - before[name] for name in after}
    return {"accepted_per_s": len(posted.sent) / seconds, **cpu_metrics(cpu, posted, bench.system.services)}
