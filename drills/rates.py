"""The rates drill: a large backlog of one webhook with a rate delays no other's events."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from drills.answers import always
from drills.drill import Options, Outcome, print_step, unmet
from drills.environment import Environment, environment, until

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


async def run(options: Options) -> Outcome:
    """Let events of one webhook wait for its rate, and measure at which rate those of another tenant arrive."""
    events = options.events or EVENTS
    async with environment(options.seed, options.shape, temporal_config=WITHOUT_FAIRNESS) as env:
        await env.register("backlog", always(200), rate_limit=BACKLOG_RATE)
        await env.register("other", always(200), tenant=OTHER_TENANT, rate_limit=OTHER_RATE)
        other = replace(env.load, tenant=OTHER_TENANT, accepted=[], unaccepted=[], refused=[])
        print_step(f"posting {events} events in {events / POSTS_PER_SECOND:.0f} s to a webhook of {BACKLOG_RATE:g}/s")
        await env.load.post(events / POSTS_PER_SECOND, POSTS_PER_SECOND)
        print_step(f"{events - len(_arrivals(env, 'backlog'))} wait; posting {OTHER_EVENTS} events of another tenant")
        await asyncio.gather(*(other.send(n, ARRIVAL_TIMEOUT) for n in range(OTHER_EVENTS)))
        await until(lambda: len(_arrivals(env, "other")) >= OTHER_EVENTS, ARRIVAL_TIMEOUT)
        refused = sum(len(load.refused) + len(load.unaccepted) for load in (env.load, other))
        return judge(len(env.load.accepted), _arrivals(env, "backlog"), _arrivals(env, "other"), refused)


def judge(backlog: int, at_backlog: Sequence[float], at_other: Sequence[float], refused: int) -> Outcome:
    """Judge the times at which events of a backlog and of the other webhook have arrived, in order."""
    waiting, backlog_rate, other_rate = backlog - len(at_backlog), _rate(at_backlog), _rate(at_other)
    conditions = {
        "events were refused": not refused,
        "no event waits": waiting > 0,
        "not all events of the other tenant arrived": len(at_other) == OTHER_EVENTS,
        "the other tenant has another rate": _is_near(other_rate, OTHER_RATE),
        "the backlog has another rate": _is_near(backlog_rate, BACKLOG_RATE),
    }
    rows = {
        "events refused": (refused, 0),
        "events of the backlog": (backlog, ""),
        "  waiting at the end": (waiting, "some"),
        "  requests a second": (f"{backlog_rate:.2f}", f"{BACKLOG_RATE:g}"),
        "events of the other tenant that arrived": (len(at_other), OTHER_EVENTS),
        "  its requests a second": (f"{other_rate:.2f}", f"{OTHER_RATE:g}"),
    }
    return Outcome(rows, {"wrong": unmet(conditions)}, ("<", "measured", "wanted"))


def _is_near(measured: float, rate: float) -> bool:
    return abs(measured - rate) <= TOLERANCE * rate


def _arrivals(env: Environment, webhook: str) -> list[float]:
    return sorted(request.arrived for request in env.receivers.requests if request.webhook == webhook)


def _rate(times: Sequence[float]) -> float:
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
