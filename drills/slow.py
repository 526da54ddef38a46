"""The slow drill: Temporal stands still, then takes a second for each call, then works again.

Events are accepted meanwhile, and posting them again changes nothing. Each is delivered once.
"""

import asyncio
import time
from contextlib import suppress
from signal import SIGCONT, SIGSTOP

from cli.console import Failed
from drills.answers import always
from drills.drill import Numbers, Options, Outcome, print_step, unmet
from drills.environment import TENANT, Environment, environment
from drills.event_log import EventLog

EVENTS = 60
"""Events of each kind: those posted while Temporal stands still, and those posted while it is slow."""
DELAY = 1.0
"""Seconds that a call of Temporal takes while it is slow."""
POST_TIMEOUT, ACCEPT_TIMEOUT, DELIVERY_TIMEOUT = 30.0, 120.0, 120.0


async def run(options: Options) -> Outcome:
    """Post events while Temporal stands still, slow it down, and post them again together with new ones."""
    seed, events = options.seed, options.events or EVENTS
    if not options.shape.is_production:
        raise Failed("the slow drill needs --on production: a relay is before Temporal there")
    async with environment(seed, options.shape, relayed=True) as env:
        webhook = await env.register("slow", always(200))
        old, new = ([f"{kind}-{seed}-{n}" for n in range(events)] for kind in ("early", "new"))
        refused = await _post_frozen(env, old)
        _delay(env, DELAY)
        print_step(f"{refused} of {events} events were refused; each call of Temporal takes {DELAY:g} s now")
        accepted = await _accept_all(env, [*old, *new])
        print_step(f"{len(accepted)} of {2 * events} are accepted; Temporal works again")
        _delay(env, 0.0)
        log = EventLog(env.http, TENANT, {webhook: "slow"})
        await log.until_final(DELIVERY_TIMEOUT, env.receivers.latest)
        await log.read(accepted)
    delivered = [request.event_id for request in env.receivers.requests if request.is_delivery]
    lost, repeated = accepted.keys() - set(delivered), len(delivered) - len(set(delivered))
    stuck = [event_id for event_id in accepted if log.statuses.get(event_id) != "succeeded"]
    slowest_old, slowest_new = (max((accepted.get(id_, 0.0) for id_ in ids), default=0.0) for ids in (old, new))
    figure = f"posted again within {slowest_old:.0f} s, new ones within {slowest_new:.0f} s"
    return Outcome(
        rows={
            "events accepted": f"{len(accepted)} of {2 * events}",
            "  refused before, while Temporal stood still": refused,
            "events posted again accepted within": f"{slowest_old:.1f} s",
            "new events accepted within": f"{slowest_new:.1f} s",
            "lost": len(lost),
            "stuck": len(stuck),
            "delivered twice": repeated,
        },
        failures={
            "lost": lost,
            "stuck": stuck,
            "wrong": unmet(
                {
                    "events were refused while Temporal stood still": not refused,
                    "not all events were accepted": len(accepted) == 2 * events,
                    "events were delivered twice, and no process died": not repeated,
                }
            ),
        },
        numbers=Numbers(2 * events, len(lost), len(stuck), repeated, f"accepted while slow: {figure}"),
    )


async def _post_frozen(env: Environment, event_ids: list[str]) -> int:
    """Post the events while Temporal stands still; return how many were refused."""
    names = env.cluster.shape.temporal
    print_step("Temporal stands still")
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
    for relay in env.cluster.relays:
        relay.delay = seconds
