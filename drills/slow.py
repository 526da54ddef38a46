"""The slow drill: Temporal stands still, then takes a second for each call, then works again.

While it is slow, events whose acceptance was interrupted are accepted as new ones are. Each is delivered once.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from signal import SIGCONT, SIGSTOP

from drills.answers import PlannedAnswer
from drills.environment import TENANT, Environment, Report, environment
from drills.event_log import EventLog
from drills.shape import Shape
from hookkeeper.cli.console import Failed

EVENTS = 60
"""Events of each kind: interrupted ones and new ones."""
DELAY = 1.0
"""Seconds that a call of Temporal takes while it is slow."""
INTERRUPTION = 20.0
"""Seconds for which Temporal stands still, in which each event is posted once."""
POST_TIMEOUT, ACCEPT_TIMEOUT, DELIVERY_TIMEOUT = 30.0, 120.0, 120.0


@dataclass(frozen=True, slots=True)
class Slowed:
    """The result of the drill."""

    interrupted: int
    """Events that were answered with 503 while Temporal stood still."""
    accepted: dict[str, float]
    """Seconds in which each event was accepted while Temporal was slow."""
    posted: int
    lost: tuple[str, ...]
    stuck: tuple[str, ...]
    repeated: int
    """Requests for an event that had been delivered. No process dies, so there must be none."""

    @property
    def passed(self) -> bool:
        wrong = self.lost or self.stuck or self.repeated
        return self.interrupted > 0 and len(self.accepted) == self.posted and not wrong

    def slowest(self, is_new: bool) -> float:
        """Return the most seconds in which a new event, or an interrupted one, was accepted."""
        return max((taken for name, taken in self.accepted.items() if name.startswith("new") is is_new), default=0.0)


async def run(seed: int, events: int, report: Report, shape: Shape) -> Slowed:
    """Interrupt events, slow Temporal down, and post them again together with new ones."""
    if not shape.is_production:
        raise Failed("the slow drill needs --on production: a relay is between each process and Temporal there")
    async with environment(seed, shape, relayed=True) as env:
        webhook = await env.register("slow", lambda *_: PlannedAnswer(200, 0.0))
        old, new = ([f"{kind}-{seed}-{n}" for n in range(events)] for kind in ("interrupted", "new"))
        interrupted = await _interrupt(env, old, report)
        _delay(env, DELAY)
        report(f"{interrupted} of {events} events were refused; each call of Temporal takes {DELAY:g} s now")
        accepted = await _accept_all(env, [*old, *new])
        report(f"{len(accepted)} of {2 * events} are accepted; Temporal works again")
        _delay(env, 0.0)
        log = EventLog(env.http, TENANT, {webhook: "slow"})
        await log.until_final(DELIVERY_TIMEOUT, env.receivers.latest)
        await log.read(accepted)
    delivered = [request.event_id for request in env.receivers.requests if request.is_delivery]
    return Slowed(
        interrupted,
        accepted,
        2 * events,
        tuple(accepted.keys() - set(delivered)),
        tuple(event_id for event_id in accepted if log.statuses.get(event_id) != "succeeded"),
        len(delivered) - len(set(delivered)),
    )


async def _interrupt(env: Environment, event_ids: list[str], report: Report) -> int:
    """Post the events while Temporal stands still; return how many were refused."""
    names = env.cluster.shape.temporal
    report("Temporal stands still")
    for name in names:
        env.cluster.signal(name, SIGSTOP)
    try:
        async with asyncio.timeout(POST_TIMEOUT):
            statuses = await asyncio.gather(*(_post(env, event_id) for event_id in event_ids))
    finally:
        for name in names:
            env.cluster.signal(name, SIGCONT)
    return statuses.count(503)


async def _accept_all(env: Environment, event_ids: list[str]) -> dict[str, float]:
    """Post all events at once, each until it is accepted; return the seconds that each took."""
    began, accepted = time.monotonic(), {}

    async def accept(event_id: str) -> None:
        while await _post(env, event_id) not in (200, 202):
            await asyncio.sleep(DELAY)
        accepted[event_id] = time.monotonic() - began

    with suppress(TimeoutError):
        async with asyncio.timeout(ACCEPT_TIMEOUT), asyncio.TaskGroup() as posting:
            for event_id in event_ids:
                posting.create_task(accept(event_id))
    return accepted


async def _post(env: Environment, event_id: str) -> int:
    event = {"id": event_id, "type": "drill.ran", "tenant": TENANT, "data": {"n": event_id}}
    return (await env.http.post("/v1/events", json=event, timeout=POST_TIMEOUT)).status_code


def _delay(env: Environment, seconds: float) -> None:
    for relay in env.cluster.delays:
        relay.delay = seconds
