"""The waiting drill: what thousands of runs that wait for a retry cost, and whether they are on time after a kill."""

import asyncio
import math
from datetime import UTC

from temporalio.client import Client

from drills.answers import after_one_failure
from drills.cluster import Memory
from drills.drill import Options, Outcome, print_step, unmet
from drills.environment import TENANT, Environment, environment, until
from drills.neighbour import quantile
from drills.observations import ReceivedRequest
from drills.shape import WORKERS
from hookkeeper import ids

RATE = 20.0
RESTART_TIMEOUT = 90.0
"""Seconds from the last event to the first retry, in which memory is measured and everything restarts."""
RETRY_TIMEOUT = 120.0
MAX_CONCURRENT_READS = 10

WORKER_LIMIT, API_LIMIT = 300.0, 200.0
"""Megabytes."""
LATENESS_LIMIT = 2.0
"""Seconds, for 99 % of the retries."""


async def run(options: Options) -> Outcome:
    """Let runs wait for a retry, kill everything, and measure when they continue."""
    runs, rate = options.runs, options.rate or RATE
    async with environment(options.seed) as env:
        wait = runs / rate + RESTART_TIMEOUT
        await env.register("waits", after_one_failure(), retry={"schedule": [wait]})
        print_step(f"posting {runs} events in {runs / rate:.0f} s; each is refused, and waits for {wait:.0f} s")
        await env.load.post(runs / rate, rate)
        await until(lambda: _count(env, delivered=False) >= runs, math.inf)
        memory = {name: await env.cluster.memory(name) for name in (*WORKERS, "api")}
        print_step(f"all {runs} wait; killing everything")
        window = await env.kill_everything()
        restart = window.ended - window.began
        print_step(f"everything is back after {restart:.1f} s; waiting for the retries")
        # A wait may be up to a tenth longer.
        await until(lambda: _count(env, delivered=True) >= runs, 1.1 * wait + RETRY_TIMEOUT)
        retries = [request for request in env.receivers.requests if request.is_delivery]
        found = await _lateness(await Client.connect(env.cluster.stack.temporal_address), retries)
    lateness = [seconds for seconds in found if seconds is not None]
    latest = quantile(lateness, 0.99)
    limits = {name: API_LIMIT if name == "api" else WORKER_LIMIT for name in memory}
    return Outcome(
        columns=("<", "measured", "limit"),
        rows={
            "runs that continued": (f"{len(found)} of {runs}", "all"),
            "  whose first attempt was in flight at the kill": (len(found) - len(lateness), ""),
            **{
                f"resident memory of {name}{_with_children(used)}": (
                    f"{used.own:.0f} MB" if used else "down",
                    f"{limits[name]:.0f} MB",
                )
                for name, used in memory.items()
            },
            "everything ready again after": (f"{restart:.1f} s", ""),
            "lateness, median": (f"{quantile(lateness, 0.5):.2f} s", ""),
            "lateness, latest": (f"{quantile(lateness, 1.0):.2f} s", ""),
            "lateness, 99 %": (f"{latest:.2f} s", f"{LATENESS_LIMIT:g} s"),
        },
        failures={
            "wrong": unmet(
                {
                    "not all runs continued": len(found) == runs,
                    "retries arrived twice": len(retries) == len(found),
                    "a process used too much memory": all(
                        used and used.own < limits[name] for name, used in memory.items()
                    ),
                    "retries were late": latest < LATENESS_LIMIT,
                }
            )
        },
    )


def _with_children(memory: Memory | None) -> str:
    return f" ({memory.whole:.0f} with its children)" if memory and memory.whole > memory.own else ""


def _count(env: Environment, *, delivered: bool) -> int:
    """Count the requests that were refused, or delivered."""
    return sum(request.is_delivery is delivered for request in env.receivers.requests)


async def _lateness(client: Client, retries: list[ReceivedRequest]) -> list[float | None]:
    """Return the seconds from when each run's timer should have fired to its request; None if it had none."""
    arrived = {request.event_id: request.arrived for request in reversed(retries)}  # the first request of each event
    slots = asyncio.Semaphore(MAX_CONCURRENT_READS)

    async def late(event_id: str) -> float | None:
        async with slots:
            due = await _due(client, event_id)
            return None if due is None else arrived[event_id] - due

    return await asyncio.gather(*map(late, arrived))


async def _due(client: Client, event_id: str) -> float | None:
    """Read in a run's history when the latest timer that fired should have; an attempt may have been put off before."""
    history = await client.get_workflow_handle(ids.workflow_id(TENANT, event_id)).fetch_history()
    fired = [event for event in history.events if event.HasField("timer_fired_event_attributes")]
    if not fired:
        return None
    started = history.events[fired[-1].timer_fired_event_attributes.started_event_id - 1]
    seconds = started.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta().total_seconds()
    return started.event_time.ToDatetime(UTC).timestamp() + seconds
