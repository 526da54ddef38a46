"""The acceptance drill: API, Temporal and registry fail between an event's rows, the start of its run and the answer.

Bursts of events are posted, so that they share runs, and each is repeated until it is answered. Relays break the
connections of the API exactly at the commit of rows or at a start, before or after it took effect, and kill a process
there. At the end each accepted event was delivered, and is known under its id.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Literal

from drills import answers, verdict
from drills.drill import Options, Outcome, print_step, unmet
from drills.environment import STUCK_TIMEOUT, TENANT, Environment, environment
from drills.event_log import EventLog
from drills.relays import Break, Step
from drills.schedule import Fault
from drills.shape import REGISTRY
from drills.verdict import Verdict

EVENTS = 10_000
BURST, CONCURRENT_BURSTS = 25, 2
"""Events that are posted at once, and the bursts of which some are not answered yet."""
VARIABLES = {"HOOKKEEPER_MAX_EVENTS_PER_RUN": "5"}
"""Few events in a run make many commits and starts."""
BREAKS, KILLS = 0.2, 0.3
"""The parts of commits and starts at which the connection breaks, or a process is killed, if the latest is long ago."""
BREAK_INTERVAL, KILL_INTERVAL = 0.25, 10.0
"""Seconds between two of a kind at least. All requests of the API to Temporal have one connection."""
KILLED = ("api", "temporal", REGISTRY)
FIRST_KILL = 0.5
"""Seconds from the first event to the first kill at least."""
ANSWER_WAIT, KILL_WAIT = 0.05, 0.03
"""Seconds in which a request takes effect before its answer is dropped; the longest time from a request to a kill."""
ACCEPT_TIMEOUT = 180.0
FAILING = 0.2
"""The part of requests that a receiver fails; their events get runs of their own. Slow ones would share none."""
CONFLICTS = 20
"""One event in this many is posted again with other data too."""
COUNTS = ("deliveries made", "lost", "stuck", "duplicates", "  explained by a fault")
MAX_CONCURRENT_REPEATS = 16
MIN_SHARED = 0.1
"""The part of events that shared runs have to finish: retries and failed requests lead to own runs."""


def judge(found: Verdict, again: Sequence["Again"], faults: Mapping[str, int]) -> Outcome:
    """Judge what was observed, and how the events were answered that were posted again."""
    shared, forgotten = sum(answer.is_shared for answer in again), [answer.error for answer in again if answer.error]
    accepted = found.counts["events accepted"]
    wrong = unmet(
        {
            f"only {shared} of {accepted} events shared a run": shared >= MIN_SHARED * accepted,
            "no process was killed": any(name.startswith("kill") for name in faults),
        }
    )
    return Outcome(
        rows={
            "events accepted": accepted,
            "  finished by shared runs": shared,
            **{name: found.counts[name] for name in COUNTS},
            "refused": sum(len(found.failures.get(kind, ())) for kind in ("refused", "never accepted")),
            "posted again": len(again),
            "  not known, or known with other data": len(forgotten),
            "faults": sum(faults.values()),
            **{f"  {name}": count for name, count in sorted(faults.items())},
        },
        failures={**found.failures, "forgotten": forgotten, "wrong": wrong},
    )


class FaultPlan:
    """Decides what happens to commits of rows and starts of runs."""

    def __init__(self, env: Environment, seed: int) -> None:
        self._env = env
        self._random = Random(f"{seed} acceptance")
        self._clock = asyncio.get_running_loop().time
        self._next_break = self._clock()
        self._next_kill = self._clock() + FIRST_KILL
        self._kills: list[asyncio.Task[None]] = []
        self.counts: Counter[str] = Counter()

    def choose(self, step: Step) -> Break | None:
        """Return what happens to a request, if anything."""
        drops: Literal["request", "answer"] = self._random.choice(("request", "answer"))
        if self._may_kill() and self._random.random() < KILLS:
            target = self._random.choice(KILLED)
            self._next_kill = self._clock() + KILL_INTERVAL
            self.counts[f"kill {target} at a {step}, {_when(drops)}"] += 1
            wait = self._random.uniform(0, KILL_WAIT) if drops == "answer" else 0.0
            return Break(drops, wait, partial(self._kill, target))
        if self._clock() >= self._next_break and self._random.random() < BREAKS:
            self._next_break = self._clock() + BREAK_INTERVAL
            self.counts[f"connection broken at a {step}, {_when(drops)}"] += 1
            return Break(drops, ANSWER_WAIT if drops == "answer" else 0.0)
        return None

    async def until_over(self) -> None:
        """Wait until all processes are ready again."""
        await asyncio.gather(*self._kills)

    def _may_kill(self) -> bool:
        return self._clock() >= self._next_kill and all(kill.done() for kill in self._kills)

    async def _kill(self, target: str) -> None:
        self._kills.append(asyncio.create_task(self._env.faults.inject([Fault(0.0, "kill", target)])))
        await asyncio.sleep(0)


def _when(drops: str) -> str:
    return "before it" if drops == "request" else "after it"


async def run(options: Options) -> Outcome:
    """Post events in bursts while commits and starts fail; then compare, and post all again."""
    seed, events = options.seed, options.events or EVENTS
    async with environment(seed, folder=options.keep, relayed=True, variables=VARIABLES) as env:
        webhooks = {
            await env.register("quick", answers.always(200)): "quick",
            await env.register("failing", answers.failing(seed, FAILING)): "failing",
        }
        print_step(f"posting {events} events, while commits and starts fail")
        plan = FaultPlan(env, seed)
        _set_plan(env, plan.choose)
        await _post(env, events)
        _set_plan(env, lambda step: None)
        await plan.until_over()
        print_step("waiting until all events are final")
        await EventLog(env.http, TENANT, webhooks).until_final(STUCK_TIMEOUT, env.receivers.latest)
        print_step("posting all events again")
        again = await _post_again(env, events)
        return judge(verdict.judge(await env.observe(webhooks)), again, plan.counts)


def _set_plan(env: Environment, choose: Callable[[Step], Break | None]) -> None:
    for relay in env.cluster.relays:
        relay.plan = choose


async def _post(env: Environment, events: int) -> None:
    """Post events in bursts; each comes when all events of the one before the last are answered."""
    bursts = iter(range(0, events, BURST))

    async def post_some() -> None:
        for first in bursts:
            numbers = range(first, min(first + BURST, events))
            await asyncio.gather(*(env.load.send(n, ACCEPT_TIMEOUT) for n in numbers))

    await asyncio.gather(*(post_some() for _ in range(CONCURRENT_BURSTS)))


@dataclass(frozen=True, slots=True)
class Again:
    """The answer to an accepted event that was posted again."""

    is_shared: bool = False
    error: str = ""


async def _post_again(env: Environment, events: int) -> list[Again]:
    """Post all accepted events again, and some of them with other data."""
    accepted = {event.event_id for event in env.load.accepted}
    slots = asyncio.Semaphore(MAX_CONCURRENT_REPEATS)

    async def repeat(n: int, event: dict[str, Any]) -> Again:
        async with slots:
            response = await env.request("POST", "/v1/events", event)
            body = response.json()
            if response.status_code != 200 or not body["duplicate"]:
                return Again(error=f"{event['id']}: {response.status_code} {response.text}")
            if n % CONFLICTS == 0:
                conflict = await env.request("POST", "/v1/events", event | {"data": "other"})
                if conflict.status_code != 409:
                    return Again(error=f"{event['id']} with other data: {conflict.status_code} {conflict.text}")
            return Again(is_shared=body["workflow_id"].startswith("shared-"))

    known = [(n, event) for n in range(events) if (event := env.load.event(n))["id"] in accepted]
    return await asyncio.gather(*(repeat(n, event) for n, event in known))
