"""`kill -9` of all processes, until everything is delivered."""

import asyncio
import time

from benchmarks.scenarios.scenario import Bench, Column, Metrics, ScenarioFailed, scenario
from benchmarks.stream import Stream

EVENTS, DELIVERIES_BEFORE = 500, 100
START_TIMEOUT, READY_TIMEOUT, LAST_TIMEOUT = 60.0, 60.0, 90.0
IN_FLIGHT_TIME = 0.25
"""Seconds after the kill in which requests still arrive that were sent before it; nothing starts so fast."""


@scenario(
    "`kill -9` of all processes while 500 events are posted",
    Column("ready_s", "Ready after, s"),
    Column("first_s", "First delivery after, s"),
    Column("last_s", "Last, s"),
    Column("lost", "Lost"),
    Column("duplicates", "Duplicates"),
    contenders=("hookkeeper",),
    needs_fresh_stack_after=True,
)
async def kill(bench: Bench) -> Metrics:
    """Kill while events are posted, which are repeated with the same ids until they are accepted."""
    group = await bench.group("kill")
    events, before = bench.count(EVENTS), bench.count(DELIVERIES_BEFORE)
    stream = Stream(group=group, events=events)
    posting = asyncio.create_task(bench.load.post(stream))
    await bench.delivered(group, before, START_TIMEOUT)
    bench.system.kill()
    killed = time.monotonic()
    await asyncio.sleep(IN_FLIGHT_TIME)  # the supervisor has to notice
    ready = await bench.system.ready(READY_TIMEOUT)
    posted = await posting
    accepted = len(posted.sent) - posted.answered.count(None)
    await bench.receiver.wait(group, accepted, LAST_TIMEOUT)
    arrivals = await bench.receiver.arrivals(group)
    after = [at for at in arrivals.first.values() if at > killed + IN_FLIGHT_TIME]
    if not after:
        raise ScenarioFailed("everything was delivered before the kill")
    return {
        "ready_s": ready - killed,
        "first_s": min(after) - killed,
        "last_s": arrivals.last - killed,
        "lost": accepted - len(arrivals.first),
        "duplicates": arrivals.duplicates,
    }
