"""The rates drill: a large backlog of one webhook with a rate delays no other's events."""

import asyncio
from dataclasses import dataclass, replace

from drills.answers import PlannedAnswer
from drills.environment import Environment, Report, environment
from drills.load_generator import LoadGenerator
from drills.shape import EMBEDDED, Shape

WITHOUT_FAIRNESS = (
    "matching.enableFairness=false",
    "matching.numTaskqueueReadPartitions=4",
    "matching.numTaskqueueWritePartitions=4",
)
"""A server's default: rates must not depend on it."""
BACKLOG_RATE, OTHER_RATE = 0.5, 5.0
"""Requests a second of the two webhooks."""
EVENTS, POSTS_PER_SECOND = 3_000, 20.0
OTHER_EVENTS = 50
OTHER_TENANT = "other"
ARRIVAL_TIMEOUT = 60.0
"""Seconds that the other tenant's events may take; at their rate, they need ten."""
TOLERANCE = 0.1
"""The part by which a rate may differ, as measured from the first to the last request."""


@dataclass(frozen=True, slots=True)
class Rated:
    """The result of the drill."""

    backlog: int
    """Events accepted for the first webhook."""
    waiting: int
    """Those still waiting when all events of the other webhook had arrived."""
    backlog_rate: float
    """Requests a second, from the first to the last."""
    other: int
    """Events that arrived at the other webhook."""
    other_rate: float
    refused: int
    """Events that were not accepted."""

    @property
    def passed(self) -> bool:
        return (
            not self.refused
            and self.waiting > 0
            and self.other == OTHER_EVENTS
            and _is_near(self.other_rate, OTHER_RATE)
            and _is_near(self.backlog_rate, BACKLOG_RATE)
        )


def _is_near(measured: float, rate: float) -> bool:
    return abs(measured - rate) <= TOLERANCE * rate


async def run(seed: int, events: int, report: Report, shape: Shape = EMBEDDED) -> Rated:
    """Let events of one webhook wait for its rate, and measure at which rate those of another tenant arrive."""
    async with environment(seed, shape, temporal_config=WITHOUT_FAIRNESS) as env:
        await env.register("backlog", _accept, rate_limit=BACKLOG_RATE)
        await env.register("other", _accept, tenant=OTHER_TENANT, rate_limit=OTHER_RATE)
        other = replace(env.load, tenant=OTHER_TENANT, accepted=[], unaccepted=[], refused=[])
        report(f"posting {events} events in {events / POSTS_PER_SECOND:.0f} s to a webhook of {BACKLOG_RATE:g}/s")
        await env.load.post(events / POSTS_PER_SECOND, POSTS_PER_SECOND)
        report(f"{events - len(_arrivals(env, 'backlog'))} wait; posting {OTHER_EVENTS} events of another tenant")
        await asyncio.gather(*(other.send(n, ARRIVAL_TIMEOUT) for n in range(OTHER_EVENTS)))
        await _until_arrived(env)
        return _result(env, other)


def _accept(event_id: str, number: int) -> PlannedAnswer:
    return PlannedAnswer(200, 0.0)


async def _until_arrived(env: Environment) -> None:
    """Wait until all events of the other webhook have arrived, or their time is over."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + ARRIVAL_TIMEOUT
    while len(_arrivals(env, "other")) < OTHER_EVENTS and loop.time() < ends:
        await asyncio.sleep(0.1)


def _result(env: Environment, other: LoadGenerator) -> Rated:
    at_backlog, at_other = _arrivals(env, "backlog"), _arrivals(env, "other")
    return Rated(
        backlog=len(env.load.accepted),
        waiting=len(env.load.accepted) - len(at_backlog),
        backlog_rate=_rate(at_backlog),
        other=len(at_other),
        other_rate=_rate(at_other),
        refused=sum(len(load.refused) + len(load.unaccepted) for load in (env.load, other)),
    )


def _arrivals(env: Environment, webhook: str) -> list[float]:
    return sorted(request.arrived for request in env.receivers.requests if request.webhook == webhook)


def _rate(times: list[float]) -> float:
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
