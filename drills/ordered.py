"""The ordering drills: events of an ordered webhook arrive in order, though requests fail and all workers die twice.

With keys, events of each key arrive in order, though all processes die twice. The throughput before that is compared
with that of unordered events.
"""

import asyncio
import itertools
import time
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from typing import Any

from drills.answers import Answers, PlannedAnswer, failing
from drills.drill import Numbers, Options, Outcome, print_step, unmet
from drills.environment import TENANT, Environment, environment
from drills.load_generator import LoadGenerator
from drills.observations import ReceivedRequest
from drills.receiver import Receivers
from drills.shape import WORKERS

EVENTS, KEYED_EVENTS = 100, 20_000
RESPONSE_DELAY = 0.05
"""Seconds that the receiver takes, so that a request is in flight at each kill."""
KILLS = (1 / 3, 2 / 3)
"""All workers are killed when these parts of the events have been delivered."""
RETRIES = {"schedule": [0.2] * 49}
POSTERS = 50
"""Events that are posted at the same time."""
FAILURES = 0.05
"""Part of the requests that fail, with keys."""
BASE_TIMEOUT, TIMEOUT_PER_EVENT = 60.0, 1.0
"""Seconds that posting and delivering may take."""


class OwnRuns(LoadGenerator):
    """Posts events that share no run: their ids look as if they had been generated."""

    def event(self, n: int) -> dict[str, Any]:
        """Return the n-th event."""
        return super().event(n) | {"id": f"evt_{sha256(f'{self.seed} {n}'.encode()).hexdigest()[:24]}"}


async def run_with_keys(options: Options) -> Outcome:
    """Post unordered events, then those of many keys, and kill all processes twice."""
    seed, events, keys = options.seed, options.events or KEYED_EVENTS, options.keys
    part = int(events * KILLS[0])
    async with environment(seed, options.shape) as env:
        async with asyncio.timeout(3 * BASE_TIMEOUT + events * TIMEOUT_PER_EVENT):
            rates = []
            unordered = await env.register("unordered", failing(seed, FAILURES), retry=RETRIES)
            for kind, runs in ((LoadGenerator, "shared runs"), (OwnRuns, "a run each")):
                print_step(f"posting {part} unordered events ({runs})")
                rates.append(await _throughput(env, kind(env.http, TENANT, seed - 1), part))
            (await env.http.delete(f"/v1/webhooks/{unordered}")).raise_for_status()
            await env.register(
                "ordered", failing(seed, FAILURES), retry=RETRIES, ordered={"key": f"string(event.data.n % {keys})"}
            )
            return await _deliver_keys(env, events, keys, *rates)


async def _deliver_keys(env: Environment, events: int, keys: int, shared_rate: float, own_rate: float) -> Outcome:
    before, began = len(env.receivers.requests), time.time()
    print_step(f"posting {events} events of {keys} keys")
    posting = asyncio.create_task(_post_in_order(env.load, events, keys))
    found: list[float] = []
    for part in KILLS:
        count = int(part * events)
        await _until_delivered(env.receivers, count, before)
        found.append(count / (time.time() - began))
        print_step(f"{count} are delivered; killing all processes")
        await env.kill_everything()
    await posting
    print_step("all are posted; waiting for the last ones")
    with suppress(TimeoutError):
        async with asyncio.timeout(BASE_TIMEOUT * 5):
            await _until_delivered(env.receivers, events, before)
    requests = sorted(env.receivers.requests[before:], key=lambda request: request.arrived)
    delivered = {request.event_id for request in requests if request.is_delivery}
    seconds = max(request.ended for request in requests) - began
    lost = [event_id for n in range(events) if (event_id := env.load.event(n)["id"]) not in delivered]
    rate = found[0]
    return Outcome(
        columns=("<", "events/s", "ordered events in relation"),
        rows={
            "unordered, in shared runs": (f"{shared_rate:.0f}", f"{rate / shared_rate:.2f}"),
            "unordered, with a run each": (f"{own_rate:.0f}", f"{rate / own_rate:.2f}"),
            f"ordered, {keys} keys": (f"{rate:.0f}", ""),
        },
        notes=[f"{events} ordered events, {len(requests)} requests, in {seconds:.0f} s"],
        failures={"out of order": _out_of_order(requests, keys), "lost": lost},
    )


def _out_of_order(requests: list[ReceivedRequest], keys: int) -> list[str]:
    """Return the events that were requested after a later one of their key."""
    latest: dict[int, int] = {}
    found = []
    for request in requests:
        n = int(request.event_id.rpartition("-")[2])
        if n < latest.get(n % keys, 0):
            found.append(request.event_id)
        latest[n % keys] = max(n, latest.get(n % keys, 0))
    return found


async def _throughput(env: Environment, load: LoadGenerator, events: int) -> float:
    """Post events; return how many a second were delivered."""
    before, began = len(env.receivers.requests), time.time()
    await _post_in_order(load, events, POSTERS)
    await _until_delivered(env.receivers, events, before)
    return events / (max(request.ended for request in env.receivers.requests[before:]) - began)


async def _post_in_order(load: LoadGenerator, events: int, keys: int) -> None:
    """Post the events of each key one after another."""

    async def post(numbers: Iterable[int]) -> None:
        for n in numbers:
            await load.send(n, BASE_TIMEOUT * 5)

    async with asyncio.TaskGroup() as posters:
        for poster in range(min(POSTERS, keys)):
            posters.create_task(post([n for n in range(events) if n % keys % POSTERS == poster]))


async def run(options: Options) -> Outcome:
    """Post events one after another, and kill all workers twice; or post those of keys."""
    if options.keys:
        return await run_with_keys(options)
    events = options.events or EVENTS
    async with environment(options.seed, options.shape) as env:
        webhook = await env.register("ordered", _fail_every_third(), retry=RETRIES)
        (await env.http.patch(f"/v1/webhooks/{webhook}", json={"ordered": True})).raise_for_status()
        async with asyncio.timeout(BASE_TIMEOUT + events * TIMEOUT_PER_EVENT):
            return await _deliver(env, webhook, events)


async def _deliver(env: Environment, webhook: str, events: int) -> Outcome:
    began = time.time()
    print_step(f"posting {events} events, one after another")
    posting = asyncio.create_task(_post_in_order(env.load, events, 1))
    for part in KILLS:
        await _until_delivered(env.receivers, int(part * events))
        print_step(f"{int(part * events)} are delivered; killing all workers")
        await env.kill_workers()
    await posting
    await _until_delivered(env.receivers, events)
    requests = sorted(env.receivers.requests, key=lambda request: request.arrived)
    seconds = max(request.ended for request in requests) - began
    accepted, received = ([*dict.fromkeys(each.event_id for each in found)] for found in (env.load.accepted, requests))
    failed, kills = sum(not request.is_delivery for request in requests), len(env.faults.windows)
    repeated, statuses = len(requests) - failed - len(received), (await env.observe({webhook: "ordered"})).statuses
    open_ = sum(statuses.get(event_id) != "succeeded" for event_id in accepted)
    in_order = "yes" if received == accepted else "no"
    lost = len({*accepted} - {*received})
    return Outcome(
        rows={
            "events accepted": len(accepted),
            "workers killed": kills,
            "requests": len(requests),
            "  refused by the receiver": failed,
            "  repeated after delivery": repeated,
            "in order, without repeated requests": in_order,
            "events not succeeded": open_,
            "from the first post to the last delivery": f"{seconds:.1f} s",
        },
        failures={
            "wrong": unmet(
                {
                    "the events were not received in their order": received == accepted,
                    "not all events succeeded": not open_,
                    "not all workers were killed": kills == len(KILLS) * len(WORKERS),
                }
            )
        },
        numbers=Numbers(len(accepted), lost, open_, repeated, f"in order: {in_order}; {kills} workers killed"),
    )


def _fail_every_third() -> Answers:
    """Fail each third request, of any event."""
    count = itertools.count(1)
    return lambda event_id, number: PlannedAnswer(503 if next(count) % 3 == 0 else 200, RESPONSE_DELAY)


async def _until_delivered(receivers: Receivers, events: int, before: int = 0) -> None:
    """Wait until this many events are delivered, apart from the requests before."""
    delivered: set[str] = set()
    while len(delivered) < events:
        await asyncio.sleep(0.02)
        new, before = receivers.requests[before:], len(receivers.requests)
        delivered |= {request.event_id for request in new if request.is_delivery}
