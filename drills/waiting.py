"""The waiting drill: what thousands of runs that wait for a retry cost, and whether they are on time after a kill."""

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC

from temporalio.client import Client

from drills.answers import PlannedAnswer
from drills.cluster import Memory
from drills.environment import TENANT, Environment, Report, environment
from drills.observations import ReceivedRequest
from drills.receiver import Receivers
from drills.shape import WORKERS
from hookkeeper import ids

RESTART_TIMEOUT = 90.0
"""Seconds from the last event to the first retry, in which memory is measured and everything restarts."""
RETRY_TIMEOUT = 120.0
MAX_CONCURRENT_READS = 10

WORKER_LIMIT, API_LIMIT = 300.0, 200.0
"""Megabytes."""
LATENESS_LIMIT = 2.0
"""Seconds, for 99 % of the retries."""


@dataclass(frozen=True, slots=True)
class Waited:
    """The result of the drill."""

    runs: int
    repeated: int
    """Retries that arrived twice."""
    in_flight: int
    """Runs whose first attempt was in flight at the kill, and was made again without a timer."""
    memory: dict[str, Memory]
    restart: float
    """Seconds until everything was ready again."""
    lateness: list[float]
    """Seconds from when a timer should have fired to the request at the receiver; sorted."""

    def quantile(self, part: float) -> float:
        """Return the lateness that this part of the runs did not exceed."""
        return self.lateness[max(0, math.ceil(part * len(self.lateness)) - 1)] if self.lateness else math.inf

    @property
    def retried(self) -> int:
        """Runs whose retry arrived."""
        return len(self.lateness) + self.in_flight

    @property
    def passed(self) -> bool:
        return (
            self.retried == self.runs
            and not self.repeated
            and all(self.memory[name].own < WORKER_LIMIT for name in WORKERS)
            and self.memory["api"].own < API_LIMIT
            and self.quantile(0.99) < LATENESS_LIMIT
        )


async def run(seed: int, runs: int, rate: float, report: Report) -> Waited:
    """Let runs wait for a retry, kill everything, and measure when they continue."""
    async with environment(seed) as env:
        wait = runs / rate + RESTART_TIMEOUT
        await env.register("waits", _refuse_once, retry={"schedule": [wait]})
        report(f"posting {runs} events in {runs / rate:.0f} s; each is refused, and waits for {wait:.0f} s")
        await env.load.post(runs / rate, rate)
        await _until(env.receivers, runs, delivered=False)
        memory = await _memory(env)
        report(f"all {runs} wait; killing everything")
        window = await env.kill_everything()
        restart = window.ended - window.began
        report(f"everything is back after {restart:.1f} s; waiting for the retries")
        with suppress(TimeoutError):
            async with asyncio.timeout(1.1 * wait + RETRY_TIMEOUT):  # a wait may be up to a tenth longer
                await _until(env.receivers, runs, delivered=True)
        retries = [request for request in env.receivers.requests if request.is_delivery]
        all_lateness = await _lateness(await Client.connect(env.cluster.stack.temporal_address), retries)
        lateness = sorted(seconds for seconds in all_lateness if seconds is not None)
        repeated, in_flight = len(retries) - len(all_lateness), len(all_lateness) - len(lateness)
        return Waited(runs, repeated, in_flight, memory, restart, lateness)


def _refuse_once(_: str, number: int) -> PlannedAnswer:
    return PlannedAnswer(503 if number == 1 else 200, 0.0)


async def _memory(env: Environment) -> dict[str, Memory]:
    measured = {name: await env.cluster.memory(name) for name in (*WORKERS, "api")}
    return {name: memory or Memory(math.inf, math.inf) for name, memory in measured.items()}


async def _until(receivers: Receivers, runs: int, *, delivered: bool) -> None:
    """Wait until this many runs have been refused, or delivered."""
    while sum(request.is_delivery is delivered for request in receivers.requests) < runs:
        await asyncio.sleep(0.5)


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
